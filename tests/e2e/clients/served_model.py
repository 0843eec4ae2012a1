"""A running `r2lm serve` for tests that use other people's clients, and what keeps those off the network.

Run by tests/e2e/test_real_clients.sh, with the Python that has the clients (tools/fetch_clients.sh).
"""
import os, re, signal, socket, subprocess, tempfile, threading, time, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ.get("R2LM_SOURCE_DIR", os.path.dirname(os.path.dirname(os.path.dirname(HERE))))
PROGRAM = os.environ.get("R2LM_PROGRAM", os.path.join(SOURCE, "build", "r2lm"))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "r2lm")
CLIENTS = os.environ.get("R2LM_CLIENTS", os.path.join(CACHE, "clients"))
QWEN = os.path.join(os.environ.get("R2LM_MODEL_CACHE", os.path.join(CACHE, "models")), "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
TOY = os.path.join(SOURCE, "tests", "e2e", "toy.gguf")   # thinks without end, prints "an" and never stops by itself
KEY = "sk-of-the-tests"


class ServedModel:
    def __init__(self, path, *flags):
        self.log = tempfile.TemporaryFile("w+")
        self.child = subprocess.Popen([PROGRAM, "serve", "-v", "-m", path, "--port", "0", "--api-key", KEY, *map(str, flags)], stderr=self.log)
        self.root = self.base = self.name = None
        for _ in range(1200):
            found = re.search(r"at (http://127\.0\.0\.1:\d+)/v1", self.said())
            if found or self.child.poll() is not None: break
            time.sleep(0.05)
        assert found, self.said()
        self.root, self.base = found.group(1), found.group(1) + "/v1"

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def metric(self, name):
        ask = urllib.request.Request(self.root + "/metrics", headers={"Authorization": "Bearer " + KEY})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(ask, timeout=60) as r: text = r.read().decode()
        return float(re.search(rf"^r2:{name} (\S+)$", text, re.M).group(1))

    def wait_idle(self, seconds=60):
        """Until no request is being answered; how long that took."""
        begin = time.monotonic()
        while self.metric("requests_processing") > 0:
            assert time.monotonic() - begin < seconds, "a request never ended"
            time.sleep(0.02)
        return time.monotonic() - begin

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(60) == 0, self.said()[-2000:]


class Fence:
    """A proxy that lets nothing pass and remembers who knocked."""
    def __init__(self):
        self.knocks, self.door = [], socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            try: one, _ = self.door.accept()
            except OSError: return
            with one:
                one.settimeout(5)
                try: self.knocks.append(one.recv(4096).split(b"\r\n")[0].decode(errors="replace"))
                except OSError: self.knocks.append("?")

    def environment(self, home):
        """For a child process with a home of its own; loopback alone goes past the proxy."""
        url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        keep = {k: os.environ[k] for k in ("PATH", "LANG", "TERM") if k in os.environ}
        proxies = {k: url for name in ("http_proxy", "https_proxy", "all_proxy") for k in (name, name.upper())}
        return {**keep, **proxies, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HOME": str(home)}
