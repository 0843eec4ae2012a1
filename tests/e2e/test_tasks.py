"""r2lm tasks from outside: items that a run can learn from, their answers judged, verifiers of one's own and all that they do wrong."""
import json, os, re, subprocess, sys
import pytest
from cli_client import DATA, FAILED, OK, TOY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)

VERIFIER = """
import json, sys
def reply(request):
    if "hello" in request: return {"name": "doubles", "levels": 3}
    if "make" in request:
        n = request["make"]["index"] + 10 * request["make"]["level"]
        return {"prompt": f"Twice {n}?", "key": {"n": n}, "answer": str(2 * n), "trace": f"{n}+{n}"}
    wanted = str(2 * request["key"]["n"])
    MISCHIEF
    return {"score": 1 if request["answer"] == wanted else 0.5 if wanted in request["text"] else 0}
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"id": request["id"], **reply(request)}), flush=True)
"""


def verifier(mischief="pass"):
    open("verifier.py", "w").write(VERIFIER.replace("MISCHIEF", mischief))
    return f"{sys.executable} verifier.py"


def lines(text):
    return [json.loads(l) for l in text.splitlines()]


def graded(texts, *flags, task="sum", expected="42", **more):
    """What `tasks grade` makes of texts: bytes of JSON strings, or texts."""
    rows = b"".join(b'{"task": "%s", "expected": %s, "text": %s}\n' % (
        task.encode(), json.dumps(expected).encode(), t if isinstance(t, bytes) else json.dumps(t).encode()) for t in texts)
    return json.loads(r2lm("tasks", "grade", "-", "--json", *flags, stdin=rows, **more).out)


def test_right_wants_the_form():
    """Every question says where its answer is wanted; elsewhere it is found, and neither right nor rewarded."""
    done = graded(["40 + 2 = 42", "<answer>42</answer>", "<answer>41</answer>"])
    assert [done["tasks"][0][k] for k in ("right", "found", "in_form")] == [1, 2, 2], done
    assert "not in the form asked for; expected 42" in r2lm("tasks", "grade", "-", "-v", stdin=b'{"task": "sum", "expected": "42", "text": "40 + 2 = 42"}').err


def test_list():
    said = json.loads(r2lm("tasks", "--json").out)
    assert len(said["tasks"]) >= 20 and said["languages"] == ["en", "zh", "es", "fr", "de"]
    assert {t["judge"] for t in said["tasks"]} >= {"text", "number", "choice", "json", "stdout", "python"}
    assert all(t["levels"] >= 4 and t["name"] in r2lm("tasks", "list").out for t in said["tasks"][:3])
    r2lm("tasks", "nothing", code=USAGE)


def test_made_items_are_right_and_the_same_again():
    plain = [t["name"] for t in json.loads(r2lm("tasks", "--json").out)["tasks"] if t["judge"] not in ("stdout", "python")]
    text = r2lm("tasks", "make", *plain, "-n", 10 * len(plain), "--languages", "all").out
    made = lines(text)
    assert {m["task"] for m in made} == set(plain) and {m["language"] for m in made} == {"en", "zh", "es", "fr", "de"}
    assert made[0]["messages"][1]["content"].startswith("<think>") and made[0]["messages"][0]["role"] == "user"
    sums = json.loads(r2lm("tasks", "grade", "-", "--json", stdin=text).out)["tasks"]
    assert len(sums) == len(plain) and all(s["right"] == s["in_form"] == s["finished"] == s["answers"] == 10 for s in sums)
    r2lm("tasks", "make", *plain, "-n", 10 * len(plain), "--language", "all", "-o", "a.jsonl")
    assert open("a.jsonl").read() == text and r2lm("tasks", "make", "sum", "-n", 3, "-o", "b.jsonl").err == "b.jsonl: 3 items\n"
    assert r2lm("tasks", "make", *plain, "-n", 9, "--seed", 2).out != r2lm("tasks", "make", *plain, "-n", 9).out


def test_programs_print_what_the_answer_says():
    """The task's own interpreter against Python; the programs are ours, a model wrote none of them."""
    for item in lines(r2lm("tasks", "make", "output", "-n", 60).out):
        program = "\n".join(item["messages"][0]["content"].split("\n")[1:-1])
        done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == item["expected"], program


