"""A running `r2lm serve` for tests that use other people's clients, and what keeps those off the network.

Run by tests/e2e/test_real_clients.sh, with the Python that has the clients (tools/fetch_clients.sh).
"""
import os, socket, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from serve_client import KEY, PROGRAM, SOURCE, TOY, Server, until   # noqa: E402, F401

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "r2lm")
CLIENTS = os.environ.get("R2LM_CLIENTS", os.path.join(CACHE, "clients"))
QWEN = os.path.join(os.environ.get("R2LM_MODEL_CACHE", os.path.join(CACHE, "models")), "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")


class ServedModel(Server):
    def __init__(self, path, *flags):
        super().__init__("--api-key", KEY, *flags, model=path)
        self.headers = {"Authorization": "Bearer " + KEY}
        self.base = f"http://127.0.0.1:{self.port}/v1"

    def wait_idle(self, seconds=60):
        """Until no request is being answered; how long that took."""
        begin = time.monotonic()
        until(lambda: self.metric("requests_processing") == 0, seconds)
        return time.monotonic() - begin


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
