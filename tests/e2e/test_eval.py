"""r2lm eval: suites end to end on a toy that is never right; files, numbers, going on, refusals.

The same numbers must come out however requests fall into batches and wherever a run was interrupted.
"""
import gzip, json, os, shutil, subprocess
import pytest
from cli_client import DATA, IS_SANITIZED, OK, PROGRAM, SOURCE, TOY, USAGE, here, home, no_layers, one_line, r2lm, refused   # noqa: F401  (fixtures)

NO_SANDBOX, TOO_LOW = 77, 8
PROBLEMS = [{"task_id": f"Toy/{i}", "prompt": f"def f{i}(x):\n    \"\"\"Returns x plus {i}.\"\"\"\n", "entry_point": f"f{i}",
             "canonical_solution": f"    return x + {i}\n", "test": f"def check(candidate):\n    assert candidate(1) == {1 + i}\n"} for i in range(6)]


def has_sandbox():
    return subprocess.run([PROGRAM, "sandbox", "--check"], capture_output=True).returncode == 0


needs_sandbox = pytest.mark.skipif(not has_sandbox(), reason="this machine has no sandbox")


def write_lines(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture
def problems(here):
    return write_lines(here / "HumanEval.jsonl", PROBLEMS)


def human_eval(problems, *more, **how):
    return r2lm("eval", "humaneval", "--data", problems, "-m", TOY, "--raw", "-n", 12, *more, **how)


def lines(folder):
    with open(os.path.join(folder, "samples.jsonl"), encoding="utf-8") as f: return [json.loads(l) for l in f]


def test_list():
    for words, says in (([], "found nothing"), (["soup"], "found soup"), (["list", "x"], "found x"), (["humaneval", "x"], "found x")):
        refused("eval", *words, code=USAGE, says=says)
    refused("eval", "tasks", "-m", TOY, "--samples", 2, code=USAGE, says="--temp above 0")
    suites = {s["name"]: s for s in json.loads(r2lm("eval", "list", "--json").out)["suites"]}
    assert suites["humaneval"]["runs_programs"] and "human-eval" in suites["humaneval"]["origin"]
    assert "humaneval" in r2lm("eval", "list").out


@needs_sandbox
def test_answers_numbers_and_files(problems):
    done = json.loads(human_eval(problems, "-o", "out", "--json").out)
    assert done["items"] == 6 and done["pass@1"]["value"] == 0 and 0 < done["pass@1"]["high"] < 0.5 and done["cut"] == 6
    head, *rest = lines("out")
    assert head["format"] == "r2lm evaluation" and [l["item"] for l in rest] == list(range(6))
    assert all(not l["right"] and l["stop"] == "length" and l["tokens"] == 12 and l["why"] for l in rest)
    assert json.load(open("out/summary.json"))["pass@1"] == done["pass@1"]


@needs_sandbox
@pytest.mark.parametrize("temp", [0, 1])
def test_batches_change_nothing(problems, temp):
    for name, flags in (("one", ["--parallel", 1, "--judges", 1]), ("some", ["--parallel", 4, "-t", 1]), ("all", ["--parallel", 32])):
        human_eval(problems, "-o", name, "--temp", temp, "--samples", 1 + temp, "--limit", 3, *flags)
    samples = {open(f"{n}/samples.jsonl", "rb").read() for n in ("one", "some", "all")}
    assert len(samples) == 1
    assert (len({l["text"] for l in lines("one")[1:]}) > 1) == (temp > 0)


@needs_sandbox
def test_goes_on(problems):
    human_eval(problems, "-o", "whole")
    whole = open("whole/samples.jsonl", "rb").read()
    human_eval(problems, "-o", "part", "--limit", 2)
    with open("part/samples.jsonl", "ab") as f: f.write(b'{"item":2,"sam')     # killed while it wrote
    done = json.loads(human_eval(problems, "-o", "part", "--json").out)
    assert done["this_run"]["answers"] == 4 and open("part/samples.jsonl", "rb").read() == whole
    assert json.loads(human_eval(problems, "-o", "part", "--json").out)["this_run"]["answers"] == 0
    assert "other settings" in one_line(human_eval(problems, "-o", "part", "--temp", 1, code=DATA).err)
    assert open("part/samples.jsonl", "rb").read() == whole
    human_eval(problems, "-o", "part", "--temp", 1, "--force")
    assert open("part/samples.jsonl", "rb").read() != whole
    with open("part/samples.jsonl", "w") as f: f.write("no JSON\n")
    human_eval(problems, "-o", "part", code=DATA)


@needs_sandbox
def test_min_score(problems):
    human_eval(problems, "--limit", 1, "--min-score", 0)
    assert "at least 10" in one_line(human_eval(problems, "--limit", 1, "--min-score", 10, code=TOO_LOW).err)


@needs_sandbox
def test_gzip(problems, here):
    (here / "HumanEval.jsonl.gz").write_bytes(gzip.compress(problems.read_bytes()))
    problems.unlink()
    human_eval(here, "--limit", 1)                                               # a folder, packed
    (here / "HumanEval.jsonl.gz").write_bytes(gzip.compress(PROBLEMS[0]["prompt"].encode() * 99)[:60])
    human_eval(here, code=DATA)


def test_refusals(problems, here):
    refused("eval", "nosuch", "-m", TOY, code=USAGE, says="nosuch")
    refused("eval", code=USAGE)
    refused("eval", "humaneval", "-m", TOY, code=USAGE, says="human-eval")                     # where data comes from
    refused("eval", "humaneval", "--data", "none.jsonl", "-m", TOY, says="none.jsonl")
    refused("eval", "humaneval", "--data", problems, "-m", "none.gguf")
    refused("eval", "humaneval", "--data", problems, "-m", TOY, "--template", "no place", code=USAGE, says="{question}")
    (here / "empty").mkdir()
    refused("eval", "humaneval", "--data", here / "empty", "-m", TOY, says="HumanEval.jsonl")


@pytest.mark.parametrize("line", ["no JSON", "[]", "{}", '{"task_id": 1}', json.dumps(dict(PROBLEMS[0], entry_point="f(); import os")),
                                  json.dumps(dict(PROBLEMS[0], entry_point=None)), "\x00", '{"a": 1, "a": 2}'])
def test_malformed_lines(problems, line):
    with open(problems, "a") as f: f.write(line + "\n")
    refused("eval", "humaneval", "--data", problems, "-m", TOY, "--raw", says="HumanEval.jsonl:7")


def test_goes_on_in_groups(here):
    """Another limit, more levels and more languages: answers find their items again, and the bytes are a fresh run's."""
    def own(folder, *more): return json.loads(toy_eval("tasks", "--tasks", "sum", "-o", folder, *more, "--json").out)["this_run"]["answers"]
    assert own("whole", "--limit", 3, "--languages", "en,de") == 3 * 2 * (n_levels := len({l["group"] for l in lines("whole")[1:]}) // 2)
    assert own("part", "--limit", 2) == 2 * n_levels
    assert own("part", "--limit", 3, "--languages", "en,de") == (3 * 2 - 2) * n_levels
    assert open("part/samples.jsonl", "rb").read() == open("whole/samples.jsonl", "rb").read()
    before = lines("part")
    assert own("part", "--limit", 1) == 0                                        # the rest stays, behind
    after = lines("part")
    assert len(after) == len(before) and [l["id"].split("#")[1] for l in after[1:1 + n_levels]] == ["0"] * n_levels and [l["item"] for l in after[1:1 + n_levels]] == list(range(n_levels))
    assert own("part", "--limit", 3, "--languages", "en,de") == 0
    assert open("part/samples.jsonl", "rb").read() == open("whole/samples.jsonl", "rb").read()
    toy_eval("tasks", "--tasks", "sum", "-o", "part", "-c", 512, code=DATA)      # another context cuts other answers
    text = open("part/samples.jsonl", encoding="utf-8").read().split("\n")
    text[1] = json.dumps(dict(json.loads(text[1]), question="another"))
    open("part/samples.jsonl", "w", encoding="utf-8").write("\n".join(text))
    assert "another question" in one_line(toy_eval("tasks", "--tasks", "sum", "-o", "part", code=DATA).err)


def test_adapter_is_told_by_its_content(here):
    """The model with an adapter has no tokenizer: a run stops there, behind the settings of its folder."""
    golden = os.path.join(SOURCE, "tests", "golden")
    write_lines(here / "test.jsonl", [{"question": "1?", "answer": "#### 1"}])
    def ask(adapter): return one_line(r2lm("eval", "gsm8k", "--data", here, "-m", os.path.join(golden, "llama"), "--raw", "--lora", adapter, "-o", "out", code=DATA).err)
    shutil.copytree(os.path.join(golden, "lora_llama"), "mine")
    assert "no tokenizer" in ask("mine")
    os.rename("mine", "moved")
    assert "no tokenizer" in ask("moved")
    weights = bytearray(open("moved/adapter_model.safetensors", "rb").read())
    weights[-2] ^= 1
    open("moved/adapter_model.safetensors", "wb").write(weights)
    assert "other settings" in ask("moved")


@pytest.mark.skipif(IS_SANITIZED, reason="the sanitizer must be the first library")
def test_no_sandbox(problems, no_layers):
    """Nothing is computed, nothing runs, and the exit code says why; suites without programs go on."""
    missing = {"NO_BUBBLEWRAP": "1", "NO_LANDLOCK": "1", "LD_PRELOAD": no_layers}
    for folder, words in (("he", ["humaneval", "--data", problems]), ("own", ["tasks", "--tasks", "sum,function", "--level", 1]), ("print", ["tasks", "--tasks", "print"])):
        done = toy_eval(*words, "--limit", 1, "-o", folder, env=missing, code=NO_SANDBOX)
        assert "sandbox" in one_line(done.err) and "sandbox --check" in done.err
        assert len(lines(folder)) == 1 and not os.path.exists(f"{folder}/summary.json")
    toy_eval("tasks", "--tasks", "sum", "--level", 1, "--limit", 1, env=missing)


def toy_eval(suite, *more, **how):
    return r2lm("eval", suite, "-m", TOY, "--raw", "-n", 8, *more, **how)


def test_word_problems(here):
    write_lines(here / "test.jsonl", [{"question": f"{i} and <b>1</b>?", "answer": f"...\n#### {i + 1}"} for i in range(3)])
    done = json.loads(toy_eval("gsm8k", "--data", here, "-o", "out", "--json").out)
    assert done["items"] == 3 and done["pass@1"]["value"] == 0 == done["lenient_pass@1"]["value"] and abs(done["majority"] - 1 / 3) < 1e-8
    assert "one answer to all" in open("out/report.html").read()
    (here / "mgsm_de.tsv").write_text("Wie viele?\t3\n" * 4)
    (here / "mgsm_en.tsv").write_text("How many?\t3\n" * 4)
    done = json.loads(toy_eval("mgsm", "--data", here / "mgsm_de.tsv", "--data", here / "mgsm_en.tsv", "--limit", 2, "--json").out)
    assert {k: v["items"] for k, v in done["groups"].items()} == {"de": 2, "en": 2} and done["majority"] == done["groups"]["de"]["majority"] == 1
    (here / "test.jsonl").write_text('{"question": "a", "answer": "none"}\n')
    refused("eval", "gsm8k", "--data", here, "-m", TOY, "--raw", says="test.jsonl:1")


@needs_sandbox
def test_programs_of_own_tasks():
    done = json.loads(toy_eval("tasks", "--tasks", "function,print", "--level", 1, "--limit", 2, "--json").out)
    assert done["items"] == 4 and done["pass@1"]["value"] == 0


def test_own_tasks():
    said = toy_eval("tasks", "--tasks", "sum,sort", "--level", 1, "--limit", 2).out.splitlines()
    assert [l.split("2 items)  ")[-1] for l in said[:2]] == ["sum level 1 en", "sort level 1 en"] and "4 items)" in said[2] and len(said) == 4
    done = json.loads(toy_eval("tasks", "--tasks", "sum,sort", "--level", 1, "--languages", "en,de", "--limit", 2, "--json").out)
    assert done["items"] == 8 and "sum level 1 de" in done["groups"]
    for split, group in (("ood-lang", "sum level 1 zh ood-lang"), ("ood-values", "sum level 1 en ood-values"), ("ood-phrasing", "sum level 1 en ood-phrasing"),
                         ("ood-length", "sum level 6 en ood-length")):
        toy_eval("tasks", "--tasks", "sum", "--level", 1, "--limit", 2, "--split", split, "-o", split)
        assert [l["group"] for l in lines(split)[1:]] == [group] * 2
    refused("eval", "tasks", "--tasks", "sum", "--languages", "zh", "-m", TOY, "--raw", code=USAGE, says="ood-lang")
    refused("eval", "tasks", "--tasks", "grid", "--split", "ood-values", "-m", TOY, "--raw", code=USAGE, says="ood-values")
    refused("eval", "tasks", "--tasks", "nosuch", "-m", TOY, "--raw", code=USAGE, says="nosuch")
    refused("eval", "tasks", "--tasks", "sum", "--level", 60, "-m", TOY, "--raw", code=USAGE, says="60")
    refused("eval", "tasks", "--tasks", "sum", "--languages", "xx", "-m", TOY, "--raw", code=USAGE)


def test_needle_in_five_languages():
    done = json.loads(toy_eval("needle", "-c", 512, "--limit", 1, "--languages", "en,zh,es,fr,de", "-o", "out", "--json").out)
    assert done["items"] == 25 and {g.split(",")[2:] and g[-2:] or "en" for g in done["groups"]} == {"en", "zh", "es", "fr", "de"}
    for depth in (0, 25, 50, 75, 100):      # one number, said once in each language's text
        cell = [l for l in lines("out")[1:] if f"depth {depth} %" in l["group"]]
        assert len(cell) == 5 and len({l["expected"] for l in cell}) == 1 and len({l["question"] for l in cell}) == 5
        assert all(l["question"].count(l["expected"]) == 1 for l in cell)
    refused("eval", "needle", "--languages", "en,xx", "-m", TOY, "--raw", code=USAGE, says="xx")


def test_compare(here):
    def run(name, rights, suite="gsm8k", groups=()):
        (here / name).mkdir()
        rows = [{"format": "r2lm evaluation", "version": 1, "settings": "0" * 16, "suite": suite, "model": name}]
        group = lambda i: {"group": groups[i]} if groups else {}
        write_lines(here / name / "samples.jsonl", rows + [{"item": i, "sample": 0, "id": f"q{i}", "right": r, "found": True} | group(i) for i, r in enumerate(rights)])
        return name
    run("a", [True] * 9 + [False] * 3), run("b", [False] * 8 + [True] + [True] * 1 + [False] * 2), run("c", [True], suite="mgsm")
    done = json.loads(r2lm("eval", "compare", "a", "b", "--json").out)
    assert (done["both"], done["first_only"], done["second_only"], done["neither"]) == (1, 8, 1, 2) and abs(done["p"] - 20 / 512) < 1e-12
    assert json.loads(r2lm("eval", "compare", "a", "b", "--lenient", "--json").out)["both"] == 12
    assert "0.0391  all" in r2lm("eval", "compare", "a/samples.jsonl", "b").out and "groups" not in done
    run("d", [True] * 4, groups=["x", "y", "x", "z"]), run("e", [False, True, False], groups=["x", "y", "x"])
    done = json.loads(r2lm("eval", "compare", "d", "e", "--json").out)      # by group too; "z" has no pair
    assert {g: (v["pairs"], v["both"], v["first_only"]) for g, v in done["groups"].items()} == {"x": (2, 0, 2), "y": (1, 1, 0), "z": (0, 0, 0)}
    said = r2lm("eval", "compare", "d", "e").out
    assert [l.split()[-1] for l in said.splitlines()[-3:]] == ["chance)"] * 3 and "  x (" in said and "  y (" in said and "  z" not in said
    for words, code in ((["a", "none"], DATA), (["a"], USAGE)): r2lm("eval", "compare", *words, code=code)
    refused("eval", "compare", "a", "c", says="found gsm8k in a and mgsm in c")
    assert "d has 1 answers that the other has not" in r2lm("eval", "compare", "d", "e").err and r2lm("eval", "compare", "a", "b").err == ""
    (here / "a" / "samples.jsonl").write_text("[]\n")
    r2lm("eval", "compare", "a", "b", code=DATA)


def test_report_is_escaped_and_alone(here):
    """What comes from data, models and names is text in it, and nothing is loaded or run."""
    evil = "</pre><script>alert(1)</script><img src=x onerror='y'>&"
    write_lines(here / "test.jsonl", [{"question": evil + "\x01", "answer": "#### 1"}])
    toy_eval("gsm8k", "--data", here, "-o", "out", "--samples", 2, "--temp", 1)
    page = open("out/report.html", encoding="utf-8").read()
    assert "<script" not in page and "<img" not in page and "&#60;script&#62;alert(1)" in page and "\x01" not in page
    assert "default-src 'none'" in page and "<svg" in page and page.count("<details") == 2 and "pass@k" in page
    assert not [w for w in ("http:", "https:", "url(", "@import") if w in page.replace("http://www.w3.org/2000/svg", "")]


def test_perplexity(here):
    (here / "text").write_text("the cat sat on the mat and " * 60)
    assert json.loads(r2lm("eval", "perplexity", "--data", "text", "-m", TOY, "-c", 32, "--json").out)["perplexity"] > 1
    assert "--data" in one_line(r2lm("eval", "perplexity", "-m", TOY, code=USAGE).err)
    for more, says in ((["-o", "out"], "--output"), (["--min-score", 3], "--min-score"), (["--limit=2"], "--limit"), (["and"], "found and")):
        refused("eval", "perplexity", "--data", "text", "-m", TOY, *more, code=USAGE, says=says)


VERIFIER = """
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    if "hello" in q: reply = {"name": "mine", "levels": 2}
    elif "make" in q: reply = {"prompt": f"Say {q['make']['index']}", "key": q["make"]["level"]}
    else: reply = {"score": q["key"] == 2, "why": "<level>"}
    print(json.dumps({"id": q["id"], **reply}), flush=True)
"""


def test_external(here):
    """A program asks and judges: here everything on level 2 is right."""
    (here / "mine.py").write_text(VERIFIER)
    done = json.loads(toy_eval("external", "--verifier", f"python3 {here}/mine.py", "--limit", 3, "-o", "out", "--json").out)
    assert done["items"] == 6 and done["groups"]["level 2"]["pass@1"]["value"] == 1 and done["pass@1"]["value"] == 0.5
    assert json.loads(toy_eval("external", "--verifier", f"python3 {here}/mine.py", "--limit", 3, "--level", 2, "--min-score", 100, "--json").out)["items"] == 3
    refused("eval", "external", "-m", TOY, "--raw", code=USAGE, says="verifier")
    (here / "mine.py").write_text("")
    toy_eval("external", "--verifier", f"python3 {here}/mine.py", code=1)
    (here / "mine.py").write_text(VERIFIER.replace("    else: reply", "    elif sys.exit(3): pass\n    else: reply"))    # crashes on every answer
    assert "verifier" in one_line(toy_eval("external", "--verifier", f"python3 {here}/mine.py", "--limit", 9, code=1).err)
    mine = ["external", "--verifier", f"python3 {here}/mine.py", "--limit", 2, "-o", "again"]     # what nobody judged is not kept
    assert "4 could not be judged" in toy_eval(*mine).err and len(lines("again")) == 1
    (here / "mine.py").write_text(VERIFIER.replace("    else: reply", "    elif __import__('time').sleep(600): pass\n    else: reply"))
    assert "4 could not be judged" in toy_eval(*mine, "--verifier-timeout", 1).err and len(lines("again")) == 1
    (here / "mine.py").write_text(VERIFIER)
    done = json.loads(toy_eval(*mine, "--json").out)
    assert done["pass@1"]["value"] == 0.5 and (done["this_run"]["answers"], done["this_run"]["unjudged"]) == (4, 0)