def test_splits_levels_and_shifts():
    def prompts(*flags): return {m["messages"][0]["content"] for m in lines(r2lm("tasks", "make", "sum", "-n", 300, *flags).out)}
    assert not prompts("--split", "test") & prompts() and not prompts("--split", "dev") & prompts("--split", "test")
    assert {m["level"] for m in lines(r2lm("tasks", "make", "sum", "-n", 300).out)} == {1, 2, 3, 4, 5}
    bare = lines(r2lm("tasks", "make", "sum", "-n", 2, "--level", 1, "--no-trace").out)
    assert [m["level"] for m in bare] == [1, 1] and all(m["messages"][1]["content"].startswith("<answer>") for m in bare)
    taught = {p.split("\n")[0].translate(str.maketrans("", "", "0123456789+-")) for p in prompts()}
    others = {p.split("\n")[0].translate(str.maketrans("", "", "0123456789+-")) for p in prompts("--split", "ood-phrasing")}
    assert len(taught) == 8 and len(others) >= 3 and not taught & others
    far = lines(r2lm("tasks", "make", "sum", "-n", 20, "--split", "ood-length").out)
    assert {(m["level"], m["language"]) for m in far} == {(6, "en")} and all(re.search(r"\d{7}", m["messages"][0]["content"]) for m in far)
    away = lines(r2lm("tasks", "make", "all", "-n", 60, "--split", "ood-lang").out)
    apart = {t["name"]: t["not_taught_in"] for t in json.loads(r2lm("tasks", "--json").out)["tasks"]}
    assert all(m["language"] == apart[m["task"]] for m in away) and len({m["task"] for m in away}) == len([l for l in apart.values() if l])
    near = lines(r2lm("tasks", "make", "all", "-n", 300, "--languages", "all").out)
    assert all(m["language"] != apart[m["task"]] for m in near) and {m["task"] for m in near} == set(apart)
    assert "zh" in {m["language"] for m in near} and {m["task"] for m in lines(r2lm("tasks", "make", "all", "-n", 60, "--languages", "zh").out)} < set(apart)
    banned = r"(?<!\d)(11|3[789]|6[456])"
    assert all(re.search(banned, m["expected"] + m["messages"][0]["content"]) for m in lines(r2lm("tasks", "make", "sum", "-n", 60, "--split", "ood-values").out))
    assert not any(re.search(banned, p.split("\n")[0]) for p in prompts())
    refused("tasks", "make", "sum", "--languages", "zh", code=USAGE, says="sum has nothing")
    refused("tasks", "make", "grid", "--split", "ood-values", code=USAGE, says="grid has nothing")


def test_items_are_data_to_learn_from():
    r2lm("tasks", "make", "sum", "sort", "-n", 40, "--level", 1, "-o", "items.jsonl")
    written = open("items.jsonl").read()
    assert r2lm("tasks", "make", "sum", "sort", "-n", 40, "--level", 1, "-o", "-").out == written and not os.path.exists("-")
    said = json.loads(r2lm("data", "prep", "-m", TOY, "-o", "out", "--validation", 0, "--json", "items.jsonl").out)
    assert said["train"]["documents"] > 30 and 0 < said["train"]["targets"] < said["train"]["tokens"]


def test_refusals():
    refused("tasks", "make", "-o", "x.jsonl", code=USAGE, says="names of tasks")
    refused("tasks", "make", "summ", "-o", "x.jsonl", code=USAGE, says="summ")
    refused("tasks", "make", "sum", "--languages", "en,xx", code=USAGE, says="--languages")
    refused("tasks", "make", "sum", "--level", 9, code=USAGE, says="level 1 to 5")
    refused("tasks", "make", "sum", "-o", "no/such/x.jsonl", code=FAILED)
    refused("tasks", "grade", "none.jsonl", says="none.jsonl")
    for text in (b"", b"{}\n", b"[1]\n", b"nothing\n", b'{"task": "sum", "expected": "4"}\n'):
        refused("tasks", "grade", "-", stdin=text, says="-:" if text.strip() else "no answers")
    for text, says in ((b'{"expected": "4", "text": "4"}', '-:1: expected a text as "task"'), (b'\n{"task": "sum", "text": "4"}', '-:2: expected a text as "expected"'),
                       (b'{"task": "sum", "expected": "4", "messages": []}', 'in "messages"')):
        refused("tasks", "grade", "-", stdin=text, says=says)
    refused("tasks", "grade", "-", stdin=b'{"task": "soup", "expected": "4", "text": "4"}', says="-:1: ")
    done = r2lm("tasks", "grade", "-", "--json", stdin=b'{"task": "sum", "expected": "4", "text": "4 \xff"}\n{"task": "sum", "expected": "4", "text": "4"}')
    assert json.loads(done.out)["tasks"][0]["answers"] == 2 and "1 line is no UTF-8" in done.err


