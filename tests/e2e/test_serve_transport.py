"""How `r2lm serve` is reached and by whom: addresses, TLS, a UNIX socket, keys, pages, and how it ends."""
import concurrent.futures, http.client, json, os, re, shutil, signal, socket, ssl, stat, subprocess, time
import pytest

from serve_client import H, KEY, PROGRAM, Server, TOY, error, events, make_certificate, open_stream, serving, until


@pytest.fixture(scope="module")
def server(): yield from serving("--budget", 0)


def refused(*flags, code=2, env=None, model=TOY):
    """One clear line, the exit code, nothing else."""
    done = subprocess.run([PROGRAM, "serve", "-m", model, *map(str, flags)], capture_output=True, text=True, timeout=20, env={**os.environ, **(env or {})})
    assert done.returncode == code and done.stderr.count("\n") == 1, (done.returncode, done.stderr)
    return done.stderr


# ---------------------------------------------------------------- addresses
def test_both_loopback_addresses(server):
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe: probe.bind((address, 0))
        except OSError:
            continue   # no ::1 here
        c = http.client.HTTPConnection(address, server.port, timeout=10)
        c.request("GET", "/health")
        assert c.getresponse().status == 200
    outside = [a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET) if not a[4][0].startswith("127.")]
    for address in outside:
        with pytest.raises(OSError): socket.create_connection((address, server.port), timeout=2)


def test_one_address():
    server = Server("--host", "127.0.0.1")
    with pytest.raises(OSError): socket.create_connection(("::1", server.port), timeout=2)
    server.stop()


def test_a_port_that_somebody_has_at_the_other_address():
    try: taken = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError: pytest.skip("no ::1")
    assert "::1 port" in refused("--port", taken.getsockname()[1], code=1)   # a prompt must not reach a stranger there


def test_other_addresses_need_a_key(tmp_path):
    run = lambda *flags: subprocess.run([PROGRAM, "serve", "-m", TOY, *flags], capture_output=True, text=True, timeout=20)
    for host in ("0.0.0.0", "::", "192.0.2.1", "127.0.0.2"): assert "--api-key" in refused("--host", host, "--port", 0)
    assert run("--host", "example.com", "--api-key", "k").returncode == 2
    assert run("--api-key-file", tmp_path / "nothing").returncode == 3
    (tmp_path / "empty").write_text("\n")
    assert run("--api-key-file", tmp_path / "empty").returncode == 3
    taken = socket.create_server(("127.0.0.1", 0))
    assert run("--port", str(taken.getsockname()[1])).returncode == 1


# ---------------------------------------------------------------- a UNIX socket
def test_socket(tmp_path):
    server = Server(reach="unix")
    assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o600 and stat.S_ISSOCK(os.stat(server.path).st_mode)
    assert server.chat(max_tokens=2)["usage"]["completion_tokens"] == 2 and events(server.chat(max_tokens=2, stream=True).text)
    assert error(server.ask("GET", "/health", headers={"Host": "evil.example"}), 403)["code"] == "host_not_allowed"
    with open(f"/proc/{server.child.pid}/net/tcp") as f: assert not any(l.split()[9] in inodes(server) for l in f.readlines()[1:])   # no port as well
    assert "in use" in refused("--socket", server.path, code=1)   # somebody listens there
    server.child.kill()
    server.child.wait()
    assert os.path.exists(server.path)
    child = subprocess.Popen([PROGRAM, "serve", "-m", TOY, "--socket", server.path], stderr=subprocess.PIPE, text=True)   # nobody does: it is replaced
    assert "over " + server.path in child.stderr.readline() and server.ask("GET", "/health").status == 200
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0 and not os.path.exists(server.path)


def inodes(server):
    return [m.group(1) for f in os.scandir(f"/proc/{server.child.pid}/fd") if (m := re.match(r"socket:\[(\d+)\]", os.readlink(f.path)))]


