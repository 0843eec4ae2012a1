"""Answers held to a grammar: the program's flags, with the toy that would rather write "an" without end."""
import json, re
import pytest
from cli_client import DATA, TOY, USAGE, home, r2lm   # noqa: F401  (fixtures)


def run(*arguments, **more): return r2lm("run", "-m", TOY, "-p", "Hi", *arguments, **more)


def grammar(tmp_path, text):
    (tmp_path / "rules.gbnf").write_text(text)
    return tmp_path / "rules.gbnf"


def test_answer_follows_the_grammar(tmp_path):
    rules = grammar(tmp_path, 'root ::= ("an" | "on"){3} [0-9]{4,6} "\\n" name\nname ::= [A-Z] [a-z]{2,9} "."')
    for seed in range(8):
        said = run("--no-think", "--grammar-file", rules, "--temp", 3, "--seed", seed, "-n", 60).out
        assert re.fullmatch(r"(an|on){3}[0-9]{4,6}\n[A-Z][a-z]{2,9}\.\n", said), said


def test_thoughts_are_free(tmp_path):
    rules = grammar(tmp_path, 'root ::= "yes" | "no"')
    said = json.loads(run("--budget", 5, "--grammar-file", rules, "--temp", 0, "--json").out)
    assert (said["thinking"], said["thinking_tokens"], said["text"] in ("yes", "no"), said["finish_reason"]) == ("an" * 5, 5, True, "stop")
    unclosed = json.loads(run("--grammar-file", rules, "--temp", 0, "--json", "-n", 9).out)
    assert (unclosed["text"], unclosed["finish_reason"]) == ("", "length")    # never an answer without its grammar


def test_drafts_change_nothing(tmp_path):
    rules = grammar(tmp_path, 'root ::= ("[" [a-c]{5,9} "]\\n"){9}')
    said = {run("--no-think", "--grammar-file", rules, "--temp", 1, "--seed", 3, "--draft", draft).out for draft in ("off", 16)}
    assert len(said) == 1 and re.fullmatch(r"(\[[a-c]{5,9}\]\n){9}", said.pop())


@pytest.mark.parametrize("text, found", [('root ::= "a', "closing quote"), ("root ::= root", "left recursion"), ("", "root is not defined")])
def test_bad_grammars_are_one_line(tmp_path, text, found):
    done = run("--grammar-file", grammar(tmp_path, text), code=DATA)
    assert found in done.err and len(done.err.splitlines()) == 1 and done.out == ""


def test_schema_from_flag_and_file(tmp_path):
    rules = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 10, "maximum": 99}, "of": {"enum": ["a", "b"]}}, "required": ["n", "of"]}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    texts = {run("--no-think", "--json-schema", given, "--temp", 3, "--seed", 5, "-n", 200).out for given in (json.dumps(rules), tmp_path / "rules.json")}
    assert len(texts) == 1
    said = json.loads(texts.pop())
    assert list(said) == ["n", "of"] and 10 <= said["n"] <= 99 and said["of"] in "ab"


def test_regex():
    for seed in range(5):
        said = run("--no-think", "--regex", r"(\d{2}-){2,4}[^\w\s]$", "--temp", 3, "--seed", seed, "-n", 60).out
        assert re.fullmatch(r"(\d{2}-){2,4}[^\w\s]\n", said), said


@pytest.mark.parametrize("flags, found, code", [
    (["--json-schema", '{"properties": {"a": {"not": {}}}}'], "#/properties/a: keyword not is not supported", DATA), (["--json-schema", "{"], "line 1", DATA),
    (["--regex", "(?=a)"], "looking ahead", DATA), (["--regex", "a", "--json-schema", "{}"], "expected one of", USAGE), (["--json-schema", "nowhere.json"], "nowhere", DATA)])
def test_bad_schemas_and_patterns_are_one_line(flags, found, code):
    done = run(*flags, code=code)
    assert found in done.err and len([l for l in done.err.splitlines() if l.startswith("r2lm: ")]) == 1 and done.out == ""


def test_no_such_grammar(tmp_path):
    assert "nowhere" in run("--grammar-file", tmp_path / "nowhere", code=DATA).err
