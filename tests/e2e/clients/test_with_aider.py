"""The package aider-chat makes an edit in a scratch repository, with `r2lm serve` behind it."""
import json, os, subprocess, sys
import pytest
from served_model import CLIENTS, KEY

AIDER = os.path.join(CLIENTS, "aider", "bin", "aider")
SHAPES = '''def area(width, height):
    return width * height


def perimeter(width, height):
    return width + height


if __name__ == "__main__":
    print(area(2, 3), perimeter(2, 3))
'''


@pytest.fixture
def scratch(coder, fence, tmp_path):
    """A repository with one file, and aider in it; greedy, as is its default."""
    folder, home = tmp_path / "repository", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    environment = {**fence.environment(home), "OPENAI_API_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "AIDER_ANALYTICS": "false"}
    (home / ".gitconfig").write_text("[user]\n\tname = Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n")
    (folder / "shapes.py").write_text(SHAPES)
    (folder / "prices.json").write_text(json.dumps({"openai/coder": {"max_input_tokens": 6000, "max_output_tokens": 2000, "max_tokens": 8000, "litellm_provider": "openai",
                                                                     "mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0}}))

    def run(*command):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
        assert done.returncode == 0, (done.stdout[-4000:], done.stderr[-4000:])
        return done.stdout
    run("git", "init", "-q")
    run("git", "add", "shapes.py")
    run("git", "commit", "-qm", "Shapes")
    run.folder = folder
    run.aider = lambda *more: run(AIDER, "--model", "openai/coder", "--openai-api-base", coder.base, "--edit-format", "whole", "--yes-always", "--no-check-update", "--analytics-disable",
                                  "--no-show-model-warnings", "--no-show-release-notes", "--no-gitignore", "--map-tokens", "0", "--no-pretty", "--model-metadata-file", "prices.json", *more)
    return run


ASK = "The function perimeter is wrong: it must return 2 * (width + height). Fix it."


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_aider_edits_a_file(scratch, stream):
    told = scratch.aider(stream, "--message", ASK, "shapes.py")
    assert "Applied edit to shapes.py" in told and "rror" not in told, told
    assert subprocess.run([sys.executable, scratch.folder / "shapes.py"], capture_output=True, text=True).stdout == "6 10\n"
    assert (scratch.folder / "shapes.py").read_text() == SHAPES.replace("return width + height", "return 2 * (width + height)")
    log = scratch("git", "log", "--format=%s").splitlines()
    assert len(log) == 2 and log[0] and scratch("git", "status", "--porcelain", "shapes.py") == ""   # it also wrote the message