def test_a_path_that_is_no_socket(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    assert str(file) in refused("--socket", file, code=1) and file.read_text() == "mine"
    refused("--socket", tmp_path / "no" / "folder", code=1)
    refused("--socket", "/" + "a" * 200)


def test_another_file_at_the_end(tmp_path):
    server = Server(reach="unix")
    os.unlink(server.path)
    with open(server.path, "w") as f: f.write("not ours")
    server.stop()
    with open(server.path) as f: assert f.read() == "not ours"


# ---------------------------------------------------------------- TLS
def test_tls(tmp_path):
    server = Server(reach="tls")
    try:
        assert "at https://" in server.lines[0]
        assert server.chat(max_tokens=2)["usage"]["completion_tokens"] == 2 and events(server.chat(max_tokens=20, stream=True).text)
        assert len(server.ask("POST", "/tokenize", {"content": "word " * 20000}).json["tokens"]) > 20000   # more than a record
        origin = f"https://127.0.0.1:{server.port}"
        assert server.ask("GET", "/health", headers={"Origin": origin}).status == 200
        error(server.ask("GET", "/health", headers={"Origin": origin.replace("https", "http")}), 403)
        with server.connect() as s:
            assert s.version() in ("TLSv1.2", "TLSv1.3")
            s.sendall(b"GET /health HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n")
            got = b""
            while piece := s.recv(1000): got += piece   # a clean end: an abrupt one is an SSLEOFError
            assert got.endswith(b'{"status":"ok"}')
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with server.connect_plain() as s, pytest.raises(OSError): old.wrap_socket(s)
        new = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        new.check_hostname, new.verify_mode = False, ssl.CERT_NONE
        new.set_alpn_protocols(["h2", "http/1.1"])
        new.maximum_version = ssl.TLSVersion.TLSv1_2
        with server.connect_plain() as s, new.wrap_socket(s) as t: assert (t.version(), t.selected_alpn_protocol()) == ("TLSv1.2", "http/1.1")
    finally:
        server.stop()


def test_files_of_tls_that_are_wrong(tmp_path):
    cert, key = make_certificate(str(tmp_path))
    (tmp_path / "other").mkdir()
    other = make_certificate(str(tmp_path / "other"))[1]
    locked, nothing, both = tmp_path / "locked", tmp_path / "nothing", tmp_path / "both"
    subprocess.run(["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:x", "-out", locked], check=True, capture_output=True)
    nothing.write_text("hello")
    assert "mismatch" in refused("--tls-cert", cert, "--tls-key", other, code=3)
    assert "password" in refused("--tls-cert", cert, "--tls-key", locked, code=3)
    for flags in (("--tls-cert", nothing), ("--tls-cert", cert), ("--tls-cert", key), ("--tls-cert", cert, "--tls-key", nothing), ("--tls-cert", tmp_path / "missing"), ("--tls-cert", cert, "--tls-key", tmp_path / "missing")):
        assert str(flags[-1]) in refused("--port", 0, *flags, code=3)
    assert "--tls-cert" in refused("--tls-key", key)
    with open(cert) as a, open(key) as b: both.write_text(a.read() + b.read())
    child = subprocess.Popen([PROGRAM, "serve", "-m", TOY, "--port", "0", "--tls-cert", both], stderr=subprocess.PIPE, text=True)
    assert "https://" in child.stderr.readline()
    child.terminate()
    assert child.wait(20) == 0


# ---------------------------------------------------------------- keys
def test_keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\nsk-other\n")
    file.chmod(0o600)
    server = Server("--api-key-file", file)
    try:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": f"Bearer {KEY[:-1]}"}, {"Authorization": KEY}, {"x-api-key": ""},
                        {"x-api-key": "k" * 5000}, {"Authorization": "Bearer "}, {"x-api-key": KEY + "\t" + KEY}, {"Authorization": f"Basic {KEY}"}, {"x-api-key": KEY.upper()}):
            for path in ("/v1/models", "/metrics", "/version", "/nowhere", "/healthy"): assert error(server.ask("GET", path, headers=headers), 401)["type"] == "authentication_error"
            assert error(server.ask("POST", "/v1/chat/completions", {}, headers), 401)["code"] == "invalid_api_key"
        early = server.raw(b"POST /v1/chat/completions HTTP/1.1\r\n" + H + b"Content-Length: 1000000\r\n\r\n")
        assert early.startswith(b"HTTP/1.1 401 ")   # before the body
        for path in ("/health", "/v1/health", "/beta/health", "/health?x"): assert server.ask("GET", path).status == 200
        for headers in ({"Authorization": f"Bearer {KEY}"}, {"x-api-key": "sk-other"}, {"Authorization": f"bearer {KEY}"}): assert server.ask("GET", "/v1/models", headers=headers).status == 200
        long = [{"role": "user", "content": "word " * 60}]   # more than a page of tokens
        cached = lambda key: server.chat(messages=long, max_tokens=1, headers={"x-api-key": key})["usage"]["prompt_cache_hit_tokens"]
        assert (cached(KEY), cached(KEY) > 0, cached("sk-other")) == (0, True, 0)   # no key sees another's prefix
    finally:
        server.stop()
    assert KEY not in "".join(server.lines) and "word" not in "".join(server.lines)


