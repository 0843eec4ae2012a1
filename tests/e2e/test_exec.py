"""r2lm exec: what a program in the sandbox may try (e1 to e34 of the threat model), in both kinds of cage.

escape.c makes the attempts; here stands what must hold outside: limits, nothing left alive, nothing changed, the next program runs.
e33, output that imitates a tool's result, is test_results_do_not_become_turns of test_serve_tools.py and the fuzz target tool_calls.
"""
import json, os, re, shutil, signal, socket, subprocess, tempfile, time
import pytest
from cli_client import IS_SANITIZED, PROGRAM, SOURCE, USAGE, here, home, no_layers, one_line, r2lm   # noqa: F401  (fixtures)

NO_SANDBOX, TIME_UP, LIMIT, NO_PROGRAM = 77, 124, 137, 127
CAGES = [pytest.param([], id="namespaces"), pytest.param(["--landlock"], id="landlock")]
LAYERS = {}


def layers():
    if not LAYERS:
        done = subprocess.run([PROGRAM, "sandbox", "--check", "--json"], capture_output=True, text=True)
        LAYERS.update({l["name"]: l["is_there"] for l in json.loads(done.stdout)["layers"]}) if done.returncode in (0, NO_SANDBOX) else None
    return LAYERS


@pytest.fixture(params=CAGES)
def cage(request):
    needed = "Landlock" if request.param else "namespaces"
    if not layers().get(needed) or not layers().get("system calls"): pytest.skip(f"this machine has no {needed}")
    return request.param


def test_some_cage_is_there():
    """Without one nearly all of this file is skipped: who demands a sandbox (CI) wants to be told."""
    some = layers().get("system calls") and (layers().get("namespaces") or layers().get("Landlock"))
    if not some and not os.environ.get("TESTS_NEED_SANDBOX"): pytest.skip("this machine has no sandbox")
    assert some, layers()


@pytest.fixture(scope="session")
def escape():
    """In a folder that everybody may read: root's programs run as nobody."""
    folder = tempfile.mkdtemp(prefix="r2lm-escape-", dir="/tmp")
    os.chmod(folder, 0o755)
    out = os.path.join(folder, "escape")
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-static", "-pthread", "-o", out, os.path.join(SOURCE, "tests/e2e/programs/escape.c")], check=True)
    yield out
    shutil.rmtree(folder)


def tries(cage, escape, *words, flags=(), wall=20, code=0, **more):
    return r2lm("exec", *cage, "--wall-time", wall, "--read", escape, *flags, "--", escape, *words, code=code, timeout=60, **more)


def held(cage, escape, *words, **more):
    done = tries(cage, escape, *words, **more)
    assert set(done.out.split("\n")) <= {"held", ""} and "held" in done.out, done.out
    return done


def still_works(cage):
    assert r2lm("exec", *cage, "--", "echo", "next").out == "next\n"


