"""Clients that are too slow for `r2lm serve`: header 10 s, body 30 s and 1 KiB/s, idle 30 s, replies not read 30 s.

All at once, for it is mostly waiting."""
import concurrent.futures, socket, time
import pytest

from serve_client import H, Server, until

POST = b"POST /tokenize HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n"
SLACK = 20   # seconds that a busy machine may add: what matters is that the server closes at all, and not before


def lived(server, first, drip, pause, limit=80, tls=True):
    """What came back, and after how many seconds the server closed."""
    s = server.connect() if tls else server.connect_plain()
    begin, got = time.monotonic(), b""
    s.settimeout(pause)
    try:
        if first: s.sendall(first)
        while time.monotonic() - begin < limit:
            try:
                piece = s.recv(65536)
                if not piece: break
                got += piece
            except TimeoutError:
                if drip: s.sendall(drip)
    except OSError:
        pass
    s.close()
    return got, time.monotonic() - begin


def not_read(server):
    """Asks much and reads nothing: seconds until the server closed."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", server.port))
    body = b'{"content":"' + b"a b " * 1000000 + b'"}'   # its reply is more than the kernel takes for us
    s.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    begin = time.monotonic()
    while is_open(server, s) and time.monotonic() - begin < 150: time.sleep(0.5)
    s.close()
    return time.monotonic() - begin


def is_open(server, s):
    """The server's side of it; ours learns nothing before it reads."""
    ours, theirs = ":%04X" % s.getsockname()[1], ":%04X" % server.port
    with open("/proc/net/tcp") as f: lines = [l.split() for l in f.readlines()[1:]]
    return any(l[1].endswith(theirs) and l[2].endswith(ours) and l[3] == "01" for l in lines)


@pytest.mark.parametrize("reach", ["tcp", "tls"])
def test_deadlines(reach):
    server = Server(reach=reach)
    cases = {   # what is sent at first, then again and again, at which pause; status, seconds
        "header": (b"GET /health HTTP/1.1\r\nHo", b"s", 0.5, b"408", 10), "header in one go, then nothing": (b"GET /health HTTP/1.1\r\n" + H, b"", 1, b"408", 10),
        "fields": (b"GET /health HTTP/1.1\r\n" + H, b"X: y\r\n", 0.5, b"408", 10), "body": (POST + b"Content-Length: 100000\r\n\r\n", b"a" * 100, 0.5, b"408", 30),
        "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 0.2, b"408", 30), "nothing": (b"", b"", 1, b"", 30),
        "idle": (b"GET /health HTTP/1.1\r\n" + H + b"\r\n", b"", 1, b"200", 30),
    }
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        running = {name: pool.submit(lived, server, *case[:3]) for name, case in cases.items()}
        text = b'{"content":"' + b"a" * 70000 + b'"}'   # slow but steady, longer than 30 s
        slow = server.connect()
        slow.sendall(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(text))
        stalled = pool.submit(not_read, server) if reach == "tcp" else None
        handshake = pool.submit(lived, server, b"\x16\x03\x01", b"", 1, 80, False) if reach == "tls" else None
        for i in range(0, len(text), 2000):
            slow.sendall(text[i:i + 2000])
            time.sleep(1)
        assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
        slow.close()
        for name, (_, _, _, status, seconds) in cases.items():
            got, took = running[name].result()
            assert got[9:12] == status and seconds - 1.5 < took < seconds + SLACK, (name, got[:100], took)
        if stalled: assert 25 < stalled.result() < 140   # the reply is large: it takes its time before it stalls
        if handshake: assert handshake.result()[0] == b"" and 8 < handshake.result()[1] < 10 + SLACK
    until(lambda: server.metric("connections") == 1)
    server.stop()
