"""`r2lm serve` when memory is refused: allocations of its start, and of the requests it answers, fail once each.

A small library before the C library's own refuses the k-th request for memory: at the start whoever asks, later what the program itself and
jansson ask for.  (libevent 2.1.12 does not survive a refusal of its own in evhttp_request_new and bufferevent_openssl_socket_new.)
"""
import json, os, random, shutil, signal, subprocess, time
import pytest

from serve_client import KEY, PROGRAM, TOY, Server, make_certificate, until

REFUSER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
static atomic_long left = 0, armed = 0, n_calls = 0;
static int is_all = 0;
static int refuses(void *caller) {
    Dl_info info;
    atomic_fetch_add(&n_calls, 1);
    if (atomic_load(&left) <= 0) return 0;
    if (!is_all && (dladdr(caller, &info) == 0 || (!strstr(info.dli_fname, "r2lm") && !strstr(info.dli_fname, "jansson")))) return 0;
    if (atomic_fetch_sub(&left, 1) != 1) return 0;
    errno = ENOMEM;
    return 1;
}
void *malloc(size_t n) { return refuses(__builtin_return_address(0)) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return refuses(__builtin_return_address(0)) ? NULL : __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return refuses(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { return refuses(__builtin_return_address(0)) ? NULL : __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { return refuses(__builtin_return_address(0)) ? NULL : __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { void *m = refuses(__builtin_return_address(0)) ? NULL : __libc_memalign(a, n); if (m) *p = m; return m ? 0 : ENOMEM; }
static void arm(int number) { (void)number; atomic_store(&left, atomic_fetch_add(&armed, STEP) + 1); }
static void disarm(int number) { (void)number; atomic_store(&left, 0); }
__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("REFUSE_AT");
    signal(SIGUSR1, arm);
    signal(SIGUSR2, disarm);
    is_all = at != NULL;
    if (at) atomic_store(&left, atol(at));
}
__attribute__((destructor)) static void end(void) {
    if (getenv("REFUSE_COUNT")) dprintf(2, "allocations: %ld\n", atomic_load(&n_calls));
}
"""

def missing():
    """Why these tests cannot run; a reason, or nothing."""
    with open(PROGRAM, "rb") as f: program = f.read()
    if b"__asan_init" in program or b"__tsan_init" in program: return "a sanitizer has its own allocator"
    return "" if shutil.which("cc") else "needs a C compiler"


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "runs")


def refuser(folder, step=1):
    path = os.path.join(str(folder), f"refuser{step}.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", f"-DSTEP={step}", "-xc", "-", "-o", path, "-ldl"], input=REFUSER, text=True, check=True)
    return path


def start(library, flags, **env):
    return subprocess.Popen([PROGRAM, "serve", "-m", TOY, *flags], stderr=subprocess.PIPE, text=True, env={**os.environ, "LD_PRELOAD": library, **env})


def test_start(tmp_path):
    cert, key = make_certificate(str(tmp_path))
    flags = ["--port", "0", "--tls-cert", cert, "--tls-key", key, "--api-key", KEY]
    library = refuser(tmp_path)
    child = start(library, flags, REFUSE_COUNT="1")
    assert "serving" in child.stderr.readline()
    child.send_signal(signal.SIGTERM)
    n = int(child.communicate(timeout=30)[1].split("allocations: ")[1])
    points = range(1, n + 1) if os.environ.get("R2LM_ALL_POINTS") else sorted({*range(n - 120, n + 1), *random.Random(1).sample(range(1, n), 120)})
    outcomes = {}
    for k in points:
        child = start(library, flags, REFUSE_AT=str(k))
        line = more = child.stderr.readline()
        while more and "serving" not in line: line += (more := child.stderr.readline())   # notes come first
        if "serving" in line: child.send_signal(signal.SIGTERM)   # it could do without
        more = child.communicate(timeout=60)[1]
        assert child.returncode >= 0 and child.returncode < 126, (k, child.returncode, line + more)
        assert ("serving" in line and child.returncode == 0) or (line + more).strip(), (k, child.returncode)
        outcomes[child.returncode] = outcomes.get(child.returncode, 0) + 1
    print(n, outcomes)
    assert outcomes.get(4, 0) > 0   # out of memory, said so


@pytest.mark.parametrize("reach", ["tcp", "tls"])
def test_requests(tmp_path, reach):
    os.environ["LD_PRELOAD"] = refuser(tmp_path)
    try: server = Server("--api-key", KEY, "--allow-origin", "https://a.example", reach=reach)
    finally: del os.environ["LD_PRELOAD"]
    server.headers = {"x-api-key": KEY}
    messages = [{"role": "user", "content": "Hello " * 200}]
    codes = {}
    for k in range(1, 500):
        server.child.send_signal(signal.SIGUSR1)   # the k-th from here on
        try: code = server.ask("POST", "/v1/chat/completions", {"messages": messages, "max_tokens": 6, "stream": k % 2 == 0, "logprobs": True}, timeout=20).status
        except (OSError, json.JSONDecodeError) as e: code = "closed"
        except Exception as e: code = type(e).__name__   # a reply that ends early
        server.child.send_signal(signal.SIGUSR2)
        codes[code] = codes.get(code, 0) + 1
        assert server.child.poll() is None, (k, server.child.returncode, server.lines[-3:])
        assert code != 500 and code != 401 and code != 403, (k, code)
    print(codes)
    assert codes.get(200, 0) > 100 and server.chat(max_tokens=2)["usage"]["completion_tokens"] == 2
    until(lambda: server.metric("requests_processing") == server.metric("requests_deferred") == 0 and server.metric("connections") == 1)
    server.stop()