def alive(name):
    """Processes that run this program."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe").split(" ")[0] == name and open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[0] != "Z": found.append(pid)
        except OSError:
            pass
    return found


# ---- what it is for ----

def test_runs_programs(cage):
    assert r2lm("exec", *cage, "--", "sh", "-c", "echo out; echo err >&2; exit 3", code=3).out == "out\n"
    assert r2lm("exec", *cage, "--", "python3", "-", stdin="print(6 * 7)").out == "42\n"
    assert r2lm("exec", *cage, "--env", "A=b c", "--", "sh", "-c", 'echo "$A"').out == "b c\n"
    done = json.loads(r2lm("exec", *cage, "--json", "--", "sh", "-c", "printf 'a\\0b'; kill -SEGV $$", code=139).out)
    assert done["end"] == "signal" and done["stdout"] == "a\0b" and done["wall_seconds"] > 0
    assert json.loads(r2lm("exec", *cage, "--json", "--", "printf", "a\\377").out)["stdout"] == "a\ufffd"
    r2lm("exec", *cage, "--", "no-such-program", code=NO_PROGRAM)
    r2lm("exec", *cage, "--", "/usr/share", code=NO_PROGRAM)
    assert json.loads(r2lm("exec", *cage, "--json", "--", "no-such-program", code=NO_PROGRAM).out)["error"]["exit_code"] == NO_PROGRAM
    assert "from / on" in one_line(r2lm("exec", *cage, "--read", ".", "--", "true", code=USAGE).err)
    assert "found JUSTNAME" in one_line(r2lm("exec", *cage, "--env", "JUSTNAME", "--", "true", code=USAGE).err)
    assert "behind --" in one_line(r2lm("exec", code=USAGE).err)
    many = [word for i in range(64) for word in ("--env", f"A{i}={i}")]
    assert len(re.findall(r"^A\d+=", r2lm("exec", *cage, *many, "--", "env").out, re.M)) == 64
    # What a program took: of all its processes.
    work = "x = bytearray(200 << 20); x[::4096] = b'1' * len(x[::4096]); import time, os\nif os.fork() == 0:\n while time.process_time() < 0.6: pass\nelse: os.wait()"
    took = json.loads(r2lm("exec", *cage, "--json", "--", "python3", "-c", work).out)
    assert 0.5 < took["cpu_seconds"] < 5 and 200 << 20 <= took["memory_bytes"] < 900 << 20 and took["wall_seconds"] > 0.5, took


def test_work_folder(cage, here):
    work = here / "work"
    work.mkdir()
    (work / "given").write_text("given\n")
    assert r2lm("exec", *cage, "--work", work, "--", "sh", "-c", "cat given; echo made > made; pwd").out.startswith("given\n")
    assert (work / "made").read_text() == "made\n"
    for flag in ("--work", "--read"): assert str(here / "none") in one_line(r2lm("exec", *cage, flag, here / "none", "--", "true", code=USAGE).err)


def test_check_says_what_is_there():
    out = r2lm("sandbox", "--check", code=0 if layers().get("system calls") and (layers().get("namespaces") or layers().get("Landlock")) else NO_SANDBOX).out
    assert "namespaces" in out and "system calls" in out and "Landlock" in out


# ---- limits: e1 to e6, e26, e27, e32 ----

@pytest.mark.parametrize("words, flags, says, code", [
    (["forks"], [], "processes", LIMIT),
    (["threads"], [], "processes", LIMIT),
    (["memory-shared-out"], ["--memory-limit", "1500"], "memory", LIMIT),
    (["spin"], ["--cpu-time", "1"], "CPU time", TIME_UP),
    (["inodes", "."], [], "disk", LIMIT),
])
def test_bombs_end(cage, escape, words, flags, says, code):
    wall = 3 if words[0] in ("forks", "threads") else 20   # a limit of the kernel's may hold them back until time is up
    done = r2lm("exec", *cage, "--wall-time", wall, "--read", escape, *flags, "--json", "--", escape, *words, code=None_or(code, words), timeout=60)
    result = json.loads(done.out)
    assert result["end"] == says or (words[0] in ("forks", "threads") and result["end"] == "wall time"), result
    assert alive(escape) == []
    still_works(cage)


class None_or:
    """Exit codes: the one of the limit, or that of time for bombs that the kernel holds back."""
    def __init__(self, code, words): self.codes = {code} | ({TIME_UP} if words[0] in ("forks", "threads") else set())
    def __eq__(self, other): return other in self.codes
    def __hash__(self): return 0
    def __repr__(self): return f"one of {self.codes}"


def test_sleep_ends(cage):
    start = time.monotonic()
    r2lm("exec", *cage, "--wall-time", 0.5, "--", "sleep", "100", code=TIME_UP)
    assert time.monotonic() - start < 20


def test_memory_of_one_process(cage, escape):
    held(cage, escape, "memory")


def test_disk_is_bounded(cage, escape, here):
    before = shutil.disk_usage("/tmp").used
    done = r2lm("exec", *cage, "--wall-time", 20, "--read", escape, "--disk-limit", "8", "--json", "--", escape, "disk", ".", code=None_or(LIMIT, ["forks"]) if cage else 0)
    assert json.loads(done.out)["end"] in ("exit", "disk")
    assert shutil.disk_usage("/tmp").used - before < 1 << 30
    still_works(cage)


def test_disk_of_short_programs(cage, here):
    work = here / "work"
    work.mkdir()
    done = r2lm("exec", *cage, "--work", work, "--disk-limit", "1", "--", "sh", "-c", "for i in 1 2 3; do head -c 900000 /dev/urandom > $i; done", code=LIMIT)
    assert "disk" in done.err
    assert "--disk-limit" in r2lm("exec", *cage, "--work", work, "--disk-limit", "1", "--", "true", code=USAGE).err       # what is there already counts


def test_output_is_cut(cage, escape):
    done = json.loads(r2lm("exec", *cage, "--read", escape, "--json", "--wall-time", 60, "--", escape, "flood", code=0).out)
    assert len(done["stdout"]) == 1 << 20 and done["stdout_is_cut"]
    still_works(cage)


def test_nothing_is_left_alive(cage, escape):
    start = time.monotonic()
    held(cage, escape, "daemons")
    assert time.monotonic() - start < 30          # who holds standard output open holds nobody up
    time.sleep(0.2)
    assert alive(escape) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_is_stopped_stops_the_program(cage, escape, number):
    before = set(os.listdir("/tmp"))
    running = subprocess.Popen([PROGRAM, "exec", *cage, "--read", escape, "--", escape, "spin"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not alive(escape): time.sleep(0.01)
    running.send_signal(number)
    assert running.wait(timeout=20) == (-number if number == signal.SIGKILL else 128 + number)
    deadline = time.monotonic() + 20
    while alive(escape) and time.monotonic() < deadline: time.sleep(0.01)
    assert alive(escape) == []
    left = [n for n in set(os.listdir("/tmp")) - before if n.startswith("r2lm-sandbox-")]
    if number == signal.SIGKILL:
        for name in left: shutil.rmtree(os.path.join("/tmp", name))
    else:
        assert left == []


def test_ctrl_c_at_a_terminal(cage, escape):
    """A terminal interrupts all of its foreground group: bwrap must not be in it."""
    running = subprocess.Popen([PROGRAM, "exec", *cage, "--json", "--read", escape, "--", escape, "spin"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    while not alive(escape): time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    out, _ = running.communicate(timeout=20)
    assert running.returncode == 128 + signal.SIGINT and json.loads(out)["end"] == "canceled"
    assert alive(escape) == []


def test_strange_folders_are_cleaned_up(cage, escape):
    before = set(os.listdir("/tmp"))
    tries(cage, escape, "deep", code=LIMIT, wall=30)
    left = [n for n in set(os.listdir("/tmp")) - before if n.startswith("r2lm-sandbox-")]
    assert left == []
    tries(cage, escape, "sparse", code=153)       # SIGXFSZ


# ---- network: e7 to e10 ----

def test_no_network(cage, escape):
    server = socket.create_server(("127.0.0.1", 0))
    held(cage, escape, "connect", str(server.getsockname()[1]))
    held(cage, escape, "sockets")
    server.settimeout(0.1)
    with pytest.raises(TimeoutError): server.accept()
    server.close()


def test_no_unix_sockets_outside(cage, escape):
    path = os.path.join(os.path.dirname(escape), "sock")
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(path)
    os.chmod(path, 0o777)
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    abstract.bind(b"\0r2lm-test-abstract")
    held(cage, escape, "unix-paths", path)
    for s in (receiver, abstract):
        s.settimeout(0.1)
        with pytest.raises(TimeoutError): s.recv(1)
        s.close()
    os.unlink(path)


# ---- files and processes outside: e11 to e20, e23 to e25 ----

def test_no_files_outside(cage, escape, here, home):
    secret = here / "secret"
    secret.write_text("key")
    os.chmod(secret, 0o644)
    for path in ("/etc/shadow", "/etc/passwd-", str(secret), os.path.join(SOURCE, "README.md"), str(home), "/var/lib/dpkg/status", "/root"):
        if os.path.exists(path): held(cage, escape, "read", path)
    for path in ("/usr/bin/r2lm-test", "/etc/r2lm-test", str(here / "made"), "/r2lm-test", "../../../../r2lm-test"):
        held(cage, escape, "write", path)
        assert not os.path.exists(path)


def test_no_processes_outside(cage, escape):
    victim = subprocess.Popen(["sleep", "60"], env={"SECRET": "key"})
    try:
        held(cage, escape, "parents", str(os.getpid()))
        held(cage, escape, "parents", str(victim.pid))
        tries(cage, escape, "kill")
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_attributes_outside_stay(cage, escape, here):
    """Beside a folder of one's own the program runs as who called it."""
    work, outside = here / "work", here / "outside"
    work.mkdir(), outside.write_text("mine")
    os.chmod(outside, 0o600)
    before = os.stat(outside)
    victim = subprocess.Popen(["sleep", "60"])
    try:
        held(cage, escape, "attributes", f"{outside} {victim.pid}", flags=("--work", work))
        assert os.sched_getaffinity(victim.pid) == os.sched_getaffinity(0) and os.getpriority(os.PRIO_PROCESS, victim.pid) == os.getpriority(os.PRIO_PROCESS, 0)
        after = os.stat(outside)
        assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    finally:
        victim.kill()
        victim.wait()