def test_keys_are_not_shown(tmp_path):
    """Neither in the command line nor in the log, nor left in a world-readable file without a word."""
    server = Server("--api-key", KEY, "--api-key", "sk-second")
    with open(f"/proc/{server.child.pid}/cmdline") as f: assert KEY not in (line := f.read()) and "sk-second" not in line and "--api-key" in line
    for key in (KEY, "sk-second"): assert server.ask("GET", "/v1/models", headers={"x-api-key": key}).status == 200
    with open(f"/proc/{server.child.pid}/limits") as f: assert re.search(r"Max core file size +0 +0 ", f.read())
    server.stop()
    os.environ["R2LM_API_KEY"] = KEY
    try: server = Server()
    finally: del os.environ["R2LM_API_KEY"]
    with open(f"/proc/{server.child.pid}/environ") as f: assert KEY not in f.read()
    error(server.ask("GET", "/v1/models"), 401)
    assert server.ask("GET", "/v1/models", headers={"x-api-key": KEY}).status == 200
    server.stop()
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o644)
    server = Server("--api-key-file", file)
    until(lambda: any("can read" in l for l in server.lines))
    server.stop()
    assert KEY not in "".join(server.lines)


def test_keys_that_cannot_be():
    for key in ("", "two words", "k" * 256, "\u00e4"): assert "API key" in refused("--api-key", key)


# ---------------------------------------------------------------- pages
def test_pages_from_elsewhere_stay_out(server):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:80:80", "[::1", "localhost:x", "127.0.0.2"):
        assert error(server.ask("GET", "/health", headers={"Host": host}), 403)["code"] == "host_not_allowed"
    for host in ("localhost", f"localhost:{server.port}", "127.0.0.1", "LOCALHOST:1", "[::1]:80"): assert server.ask("GET", "/health", headers={"Host": host}).status == 200
    for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "file://", "http://"):
        assert error(server.ask("GET", "/health", headers={"Origin": origin}), 403)["code"] == "origin_not_allowed"
    r = server.ask("GET", "/health", headers={"Origin": f"http://127.0.0.1:{server.port}"})
    assert r.status == 200 and r.getheader("Access-Control-Allow-Origin") is None and r.getheader("X-Content-Type-Options") == "nosniff"


