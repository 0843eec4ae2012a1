"""tools/check_server_load.py with small numbers; limits that depend on the machine's quiet are wide here."""
import os, subprocess, sys

import serve_client


def test_small():
    tool = os.path.join(serve_client.SOURCE, "tools", "check_server_load.py")
    with open(serve_client.PROGRAM, "rb") as f: is_checked = b"__asan_init" in (program := f.read()) or b"__tsan_init" in program   # freed memory is kept then
    growth = "100000" if is_checked else "25"
    done = subprocess.run([sys.executable, tool, "--program", serve_client.PROGRAM, "--idle", "150", "--slow", "20", "--requests", "1200", "--starts", "2", "--leavers", "4", "--prompt-words", "300",
                           "--ready-limit", "20", "--leave-limit", "5", "--growth-limit", growth], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" limit ") == 17, done.stdout
