"""The program from outside, for the tests of its commands: a call, its exit code, and a home without anything of the user's.

R2LM_PROGRAM is the program, R2LM_SOURCE_DIR the tree.  The toy thinks without end, prints "an" and never stops by itself.
"""
import os, subprocess
import pytest

SOURCE = os.environ.get("R2LM_SOURCE_DIR", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PROGRAM = os.environ.get("R2LM_PROGRAM", os.path.join(SOURCE, "build", "r2lm"))
TOY = os.path.join(SOURCE, "tests", "e2e", "toy.gguf")
with open(PROGRAM, "rb") as _program: IS_SANITIZED = b"__asan_init" in _program.read()
OK, FAILED, USAGE, DATA, MEMORY, NUMBERS = 0, 1, 2, 3, 4, 7


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home: no model, no history, no setting of the user's.  In force wherever it is imported."""
    for name in list(os.environ):
        if name.startswith(("R2LM_", "HF_", "OLLAMA_", "LLAMA_", "XDG_")) or name in ("NO_COLOR", "CLICOLOR_FORCE"): monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in.  In force wherever it is imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def no_layers(tmp_path_factory):
    """A library for LD_PRELOAD: a machine without layers of the sandbox."""
    out = str(tmp_path_factory.mktemp("no_layers") / "no_layers.so")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", out, os.path.join(SOURCE, "tests/e2e/programs/no_layers.c"), "-ldl"], check=True)
    return out


def r2lm(*arguments, stdin="", code=OK, env=None, timeout=250, **more):
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=stdin.encode() if isinstance(stdin, str) else stdin, capture_output=True,
                          timeout=timeout, env=dict(os.environ, **(env or {})), **more)
    done.out, done.err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    assert code == done.returncode, (arguments, done.returncode, done.out[-500:], done.err[-2000:])
    return done


def one_line(text):
    """What failed, said once; hints may follow."""
    lines = [l for l in text.splitlines() if l.startswith("r2lm: ")]
    assert len(lines) == 1, text
    return lines[0]


def refused(*arguments, folder=".", code=DATA, says="", **more):
    """One line, the exit code, and nothing in the folder that was not there before."""
    before = sorted(os.listdir(folder))
    line = one_line(r2lm(*arguments, code=code, **more).err)
    assert says in line, line
    assert sorted(os.listdir(folder)) == before
    return line