def test_pages_that_are_allowed():
    page = "https://chat.example"
    server = Server("--api-key", KEY, "--allow-origin", page, "--allow-origin", "http://[::1]:3000", "--allow-host", "models.example")
    try:
        r = server.ask("OPTIONS", "/v1/chat/completions", headers={"Origin": page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os"})
        assert (r.status, r.getheader("Access-Control-Allow-Origin"), r.getheader("Access-Control-Allow-Headers")) == (204, page, "authorization,x-stainless-os")
        assert "POST" in r.getheader("Access-Control-Allow-Methods") and "Origin" in r.getheader("Vary") and r.getheader("Access-Control-Allow-Credentials") is None
        assert server.ask("OPTIONS", "/v1/models", headers={"Origin": "http://[::1]:3000"}).status == 204
        for headers, status in (({"Origin": page, "x-api-key": KEY}, 200), ({"Origin": page}, 401)):   # a page may read errors too
            r = server.ask("GET", "/v1/models", headers=headers)
            assert (r.status, r.getheader("Access-Control-Allow-Origin")) == (status, page) and "X-Request-Id" in r.getheader("Access-Control-Expose-Headers")
        for origin in ("https://evil.example", "null", "https://chat.example.evil.example", "http://chat.example", "https://chat.example:444"):
            for method in ("GET", "OPTIONS"):
                r = server.ask(method, "/v1/models", headers={"Origin": origin, "x-api-key": KEY})
                assert error(r, 403)["code"] == "origin_not_allowed" and r.getheader("Access-Control-Allow-Origin") is None
        r = server.ask("GET", "/v1/models", headers={"x-api-key": KEY})
        assert r.getheader("Access-Control-Allow-Origin") is None and r.getheader("Vary") == "Origin"
        assert error(server.ask("OPTIONS", "/v1/models"), 405)
        assert server.ask("GET", "/health", headers={"Host": "models.example:8080"}).status == 200
        error(server.ask("GET", "/health", headers={"Host": "other.example"}), 403)
    finally:
        server.stop()
    for origin in ("*", "null", "chat.example", "https://", "https://a/b", "https://a b", ""): assert "allowed origin" in refused("--allow-origin", origin)
    for host in ("a:80", "", "a/b", "a b"): assert "allowed host" in refused("--allow-host", host)


def test_headers_of_replies(server):
    ids = set()
    for r in (server.ask("GET", "/health"), server.ask("GET", "/nowhere"), server.ask("POST", "/tokenize", "{"), server.ask("PUT", "/health"), server.ask("GET", "/health", headers={"Host": "evil.example"}),
              server.chat(max_tokens=1, stream=True), server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1})):
        assert r.getheader("X-Request-Id") == r.getheader("Request-Id") and re.fullmatch("req_[0-9a-f]{24}", r.getheader("Request-Id"))
        ids.add(r.getheader("Request-Id"))
        assert r.getheader("X-Content-Type-Options") == "nosniff" and "frame-ancestors 'none'" in r.getheader("Content-Security-Policy") and r.getheader("Access-Control-Allow-Origin") is None
        assert r.getheader("Server") is None
    assert len(ids) == 7
    until(lambda: all(any(l.startswith(i) for l in server.lines) for i in ids))   # what a user reports is found in the log


def test_prefixes(server):
    for prefix in ("", "/v1", "/beta"):
        assert server.chat(prefix + "/chat/completions", max_tokens=1)["object"] == "chat.completion"
        assert server.ask("GET", prefix + "/models").status == server.ask("GET", prefix + "/health").status == 200
    for path in ("/v1", "/beta", "/v1/v1/health", "/beta/v1/health", "/v1health", "/health/", "/HEALTH", "/v1/../health", "/%68ealth"): error(server.ask("GET", path), 404)


