#!/usr/bin/env python3
"""Does `r2lm serve` stay well under many, slow, leaving and aborting clients?  Prints each figure beside its limit.

  check_server_load.py [--program build/r2lm] [--model MODEL.gguf] [--tls] [--idle 1000] [--slow 100]
                       [--requests 10000] [--only ready,idle,files,leave,soak,drain]

Exit status 1: a limit was missed.  The same checks with small numbers are tests/e2e/test_serve_load.py.
"""
import argparse, concurrent.futures, json, os, random, resource, signal, sys, threading, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
os.environ.setdefault("R2LM_PROGRAM", os.path.join(ROOT, "build", "r2lm"))
missed = []


def show(name, value, limit, unit="", is_good=None):
    is_good = value <= limit if is_good is None else is_good
    print(f"{name:58} {value:12.3f} {unit:4} limit {limit:g} {'' if is_good else '  MISSED'}", flush=True)
    if not is_good: missed.append(name)


def rss_kib(server):
    with open(f"/proc/{server.child.pid}/status") as f:
        return int(next(l for l in f if l.startswith("VmRSS")).split()[1])


def files(server):
    return len(os.listdir(f"/proc/{server.child.pid}/fd"))


def cpu_seconds(server):
    with open(f"/proc/{server.child.pid}/stat") as f: fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def first_token_seconds(server, n=7):
    """Median time from connecting to the first part of an answer."""
    from serve_client import open_stream
    took = []
    for _ in range(n):
        begin = time.monotonic()
        with open_stream(server, max_tokens=4) as s:
            got, is_first = b"", True
            while b"[DONE]" not in got:
                piece = s.recv(65536)
                assert piece, got
                got += piece
                if is_first and b'"content":"' in got.replace(b'"content":""', b""):
                    took.append(time.monotonic() - begin)
                    is_first = False
    return sorted(took)[n // 2]


def is_idle(server):
    return server.metric("requests_processing") == 0 and server.metric("requests_deferred") == 0


# ---------------------------------------------------------------- the checks
def ready(make, options):
    """From the start of the process to the first answer."""
    took = []
    for _ in range(options.starts):
        begin = time.monotonic()
        server = make()
        assert server.ask("GET", "/health").status == 200
        took.append(time.monotonic() - begin)
        server.stop()
    show("ready to answer after start (median)", sorted(took)[len(took) // 2], options.ready_limit, "s")


def idle(make, options):
    from serve_client import H
    server = make()
    for _ in range(3): server.chat(max_tokens=4)
    alone = first_token_seconds(server)
    before = rss_kib(server)
    quiet = [server.connect(30) for _ in range(options.idle)]
    for s in quiet:
        s.sendall(b"GET /health HTTP/1.1\r\n" + H + b"\r\n")
        s.recv(4000)
    each = (rss_kib(server) - before) / options.idle
    slow = [server.connect(30) for _ in range(options.slow)]
    for s in slow: s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    is_over = threading.Event()

    def drip():
        while not is_over.wait(0.2):
            for s in slow: s.sendall(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    crowded = first_token_seconds(server)
    n = server.metric("connections")
    is_over.set()
    thread.join()
    show(f"open connections, {options.idle} idle and {options.slow} slow", n, options.idle + options.slow, "", n >= options.idle + options.slow)
    show("a chat starts later than alone by", crowded - alone, 1, "s")
    show("memory of an idle connection", each, 64, "KiB")
    for s in quiet + slow: s.close()
    server.stop()


def limited_files(make, options):
    """More clients than descriptors: they wait, and the server does not spin."""
    for n in (96, 40): limited(make, n)   # fewer than it counts on as well


def limited(make, n):
    server = make(n_files=n)
    many = []
    for _ in range(200):
        try: many.append(server.connect_plain(2))
        except OSError: break
    time.sleep(0.5)
    begin, used = time.monotonic(), cpu_seconds(server)
    time.sleep(2)
    show("CPU while descriptors have run out", (cpu_seconds(server) - used) / (time.monotonic() - begin) * 100, 5, "%")
    for s in many: s.close()
    begin = time.monotonic()
    assert server.ask("GET", "/health").status == 200
    show("answers again after they are free", time.monotonic() - begin, 5, "s")
    server.stop()


def leave(make, options):
    """How long a place stays taken behind a client that left."""
    from serve_client import H, open_stream
    server = make()
    body = {"temperature": 1, "max_tokens": 900, "ignore_eos": True}
    worst = {}
    for what in ("stream", "whole answer", "prompt being read"):
        took = []
        for i in range(options.leavers):
            more = {"messages": [{"role": "user", "content": f"{i} " + "word " * (options.prompt_words if "prompt" in what else 5)}]}
            s = open_stream(server, **{**body, **more, "stream": what == "stream"})
            begin = time.monotonic()
            while server.metric("requests_processing") == 0 and time.monotonic() - begin < 2: time.sleep(0.002)
            if what == "stream": s.recv(100)
            s.close()
            begin = time.monotonic()
            while not is_idle(server) and time.monotonic() - begin < 30: time.sleep(0.002)
            took.append(time.monotonic() - begin)
        worst[what] = max(took)
        show(f"place free after a client left: {what} (longest of {options.leavers})", max(took), options.leave_limit, "s")
    server.stop()


def soak(make, options):
    from serve_client import H, open_stream
    server = make()
    files_before = files(server)
    counter, lock, codes = [0], threading.Lock(), {}

    def one(i):
        draw = random.Random(i)
        text = "word " * draw.randrange(60)
        kind = draw.randrange(100)
        if kind < 5:   # leaves somewhere
            try:
                s = open_stream(server, max_tokens=50, messages=[{"role": "user", "content": text}], stream=draw.random() < 0.5)
                if draw.random() < 0.5: s.recv(draw.randrange(1, 500))
                s.close()
            except OSError:
                pass
            return "left"
        if kind < 10: return server.ask("POST", "/v1/chat/completions", "{" * draw.randrange(100)).status
        if kind < 20: return server.ask("POST", "/tokenize", {"content": text}).status
        return server.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "max_tokens": draw.randrange(1, 12), "stream": kind % 2 == 0}).status

    def some(n):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            with lock: first = counter[0]
            counter[0] += n
            for code in pool.map(one, range(first, first + n)): codes[code] = codes.get(code, 0) + 1

    n_warm = options.requests // 4
    some(n_warm)
    warm = rss_kib(server)
    begin = time.monotonic()
    some(options.requests - n_warm)
    seconds = time.monotonic() - begin
    begin = time.monotonic()
    while not (is_idle(server) and server.metric("connections") == 1) and time.monotonic() - begin < 10: time.sleep(0.02)
    grown = rss_kib(server)
    print(f"  {options.requests} requests: {dict(sorted(codes.items(), key=str))}, {(options.requests - n_warm) / seconds:.0f}/s; memory {warm} KiB, then {grown} KiB")
    show("memory grown after the first quarter", (grown - warm) / warm * 100, options.growth_limit, "%")
    show("descriptors more than before", files(server) - files_before, 1)
    show("requests that still hold a place", server.metric("requests_processing") + server.metric("requests_deferred"), 0)
    show("codes that should not come", sum(n for code, n in codes.items() if code not in (200, 400, 429, "left")), 0)
    server.stop()


def drain(make, options):
    from serve_client import open_stream
    server = make()
    s = open_stream(server, max_tokens=300)
    got = s.recv(100)
    server.child.send_signal(signal.SIGTERM)
    while piece := s.recv(65536): got += piece
    show("SIGTERM: the answer under way is finished, exit status", server.child.wait(60), 0, "", b"data: [DONE]" in got and server.child.returncode == 0)
    server = make("--drain", 0)
    streams = [open_stream(server, max_tokens=900, logprobs=True, top_logprobs=20, ignore_eos=True) for _ in range(4)]
    for s in streams: s.recv(1)
    begin = time.monotonic()
    server.child.send_signal(signal.SIGTERM)
    code = server.child.wait(60)
    show("SIGTERM with --drain 0", time.monotonic() - begin, 3, "s", code == 0 and time.monotonic() - begin < 3)
    server.thread.join(5)


CHECKS = {"ready": ready, "idle": idle, "files": limited_files, "leave": leave, "soak": soak, "drain": drain}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program"), p.add_argument("--model"), p.add_argument("--tls", action="store_true"), p.add_argument("--only", default=",".join(CHECKS))
    for name, value in (("idle", 1000), ("slow", 100), ("requests", 10000), ("starts", 7), ("leavers", 20), ("prompt-words", 800)): p.add_argument("--" + name, type=int, default=value)
    for name, value in (("ready-limit", 0.5), ("leave-limit", 0.2), ("growth-limit", 1.0)): p.add_argument("--" + name, type=float, default=value)
    options = p.parse_args()
    if options.program: os.environ["R2LM_PROGRAM"] = os.path.abspath(options.program)
    from serve_client import TOY, Server
    model = options.model or TOY
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

    servers = []

    def make(*flags, n_files=0):
        prefix = ["prlimit", f"--nofile={n_files}:{n_files}"] if n_files else []
        servers.append(Server("--draft", "off", *flags, prefix=prefix, reach="tls" if options.tls else "tcp", model=model))
        return servers[-1]

    print(f"{os.path.basename(model)} over {'TLS' if options.tls else 'a port'}")
    try:
        for name in options.only.split(","): CHECKS[name](make, options)
    finally:
        for s in servers: s.child.kill()
    return 1 if missed else 0


if __name__ == "__main__": sys.exit(main())
