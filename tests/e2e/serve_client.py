"""A server to talk to, for the tests of `r2lm serve`: plain sockets and http.client, the toy model."""
import http.client, json, os, re, shutil, signal, socket, ssl, subprocess, tempfile, threading, time
import pytest
from cli_client import PROGRAM, SOURCE, TOY   # noqa: F401

KEY = "sk-right-key"

probe = subprocess.run([PROGRAM, "serve", "-m", "/nowhere"], capture_output=True, text=True)
if "without libevent" in probe.stderr: pytest.skip("built without libevent", allow_module_level=True)


H = b"Host: localhost\r\n"


def make_certificate(folder):
    """PEM files of a certificate for localhost that signs itself, and of its key."""
    if not shutil.which("openssl"): pytest.skip("needs openssl")
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"], check=True, capture_output=True)
    return cert, key


class Server:
    """reach: over "tcp", "tls" or "unix"."""
    def __init__(self, *flags, prefix=(), reach="tcp", model=TOY):
        self.reach, self.port, self.headers = reach, 0, {}
        where = ["--port", "0"]
        if reach != "tcp": self.folder = tempfile.TemporaryDirectory()
        if reach == "tls":
            cert, key = make_certificate(self.folder.name)
            self.tls = ssl.create_default_context(cafile=cert)
            where += ["--tls-cert", cert, "--tls-key", key]
        if reach == "unix":
            self.path = os.path.join(self.folder.name, "r2lm.sock")
            where = ["--socket", self.path]
        self.child = subprocess.Popen([*prefix, PROGRAM, "serve", "-v", "-m", model, *where, *map(str, flags)], stderr=subprocess.PIPE, text=True)
        self.lines, found = [], None
        while not found:
            line = self.child.stderr.readline()
            assert line, self.lines
            self.lines.append(line)
            found = re.search(r"at https?://(?:127\.0\.0\.1:(\d+)|localhost)/v1", line)
        self.port = int(found.group(1) or 0)
        self.thread = threading.Thread(target=lambda: self.lines.extend(self.child.stderr), daemon=True)
        self.thread.start()

    def connect_plain(self, timeout=10):
        if self.reach != "unix": return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(self.path)
        return s

    def connect(self, timeout=10):
        s = self.connect_plain(timeout)
        if self.reach != "unix": s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls.wrap_socket(s, server_hostname="localhost") if self.reach == "tls" else s

    def ask(self, method, path, body=None, headers=None, timeout=60):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        if self.reach != "tcp": c.sock = self.connect(timeout)
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        c.request(method, path, data, {**({"Content-Type": "application/json"} if method == "POST" else {}), **self.headers, **(headers or {})})
        r = c.getresponse()
        r.text = r.read().decode()
        r.json = json.loads(r.text) if "json" in (r.getheader("Content-Type") or "") and r.text else None
        c.close()
        return r

    def chat(self, path="/v1/chat/completions", headers=None, code=200, **body):
        r = self.ask("POST", path, {"messages": [{"role": "user", "content": "Hello"}], **body}, headers)
        assert r.status == code, (r.status, r.text)
        return r.json if "json" in r.getheader("Content-Type") else r

    def raw(self, data, timeout=5):
        """What comes back for these bytes until the server closes or is silent."""
        got = b""
        with self.connect(timeout) as s:
            try:
                s.sendall(data)
                while piece := s.recv(65536): got += piece
            except OSError:
                pass
        return got

    def metric(self, name):
        text = self.ask("GET", "/metrics").text
        return float(re.search(rf"^r2:{name}(?:{{tier=\"ram\"}})? (\S+)$", text, re.M).group(1))

    def stop(self, code=0, number=signal.SIGTERM, timeout=60):
        if self.child.poll() is None: self.child.send_signal(number)
        assert self.child.wait(timeout) == code, self.lines[-5:]
        self.thread.join(5)


def serving(*flags, **how):
    """For fixtures: a server that is well at the end, whatever was done to it, and stops in order."""
    server = Server(*flags, **how)
    yield server
    assert server.ask("GET", "/health").status == 200
    server.stop()


def open_stream(server, headers=None, **body):
    """A chat whose answer nobody has read yet."""
    s = server.connect(60)
    data = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True, "temperature": 0, "reasoning_effort": "none", **body}).encode()
    more = b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in {**server.headers, **(headers or {})}.items())
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n" + H + more + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    return s


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def events(text):
    lines = [l for l in text.split("\n") if l]
    assert all(l.startswith("data: ") or l.startswith(":") for l in lines), text[:500]
    data = [l[6:] for l in lines if l.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(d) for d in data[:-1]]


def error(r, status):
    assert r.status == status, (r.status, r.text)
    e = r.json["error"]
    assert set(e) >= {"message", "type", "param", "code"} and e["message"] and isinstance(e["type"], str)
    assert e["code"] is None or isinstance(e["code"], str)
    assert "/src" not in e["message"] and not re.search("0x[0-9a-f]{6}", e["message"])
    return e