# ---------------------------------------------------------------- ends
def test_a_request_may_take_only_so_long():
    server = Server("--timeout", 1, "--parallel", 1, "--draft", "off")
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1000, "temperature": 1, "logprobs": True, "top_logprobs": 20, "n": 8}
    try:
        cut = 0
        with concurrent.futures.ThreadPoolExecutor(40) as pool:   # they wait for each other
            for r in pool.map(lambda i: server.ask("POST", "/v1/chat/completions", {**body, "stream": i % 2 == 0}), range(40)):
                if r.status == 504:
                    cut += error(r, 504)["code"] == "timeout" and r.getheader("X-Should-Retry") == "false"
                else:
                    assert r.status == 200
                    cut += '"code":"timeout"' in r.text and not r.text.endswith("data: [DONE]\n\n")
        assert cut > 0
        until(lambda: server.metric("requests_processing") == server.metric("requests_deferred") == 0)
    finally:
        server.stop()


def test_sigterm_finishes_what_runs():
    server = Server()
    s = open_stream(server, max_tokens=900, n=16, temperature=1.5, logprobs=True, top_logprobs=20)   # not over before the signal comes
    got = s.recv(100)
    server.child.send_signal(signal.SIGTERM)
    while piece := s.recv(65536): got += piece
    assert b"data: [DONE]" in got and server.child.wait(20) == 0
    server.thread.join(5)
    assert any("requests: 1" in line and "30 s" in line for line in server.lines), server.lines
    with pytest.raises(OSError): socket.create_connection(("127.0.0.1", server.port), timeout=2)


def test_sigterm_cuts_what_takes_too_long():
    server = Server("--drain", 0)
    streams = [open_stream(server, max_tokens=900, logprobs=True, top_logprobs=20) for _ in range(8)]
    for s in streams: s.recv(1)
    first = streams[0]
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 10
    got = b""
    while piece := first.recv(65536): got += piece
    assert b"data: [DONE]" in got or got.rstrip(b"\r\n0").endswith(b"}}") and b'"code":"server_stops"' in got   # the last event says why
    for s in streams: s.close()


def test_a_second_signal_ends_at_once():
    server = Server("--draft", "off")
    stalled = [open_stream(server, max_tokens=900, logprobs=True, top_logprobs=20) for _ in range(32)]   # nobody reads: they stay
    server.child.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    if server.child.poll() is None: server.child.send_signal(signal.SIGTERM)
    assert server.child.wait(30) in (0, 143, -15)   # 0: it was done before
    for s in stalled: s.close()


def test_bodies_beyond_the_limit():
    server = Server("--max-body", 1)
    try:
        head = b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n"
        assert server.raw(head + b"Content-Length: 1048577\r\n\r\n").startswith(b"HTTP/1.1 413 ")
        assert b"HTTP/1.1 413 " in server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"80000\r\n" + b"x" * 0x80000 + b"\r\n") * 3)
        text = "a" * 1000000
        assert server.ask("POST", "/tokenize", {"content": text}).status == 200
        assert server.ask("GET", "/health").status == 200
    finally:
        server.stop()


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_nothing_connects_outward(tmp_path):
    log = tmp_path / "calls"
    server = Server(prefix=["strace", "-f", "-qq", "-o", str(log), "-e", "trace=socket,connect,sendto,sendmsg"])
    for _ in range(5): server.chat(max_tokens=3)
    for path in ("/health", "/metrics", "/v1/models", "/nowhere"): server.ask("GET", path)
    server.chat(max_tokens=3, stream=True)
    subprocess.run(["pkill", "-TERM", "-P", str(server.child.pid)])
    server.child.wait(20)
    said = log.read_text()
    assert "socket(AF_INET" in said   # it listens
    assert not re.search(r"(connect|sendto|sendmsg)\(.*AF_INET|AF_NETLINK|SOCK_DGRAM|connect\(", said), said   # nor does it look up names
    log.write_text("")
    subprocess.run(["strace", "-f", "-qq", "-o", str(log), "-e", "trace=socket,connect,sendto,sendmsg", PROGRAM, "run", "-m", TOY, "-p", "Hello", "-n", "3"], check=True, capture_output=True,
                   env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})   # which needs to trace as well
    assert "socket(" not in log.read_text() and "connect(" not in log.read_text()
