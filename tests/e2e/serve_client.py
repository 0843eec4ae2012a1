"""A server to talk to, for the tests of `r2lm serve`: plain sockets and http.client, the toy model."""
import http.client, json, os, re, signal, socket, subprocess, threading, time
import pytest

SOURCE = os.environ.get("R2LM_SOURCE_DIR", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PROGRAM = os.environ.get("R2LM_PROGRAM", os.path.join(SOURCE, "build", "r2lm"))
TOY = os.path.join(SOURCE, "tests", "e2e", "toy.gguf")
KEY = "sk-right-key"

probe = subprocess.run([PROGRAM, "serve", "-m", "/nowhere"], capture_output=True, text=True)
if "without libevent" in probe.stderr: pytest.skip("built without libevent", allow_module_level=True)


class Server:
    def __init__(self, *flags, prefix=()):
        self.child = subprocess.Popen([*prefix, PROGRAM, "serve", "-v", "-m", TOY, "--port", "0", *map(str, flags)], stderr=subprocess.PIPE, text=True)
        self.lines = [self.child.stderr.readline()]
        found = re.search(r"at http://127\.0\.0\.1:(\d+)/v1", self.lines[0])
        assert found, self.lines[0] + self.child.stderr.read()
        self.port = int(found.group(1))
        self.thread = threading.Thread(target=lambda: self.lines.extend(self.child.stderr), daemon=True)
        self.thread.start()

    def ask(self, method, path, body=None, headers=None, timeout=60):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        c.request(method, path, data, {**({"Content-Type": "application/json"} if method == "POST" else {}), **(headers or {})})
        r = c.getresponse()
        r.text = r.read().decode()
        r.json = json.loads(r.text) if "json" in (r.getheader("Content-Type") or "") else None
        c.close()
        return r

    def chat(self, path="/v1/chat/completions", headers=None, code=200, **body):
        r = self.ask("POST", path, {"messages": [{"role": "user", "content": "Hello"}], **body}, headers)
        assert r.status == code, (r.status, r.text)
        return r.json if "json" in r.getheader("Content-Type") else r

    def raw(self, data, timeout=5):
        """What comes back for these bytes until the server closes or is silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            s.sendall(data)
            got = b""
            try:
                while piece := s.recv(65536): got += piece
            except (ConnectionResetError, TimeoutError):
                pass
            return got

    def metric(self, name):
        text = self.ask("GET", "/metrics").text
        return float(re.search(rf"^r2lm:{name} (\S+)$", text, re.M).group(1))

    def stop(self, code=0, number=signal.SIGTERM, timeout=60):
        if self.child.poll() is None: self.child.send_signal(number)
        assert self.child.wait(timeout) == code, self.lines[-5:]
        self.thread.join(5)


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