def test_nothing_leaks_in(cage, escape, home):
    read, write = os.pipe()
    os.set_inheritable(read, True), os.set_inheritable(write, True)
    held(cage, escape, "descriptors", close_fds=False)
    os.close(read), os.close(write)
    env = r2lm("exec", *cage, "--", "env", env={"R2LM_API_KEY": "key", "SECRET": "key", "LD_PRELOAD": ""}).out
    assert "key" not in env and set(re.findall(r"^(\w+)=", env, re.M)) <= {"PATH", "HOME", "LANG", "TMPDIR", "PWD", "SHLVL", "_"}


def test_links_in_the_work_folder_lead_nowhere(cage, here):
    work = here / "work"
    work.mkdir()
    r2lm("exec", *cage, "--work", work, "--", "sh", "-c", "ln -s /etc/passwd link; ln -s / root; mkfifo pipe; touch -- -rf; cat link/../shadow; true")
    assert os.path.islink(work / "link")
    assert "Permission" in (done := r2lm("exec", *cage, "--work", work, "--", "cat", "root/etc/shadow", code=1)).err or "No such" in done.err


def test_what_it_leaves_is_not_there_for_the_next(cage):
    r2lm("exec", *cage, "--", "sh", "-c", "echo x > left; echo x > $TMPDIR/left; echo x > /dev/shm/left; true")
    assert r2lm("exec", *cage, "--", "sh", "-c", "ls . $TMPDIR | grep left; true").out == ""
    assert not os.path.exists("/dev/shm/left")


