"""What no good client sends to `r2lm serve`: each gets its 4xx or a closed connection, and the server stays well.

Everything over a port, over TLS, over a UNIX socket, and with a key.
"""
import json, os, re, socket, struct, time
import pytest

from serve_client import H, KEY, Server, error, open_stream, until


@pytest.fixture(scope="module", params=["tcp", "tls", "unix", "key"])
def server(request):
    with_key = request.param == "key"
    s = Server("--budget", 0, "--parallel", 4, *(["--api-key", KEY] if with_key else []), reach="tcp" if with_key else request.param)
    if with_key: s.headers = {"x-api-key": KEY}
    files = lambda: len(os.listdir(f"/proc/{s.child.pid}/fd"))
    before = files()
    yield s
    assert s.ask("GET", "/health").status == 200   # whatever was done to it
    until(lambda: s.metric("connections") == 1 and s.metric("requests_processing") == s.metric("requests_deferred") == 0)
    until(lambda: files() <= before)
    s.stop()
    said = "".join(s.lines)
    assert " 500 " not in said and "anit" not in said, said[-2000:]   # nor a sanitizer's report


def keyed(server, data):
    """The same bytes with the server's key behind the first Host."""
    more = b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in server.headers.items())
    return data.replace(H, H + more, 1)


# ---------------------------------------------------------------- bytes
WIRE = {
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400), "two hosts": (b"GET /health HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    "two lengths": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "length and chunks": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two codings": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "coding list": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "coding unknown": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
    **{f"length {v!r}": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Length: " + v + b"\r\n\r\n{}", 400) for v in (b"+2", b"-2", b"0x2", b"2 2", b"2,2", b"", b"2.0", b"1e1")},
    "length huge": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
    "length beyond": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 16777217\r\n\r\n", 413),
    "space before colon": (b"GET /health HTTP/1.1\r\n" + H + b"X : y\r\n\r\n", 400), "folded": (b"GET /health HTTP/1.1\r\n" + H + b"X: y\r\n z\r\n\r\n", 400),
    "space first": (b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n", 400), "no colon": (b"GET /health HTTP/1.1\r\n" + H + b"Hello\r\n\r\n", 400),
    "bare LF": (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400), "bare CR": (b"GET /health HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n", 400),
    "zero": (b"GET /health HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n", 400), "control": (b"GET /health HTTP/1.1\r\n" + H + b"X: a\x01b\r\n\r\n", 400),
    "empty name": (b"GET /health HTTP/1.1\r\n" + H + b": y\r\n\r\n", 400), "empty line first": (b"\r\nGET /health HTTP/1.1\r\n" + H + b"\r\n", 400),
    "no version": (b"GET /health\r\n" + H + b"\r\n", 400), "version": (b"GET /health HTTP/2.0\r\n" + H + b"\r\n", 505), "preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "two spaces": (b"GET  /health HTTP/1.1\r\n" + H + b"\r\n", 400), "absolute": (b"GET http://localhost/health HTTP/1.1\r\n" + H + b"\r\n", 400),
    "long line": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + H + b"\r\n", 414), "long field": (b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "large head": (b"GET / HTTP/1.1\r\n" + H + b"".join(b"X%d: %s\r\n" % (i, b"a" * 1000) for i in range(20)) + b"\r\n", 431),
    "many fields": (b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 101 + b"\r\n", 431), "binary": (bytes(range(128, 256)) + b"\r\n\r\n", 400), "tls": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "chunk size": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "chunk sign": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n", 400),
    "chunk end": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n", 400),
    "chunk huge": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
    "trailer": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", 400),
    "body of GET": (b"GET /health HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello", 400), "body of HEAD": (b"HEAD /health HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello", 400),
    "chunks of GET": (b"GET /health HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in 1.0": (b"POST /tokenize HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunk extension": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n", 400),
    "chunk of nine digits": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n000000002\r\n{}\r\n0\r\n\r\n", 400),
    "chunk without size": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\r\n{}\r\n", 400),
    "chunk 0x": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n", 400),
    "chunk bare LF": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", 400),
    "coding twice in one": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "coding quoted": (b'POST /tokenize HTTP/1.1\r\n' + H + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "coding vertical tab": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "coding empty": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: \r\n\r\n", 400), "coding identity": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "coding folded": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "length other case": (b"POST /tokenize HTTP/1.1\r\n" + H + b"content-length: 2\r\nCONTENT-LENGTH: 3\r\n\r\n{}", 400),
    "length space before colon": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Length : 2\r\n\r\n{}", 400), "length tab": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Length\t: 2\r\n\r\n{}", 400),
    "key twice": (b"GET /version HTTP/1.1\r\n" + H + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
    "host of nobody": (b"GET /health HTTP/1.1\r\nHost: \r\n\r\n", 403), "host with user": (b"GET /health HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", 403),
    "host in target": (b"GET //evil.example/health HTTP/1.1\r\n" + H + b"\r\n", 400), "port in target": (b"GET //:99999999/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    "fragment": (b"GET /health#a HTTP/1.1\r\n" + H + b"\r\n", 400), "star": (b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", 400), "authority": (b"CONNECT localhost:80 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "tab in line": (b"GET\t/health HTTP/1.1\r\n" + H + b"\r\n", 400), "space at end": (b"GET /health HTTP/1.1 \r\n" + H + b"\r\n", 400), "bytes in target": (b"GET /\xc3\xa4 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "delete in target": (b"GET /\x7f HTTP/1.1\r\n" + H + b"\r\n", 400), "method with brackets": (b"G(T /health HTTP/1.1\r\n" + H + b"\r\n", 400), "lower version": (b"GET /health http/1.1\r\n" + H + b"\r\n", 400),
    "version 1.10": (b"GET /health HTTP/1.10\r\n" + H + b"\r\n", 400), "only spaces": (b"   \r\n\r\n", 400), "CR CR LF": (b"GET /health HTTP/1.1\r\r\n" + H + b"\r\n", 400),
    "expectation": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 417),
    "name with brackets": (b"GET /health HTTP/1.1\r\n" + H + b"X(Y): z\r\n\r\n", 400), "method unknown": (b"BREW /coffee HTTP/1.1\r\n" + H + b"\r\n", 405),
    "no json": (b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: multipart/form-data\r\nContent-Length: 2\r\n\r\n{}", 415),
    "simple form": (b"POST /v1/chat/completions HTTP/1.1\r\n" + H + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\n\r\n{}", 415),
}


@pytest.mark.parametrize("name", WIRE)
def test_wire(server, name):
    data, status = WIRE[name]
    data = keyed(server, data)
    if server.reach == "tls" and name == "tls": pytest.skip("a handshake there")
    hidden = keyed(server, b"GET /version HTTP/1.1\r\n" + H + b"\r\n")   # whoever disagrees on where the request ends answers this too
    for pieces, more in ((1, b""), (1, hidden), (3, b""), (min(len(data), 300), b"")):   # at once, and in pieces
        got = b""
        with server.connect(5) as s:
            try:
                for i in range(pieces):
                    s.sendall(data[len(data) * i // pieces:len(data) * (i + 1) // pieces] + (more if i == pieces - 1 else b""))
                    if pieces == 3: time.sleep(0.002)
                while piece := s.recv(65536): got += piece
            except OSError:
                pass
        assert got.startswith(b"HTTP/1.1 %d " % status), (name, got[:200])
        assert len(re.findall(rb"HTTP/1.1 \d", got)) == 1 and b"Connection: close" in got and b"r2lm" not in got
        assert b"X-Request-Id: req_" in got and b"nosniff" in got
        if not data.startswith(b"HEAD"): assert json.loads(got.split(b"\r\n\r\n", 1)[1])["error"]["message"]


def test_just_within_the_limits(server):
    line = b"GET /health?" + b"a" * (8190 - len(b"GET /health? HTTP/1.1\r\n")) + b" HTTP/1.1\r\n"
    fields = keyed(server, H)
    for data in (line + fields, b"GET /health HTTP/1.1\r\n" + fields + b"X: " + b"a" * 8000 + b"\r\n", b"GET /health HTTP/1.1\r\n" + fields + b"X: y\r\n" * (100 - fields.count(b"\n") - 1),
                 b"GET /health HTTP/1.1\r\n" + fields + b"X:\t y \t\r\nY: \xe4\r\nZ:\r\n"):
        got = server.raw(data + b"Connection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 "), (data[:60], got[:200])


def test_expectations(server):
    head = keyed(server, b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\n")
    with server.connect() as s:
        s.sendall(head + b"Content-Length: 15\r\n\r\n")
        got = s.recv(1000)
        assert got == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b'{"content":"b"}')
        assert s.recv(1000).startswith(b"HTTP/1.1 200 ")
    got = server.raw(head + b"Content-Length: 16777217\r\n\r\n")   # told before it is sent
    assert got.startswith(b"HTTP/1.1 413 ") and got.count(b"HTTP/1.1") == 1


def one_reply(s, is_head):
    got = b""
    while b"\r\n\r\n" not in got: got += s.recv(1)
    left = 0 if is_head else int(re.search(rb"Content-Length: (\d+)", got).group(1))
    while left > 0:
        piece = s.recv(left)
        got, left = got + piece, left - len(piece)
    return got


def test_chunks_keep_alive_and_pipelines(server):
    head = keyed(server, b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n")
    one = head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"con\r\n9\r\ntent\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n"
    two = head + b'Content-Length: 15\r\n\r\n{"content":"b"}'
    last = b"GET /health HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n"
    got = server.raw(one + two + one + last)
    assert got.count(b"HTTP/1.1 200 ") == 4 and got.endswith(b'{"status":"ok"}'), got
    with server.connect() as s:
        for path in (b"GET /health", b"HEAD /health", b"GET /nowhere") * 20:   # what follows a reply without a body is the next reply
            s.sendall(keyed(server, path + b" HTTP/1.1\r\n" + H + b"\r\n"))
            assert one_reply(s, path.startswith(b"HEAD")).startswith(b"HTTP/1.1 404 " if b"nowhere" in path else b"HTTP/1.1 200 ")
    assert server.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200") or server.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200")


# ---------------------------------------------------------------- bodies
def test_bad_json(server):
    deep = lambda n: '{"messages":' + "[" * n + "]" * n + "}"
    bodies = ("", "{", "[]", "null", "7", '"x"', '{"a":1,"a":2}', '{"a":NaN}', '{"a":1e999}', '{"a":"\\ud800"}', '{"a":"\\u0000"}', "{} x", "{'a':1}", '{"a":1,}', deep(65),
                 deep(100000), '{"a":' + "9" * 5000 + "}", "[" * 1000000, '{"a":[' + "1," * 300000 + "1]}", b'{"a":"\xff\xfe"}', b'{"a":"\x01"}', b'{"a":"\x00"}', b'{"a":1}\x00', b"\x00" * 100, b"\xef\xbb\xbf{}",
              '{"a":' * 5000 + "1" + "}" * 5000, '{"messages":"' + "a" * 1000000, '{"a":"\\ud83d"}', '{"a":"\\ud83d\\u0041"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xf5\x80\x80\x80"}', b'{"a":"\xc0\x80"}',
              '{"a":+1}', '{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":0x10}', '{"a":Infinity}', '{"a":-}', '{/**/}', "{" + ",".join(f'"k{i}":1' for i in range(20000)), '{"a":"\n"}', "\x0b{}")
    for body in bodies: error(server.ask("POST", "/v1/chat/completions", body), 400)
    for path in ("/tokenize", "/detokenize", "/apply-template"):
        for body in bodies[::3]: error(server.ask("POST", path, body), 400)
    error(server.ask("POST", "/v1/chat/completions", "{}", {"Content-Type": "text/plain"}), 415)
    error(server.ask("POST", "/v1/chat/completions", "{}", {"Content-Type": "application/jsonx"}), 415)


def open_and_reset(server, data):
    """The client does not say goodbye."""
    s = server.connect_plain()
    s.sendall(data)
    if server.reach != "unix": s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


# ---------------------------------------------------------------- clients that leave
def is_idle(server):
    return server.metric("requests_processing") == 0 and server.metric("requests_deferred") == 0


def test_a_client_that_leaves_frees_its_place(server):
    for how in ("close", "half", "reset"):
        for _ in range(12):
            s = open_stream(server, max_tokens=900)
            s.recv(10)
            if how == "half": s.shutdown(socket.SHUT_WR)   # no more from there: it counts as gone
            if how == "reset" and server.reach != "unix": s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how != "half": s.close()
        until(lambda: is_idle(server))
    for _ in range(10):   # before an answer begins, in the midst of a head, of a body
        open_stream(server, max_tokens=900).close()
        for part in (b"GET /he", b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"):
            with server.connect() as s: s.sendall(part)
    until(lambda: is_idle(server) and server.metric("connections") == 1)
    assert server.chat(max_tokens=2)["usage"]["completion_tokens"] == 2


def test_a_client_that_leaves_without_a_stream(server):
    data = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 900, "temperature": 0}).encode()
    for _ in range(12):   # nothing was sent back yet
        s = server.connect()
        s.sendall(keyed(server, b"POST /v1/chat/completions HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)) + data)
        s.close()
    until(lambda: is_idle(server))


def test_more_behind_a_request_under_way(server):
    s = open_stream(server, max_tokens=900, logprobs=True, top_logprobs=20)
    try:
        for _ in range(100): s.sendall(b"GET /health HTTP/1.1\r\nX: " + b"a" * 8000)   # 64 KiB may wait, not more
    except OSError:
        pass
    s.close()
    until(lambda: is_idle(server))


def test_many_requests_in_one_go(server):
    one = keyed(server, b"GET /health HTTP/1.1\r\n" + H + b"\r\n")
    last = keyed(server, b"GET /health HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n")
    got = server.raw(one * 200 + last)
    assert got.count(b"HTTP/1.1 200 ") == 201 and got.count(b"req_") == 402 and len(set(got.split(b"X-Request-Id: ")[1:])) == 201


def test_headers_without_end(server):
    for data in (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100000, b"A" * 1000000, b"GET /" + b"a" * 1000000, b"POST /tokenize HTTP/1.1\r\n" + H + b"X: " + b"y" * 1000000):
        assert server.raw(data)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 414", b"HTTP/1.1 400", b"")


def test_bytes_that_are_no_tls(server):
    if server.reach != "tls": return
    for data in (b"GET /health HTTP/1.1\r\n" + H + b"\r\n", bytes(range(256)) * 100, b"\x16\x03\x01" + b"\xff" * 1000, b"\x16\x03\x01\x00\x05hello", b""):
        with server.connect_plain() as s:
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            while piece := receive(s): assert b"HTTP" not in piece
    for _ in range(20): open_and_reset(server, b"\x16\x03\x01")


def receive(s):
    try: return s.recv(65536)
    except OSError: return b""
