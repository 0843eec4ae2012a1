"""Answers held to a grammar: the program's flags, with the toy that would rather write "an" without end."""
import json, os, re, subprocess
import pytest

SOURCE = os.environ.get("R2LM_SOURCE_DIR", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PROGRAM = os.environ.get("R2LM_PROGRAM", os.path.join(SOURCE, "build", "r2lm"))
TOY = os.path.join(SOURCE, "tests", "e2e", "toy.gguf")
OK, FAILED, USAGE, DATA = 0, 1, 2, 3


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("R2LM_", "XDG_")): monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def run(*arguments, code=OK, stdin=""):
    done = subprocess.run([PROGRAM, "run", "-m", TOY, "-p", "Hi", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (arguments, done.returncode, done.stdout[-500:], done.stderr[-500:])
    return done


def grammar(tmp_path, text):
    (tmp_path / "rules.gbnf").write_text(text)
    return tmp_path / "rules.gbnf"


def test_answer_follows_the_grammar(tmp_path):
    rules = grammar(tmp_path, 'root ::= ("an" | "on"){3} [0-9]{4,6} "\\n" name\nname ::= [A-Z] [a-z]{2,9} "."')
    for seed in range(8):
        said = run("--no-think", "--grammar-file", rules, "--temp", 3, "--seed", seed, "-n", 60).stdout
        assert re.fullmatch(r"(an|on){3}[0-9]{4,6}\n[A-Z][a-z]{2,9}\.\n", said), said


def test_thoughts_are_free(tmp_path):
    rules = grammar(tmp_path, 'root ::= "yes" | "no"')
    said = json.loads(run("--budget", 5, "--grammar-file", rules, "--temp", 0, "--json").stdout)
    assert (said["thinking"], said["thinking_tokens"], said["text"] in ("yes", "no"), said["finish_reason"]) == ("an" * 5, 5, True, "stop")
    unclosed = json.loads(run("--grammar-file", rules, "--temp", 0, "--json", "-n", 9).stdout)
    assert (unclosed["text"], unclosed["finish_reason"]) == ("", "length")    # never an answer without its grammar


def test_drafts_change_nothing(tmp_path):
    rules = grammar(tmp_path, 'root ::= ("[" [a-c]{5,9} "]\\n"){9}')
    said = {run("--no-think", "--grammar-file", rules, "--temp", 1, "--seed", 3, "--draft", draft).stdout for draft in ("off", 16)}
    assert len(said) == 1 and re.fullmatch(r"(\[[a-c]{5,9}\]\n){9}", said.pop())


@pytest.mark.parametrize("text, found", [('root ::= "a', "closing quote"), ("root ::= root", "left recursion"), ("", "root is not defined")])
def test_bad_grammars_are_one_line(tmp_path, text, found):
    done = run("--grammar-file", grammar(tmp_path, text), code=DATA)
    assert found in done.stderr and len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_schema_from_flag_and_file(tmp_path):
    rules = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 10, "maximum": 99}, "of": {"enum": ["a", "b"]}}, "required": ["n", "of"]}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    texts = {run("--no-think", "--json-schema", given, "--temp", 3, "--seed", 5, "-n", 200).stdout for given in (json.dumps(rules), tmp_path / "rules.json")}
    assert len(texts) == 1
    said = json.loads(texts.pop())
    assert list(said) == ["n", "of"] and 10 <= said["n"] <= 99 and said["of"] in "ab"


def test_regex():
    for seed in range(5):
        said = run("--no-think", "--regex", r"(\d{2}-){2,4}[^\w\s]$", "--temp", 3, "--seed", seed, "-n", 60).stdout
        assert re.fullmatch(r"(\d{2}-){2,4}[^\w\s]\n", said), said


@pytest.mark.parametrize("flags, found, code", [
    (["--json-schema", '{"properties": {"a": {"not": {}}}}'], "#/properties/a: keyword not is not supported", DATA), (["--json-schema", "{"], "line 1", DATA),
    (["--regex", "(?=a)"], "looking ahead", DATA), (["--regex", "a", "--json-schema", "{}"], "expected one of", USAGE), (["--json-schema", "nowhere.json"], "nowhere", DATA)])
def test_bad_schemas_and_patterns_are_one_line(flags, found, code):
    done = run(*flags, code=code)
    assert found in done.stderr and len([l for l in done.stderr.splitlines() if l.startswith("r2lm: ")]) == 1 and done.stdout == ""


def test_no_such_grammar(tmp_path):
    assert "nowhere" in run("--grammar-file", tmp_path / "nowhere", code=DATA).stderr