# ---- the kernel: e13, e19 to e22, e28 to e31 ----

@pytest.mark.parametrize("attempt", ["own-memory", "namespaces", "mounts", "kernel", "executables", "terminal", "clocks", "shared", "uncounted", "architectures"])
def test_the_kernel_is_out_of_reach(cage, escape, attempt):
    if attempt == "architectures" and os.uname().machine != "x86_64": pytest.skip("calls of x86")
    held(cage, escape, attempt)


# ---- a layer is missing: e34 ----

@pytest.mark.skipif(IS_SANITIZED, reason="the sanitizer must be the first library")
@pytest.mark.parametrize("missing", [["NO_BUBBLEWRAP", "NO_LANDLOCK"], ["NO_BUBBLEWRAP", "NO_SECCOMP"]])
def test_nothing_runs_without_a_cage(no_layers, missing, here):
    env = dict.fromkeys(missing, "1") | {"LD_PRELOAD": no_layers}
    done = r2lm("exec", "--work", here, "--", "touch", "ran", code=NO_SANDBOX, env=env)
    assert not (here / "ran").exists() and "bubblewrap" in done.err + r2lm("sandbox", "--check", code=NO_SANDBOX, env=env).out


@pytest.mark.skipif(IS_SANITIZED, reason="the sanitizer must be the first library")
def test_landlock_stands_in_where_there_is_no_bubblewrap(no_layers):
    if not layers().get("Landlock"): pytest.skip("this machine has no Landlock")
    assert r2lm("exec", "--", "echo", "in", env={"NO_BUBBLEWRAP": "1", "LD_PRELOAD": no_layers}).out == "in\n"


def test_without_user_namespaces(here):
    """The switch by which administrators forbid them."""
    script = f'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"'
    done = subprocess.run(["unshare", "--user", "--map-root-user", "sh", "-c", script, PROGRAM, "sandbox", "--check", "--json"], capture_output=True, text=True)
    if not done.stdout: pytest.skip("no namespaces here at all: " + done.stderr.strip()[-80:])
    state = {l["name"]: l for l in json.loads(done.stdout)["layers"]}
    assert not state["namespaces"]["is_there"] and "namespaces" in state["namespaces"]["text"]