def test_any_answer_is_counted():
    texts = ["<answer>42</answer>", "42", "it is 42, yes", "", "<think>42", b'"\\u0000<answer>42</answer>"', "\u202e42", "a" * (10 << 20),
             "1" * (10 << 20), "<answer>" * 1000, "(" * 100000]
    for task, expected in (("sum", "42"), ("countdown", "42 6, 7"), ("sort", "[42]"), ("boolean", "B"), ("order", "42")):
        done = graded(texts, task=task, expected=expected)["tasks"][0]
        assert done["answers"] == len(texts) and done["right"] <= done["found"] <= len(texts)
    assert graded(texts)["tasks"][0]["right"] >= 2


def test_a_verifier_makes_and_judges():
    command = verifier()
    text = r2lm("tasks", "make", "-n", 6, "--verifier", command).out
    made = lines(text)
    assert [m["level"] for m in made] == [1, 2, 3, 1, 2, 3] and made[1]["messages"][0]["content"] == "Twice 21?" and made[1]["task"] == "doubles"
    assert made[1]["messages"][1]["content"] == "<think>21+21</think>\n<answer>42</answer>" and json.loads(made[1]["expected"]) == {"n": 21}
    sums = json.loads(r2lm("tasks", "grade", "-", "--json", "--verifier", command, stdin=text).out)["tasks"]
    assert sums == [dict(task="doubles", answers=6, right=6, found=6, in_form=6, finished=6, score=1.0)]
    done = graded(["<answer>42</answer>", "7 or 42 or so", "7"], "--verifier", command, expected='{"n": 21}')
    assert (done["tasks"][0]["right"], done["tasks"][0]["score"]) == (1, 0.5)


@pytest.mark.parametrize("mischief, counted", [
    ('import os; os._exit(3) if "BAD" in request["text"] else None', "crashes"),
    ('import time; time.sleep(60 if "BAD" in request["text"] else 0)', "timeouts"),
    ('print("loading" if "BAD" in request["text"] else "", end="", flush=True)', "garbage"),
    ('if "BAD" in request["text"]: return {"score": float("nan")}', "garbage"),
])
def test_what_a_verifier_does_wrong_is_counted(mischief, counted):
    texts = ["<answer>42</answer>", "BAD", b'"BAD \\u0000 \\ud83d\\ude00"', "<answer>42</answer>"]
    done = graded(texts, "--verifier", verifier(mischief), "--verifier-timeout", 3, expected='{"n": 21}')
    assert {c: done[c] for c in ("crashes", "timeouts", "garbage")} == {"crashes": 0, "timeouts": 0, "garbage": 0, counted: 2}
    assert (done["tasks"][0]["answers"], done["tasks"][0]["right"]) == (4, 2)


def test_a_verifier_that_never_works_is_an_error():
    refused("tasks", "make", "-n", 3, "--verifier", verifier(), "--level", 7, code=USAGE, says="found 7")
    refused("tasks", "make", "-n", 3, "--verifier", verifier(), "--split", "test", code=USAGE, says="no --split")
    refused("tasks", "make", "-n", 3, "--verifier", "cat", code=USAGE, says="makes no items")
    refused("tasks", "grade", "-", "-o", "sums", code=USAGE, says="no -o")
    done = r2lm("tasks", "grade", "-", "--verifier", verifier('return {"score": 7}'), stdin=b'{"expected": "{\\"n\\": 1}", "text": "2"}', code=FAILED)
    assert "could judge none" in done.err and "0.00 % right" in done.out
    refused("tasks", "make", "-n", 3, "--verifier", "/no/such/program", says="no such program")
    refused("tasks", "make", "-n", 3, "--verifier", "true", code=FAILED, says="ended with exit code 0")
    refused("tasks", "make", "-n", 3, "--verifier", "echo hello", code=FAILED, says='found "hello"')
    row = b'{"task": "x", "expected": "{\\"n\\": 1}", "text": "2"}\n' * 20
    os.environ["R2LM_QUIET"] = "1"
    try:
        line = refused("tasks", "grade", "-", "--verifier", verifier("raise SystemExit(4)"), stdin=row, code=FAILED, folder="/")
    finally:
        del os.environ["R2LM_QUIET"]
    assert "8 requests in a row failed" in line and "exit code 4" in line


def test_answers_above_a_mebibyte_are_not_sent():
    done = graded(["x" * (10 << 20), "<answer>42</answer>"], "--verifier", verifier(), expected='{"n": 21}')
    assert (done["too_long"], done["tasks"][0]["right"], done["tasks"][0]["answers"]) == (1, 1, 2)
