"""r2lm train distill from outside: a small model learns from a larger one, what is the same every time, what is refused."""
import json, os, re
from cli_client import DATA, OK, TOY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)
from test_train import digest, metrics, small_model, texts


def teach(data="data"):
    """A teacher that has read the texts for longer than any student will."""
    small_model("larger", num_hidden_layers=3, hidden_size=64, intermediate_size=160, num_attention_heads=4, num_key_value_heads=4, head_dim=16)
    r2lm("train", "pretrain", data, "-m", "larger", "-o", "school", "--batch-tokens", 512, "--run-tokens", 128, "--type", "f32", "--steps", 40, "--lr", 0.01, "-q")
    return "school/model"


def distill(data, model, teacher, run, *flags, code=OK):
    return r2lm("train", "distill", data, "-m", model, "--teacher", teacher, "-o", run, "--batch-tokens", 256, "--run-tokens", 64, "--type", "f32",
                "--steps", 12, "--lr", 0.004, *flags, code=code)


def test_a_teacher_helps():
    model = small_model()
    data = texts(model)
    teacher = teach(data)
    flags = ("--batch-tokens", 256, "--run-tokens", 64, "--type", "f32", "--steps", 12, "--lr", 0.004, "--schedule", "cosine", "--json")
    alone = json.loads(r2lm("train", "pretrain", data, "-m", model, "-o", "alone", *flags).out)
    taught = json.loads(distill(data, model, teacher, "taught", "--json").out)
    assert taught["validation_loss"] < alone["validation_loss"] - 0.02, (taught, alone)
    lines = metrics("taught")
    assert lines[-1]["teacher_loss"] < 0.6 * lines[0]["teacher_loss"]
    assert "teacher_loss" not in metrics("alone")[0]
    # The other divergences, a temperature and a share of the data's own tokens; the seed decides, threads do not.
    distill(data, model, teacher, "mixed", "--teacher-share", 0.5, "--beta", 0.5, "--teacher-temp", 2, "--teacher-tokens", 8, "-t", 1)
    distill(data, model, teacher, "again", "--teacher-share", 0.5, "--beta", 0.5, "--teacher-temp", 2, "--teacher-tokens", 8, "-t", 2)
    assert digest("mixed/model") == digest("again/model") != digest("taught/model")
    assert metrics("mixed")[-1]["loss"] < metrics("mixed")[0]["loss"]
    # The teacher as a file of a smaller type, as it is run.
    r2lm("quantize", teacher, "teacher.gguf", "--type", "Q8_0", "--no-measure")
    r2lm("train", "distill", data, "-m", model, "--teacher", "teacher.gguf", "-o", "quantized", "--batch-tokens", 256, "--run-tokens", 64, "--steps", 2)
    assert metrics("quantized")[0]["teacher_loss"] > 0


def test_refusals():
    model = small_model()
    data = texts(model)
    refused("train", "distill", data, "-m", model, "-o", "run", code=USAGE, says="--teacher")
    refused("train", "distill", data, "-m", model, "--teacher", "nowhere", "-o", "run", says="nowhere")
    refused("train", "distill", data, "-m", model, "--teacher", model, "-o", "run", "--teacher-tokens", 10000, code=USAGE, says="teacher-tokens")
    # Another vocabulary: the first token that differs is named.
    files = json.load(open("seed/tokenizer.json"))
    names = sorted(files["model"]["vocab"], key=files["model"]["vocab"].get)
    first, second = names[5], names[6]
    files["model"]["vocab"][first], files["model"]["vocab"][second] = 6, 5
    json.dump(files, open("seed/tokenizer.json", "w"))
    r2lm("train", "init", "seed", "-o", "stranger", "--force")
    assert "token 5 is" in refused("train", "distill", data, "-m", model, "--teacher", "stranger", "-o", "run", says="vocabulary")


def test_own_answers():
    model = small_model()
    data = texts(model)
    teacher = teach(data)
    r2lm("train", "pretrain", data, "-m", model, "-o", "begun", "--batch-tokens", 256, "--run-tokens", 64, "--type", "f32", "--steps", 10, "--lr", 0.01, "-q")
    flags = ("--own-share", 1, "--samples", 2, "-n", 16, "--prompt-part", 8)
    distill(data, "begun/model", teacher, "own", *flags, "-t", 1)
    distill(data, "begun/model", teacher, "again", *flags, "-t", 2)
    assert digest("own/model") == digest("again/model")
    lines = metrics("own")
    assert sum(l["teacher_loss"] for l in lines[-3:]) < 0.8 * sum(l["teacher_loss"] for l in lines[:3]), lines
    assert all(0 < l["targets"] for l in lines) and lines[0]["targets"] <= 24 * 2 * 64
    # Some batches of each kind: of both the same numbers with the same seed.
    distill(data, "begun/model", teacher, "both", *flags, "--own-share", 0.5, "--steps", 4)
    assert digest("both/model") not in (digest("own/model"), digest("begun/model"))
    distill(data, "begun/model", teacher, "other", *flags, "--seed", 5, "--steps", 2)
    assert digest("other/model") != digest("own/model")


PROMPTS = [{"prompt": "What is 1 + 2?", "answer": "3"}, {"question": "Say hi", "answer": "hi"},
           {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "More?"}, {"role": "assistant", "content": "No: 7"}]}]


def prompts(name="p.jsonl", lines=PROMPTS):
    open(name, "w").write("".join(json.dumps(l) + "\n" for l in lines))
    return name


def traces(*flags, code=OK, out="t.jsonl"):
    return r2lm("data", "traces", "p.jsonl", "-m", TOY, "-o", out, "-n", 24, "--budget", 6, "--keep-cut", "--temp", 3, "--seed", 2, *flags, code=code)


def read(name="t.jsonl"): return [json.loads(line) for line in open(name)]


def test_traces():
    prompts()
    said = json.loads(traces("--samples", 2, "--json").out)
    assert (said["prompts"], said["samples"], said["kept"], said["before"]) == (3, 6, 6, 0) and 0 < said["thinking"] <= 36
    lines = read()
    assert len({(l["prompt"], l["sample"]) for l in lines}) == 6 and {l["teacher"] for l in lines} == {"toy"}
    for l in lines:
        answer = l["messages"][-1]
        assert answer["role"] == "assistant" and answer["content"].startswith("<think>\n") and "\n</think>\n\n" in answer["content"]
        assert [m["role"] for m in l["messages"][:-1]] in (["user"], ["system", "user"])
    assert len({l["messages"][-1]["content"] for l in lines}) > 3
    # Alone or beside others, on any number of threads: the same answers.
    traces("--samples", 2, "--parallel", 1, "-t", 1, out="one.jsonl")
    key = lambda l: (l["prompt"], l["sample"])
    assert sorted(read("one.jsonl"), key=key) == sorted(lines, key=key)
    # What follows: data of the answers, learnt like any chats.
    r2lm("convert", TOY, "toy")
    r2lm("data", "prep", "t.jsonl", "-m", "toy", "-o", "data")
    r2lm("train", "sft", "data", "-m", "toy", "-o", "run", "--steps", 2, "--batch-tokens", 128, "-q")


def test_traces_go_on_where_they_ended():
    prompts()
    traces("--samples", 2, out="whole.jsonl")
    whole = sorted(open("whole.jsonl").read().splitlines())
    for cut_line, cut_done in ((0, 3), (40, 0), (0, 60), (10 ** 6, 10 ** 6)):
        traces("--samples", 2, "--force")
        text, done = open("t.jsonl").read(), open("t.jsonl.done").read()
        # A crash may lose the end of the list; the lines it does not tell of are written anew.
        done = done[:len(done) - min(cut_done, len(done))]
        open("t.jsonl.done", "w").write(done)
        if cut_line: open("t.jsonl", "w").write(text + text[:cut_line])
        said = json.loads(traces("--samples", 2, "--json").out)
        assert sorted(open("t.jsonl").read().splitlines()) == whole and said["samples"] == 6
        assert said["before"] == max(0, done.count("\n") - 1)
    # More samples of the same prompts; other settings are another file.
    assert json.loads(traces("--samples", 3, "--json").out)["before"] == 6 and len(read()) == 9
    refused("data", "traces", "p.jsonl", "-m", TOY, "-o", "t.jsonl", "-n", 25, says="other settings")
    open("t.jsonl", "w").write("")
    refused("data", "traces", "p.jsonl", "-m", TOY, "-o", "t.jsonl", "-n", 24, "--budget", 6, "--keep-cut", "--temp", 3, "--seed", 2, says="at least the")
    os.remove("t.jsonl.done")
    assert "exists already" in traces(code=USAGE).err


def test_traces_refusals():
    prompts()
    assert "3 came to no end" in r2lm("data", "traces", "p.jsonl", "-m", TOY, "-o", "cut.jsonl", "-n", 8, code=USAGE).err
    assert "3 wrong" in traces("--check", "number", out="wrong.jsonl", code=USAGE).err
    prompts(lines=[{"prompt": "Say hi"}])
    assert "p.jsonl:1: expected an answer to check by" in traces("--check", "text", out="no.jsonl", code=USAGE).err
    prompts(lines=[])
    assert "expected prompts" in traces(out="none.jsonl", code=USAGE).err
    prompts(lines=[{"messages": [{"role": "assistant", "content": "I speak first"}]}])
    assert "p.jsonl:1: expected a question" in traces(out="first.jsonl", code=DATA).err
    assert os.path.exists("wrong.jsonl.done") and not {n for n in os.listdir() if n.startswith(("no.", "none.", "first."))}
    refused("data", "traces", "p.jsonl", "-m", TOY, code=USAGE, says="-o FILE")
    refused("data", "traces", "p.jsonl", "-m", TOY, "-o", "-", code=USAGE, says="-o FILE")


def test_rejection_sampling_by_tasks():
    """The judge of an item's task says which answers are kept; a model that always says 7 keeps those to questions whose answer is 7."""
    small_model()
    question = [{"role": "user", "content": "Hi"}]
    open("c.jsonl", "w").write(json.dumps({"messages": question + [{"role": "assistant", "content": "<think>\n1\n</think>\n\n<answer>7</answer>"}]}) + "\n")
    r2lm("train", "sft", "c.jsonl", "-m", "start", "-o", "seven", "--steps", 150, "--lr", 0.02, "--batch-tokens", 64, "--validation", 0, "-q")
    item = lambda expected, said, **more: {"messages": [{"role": "user", "content": said}], "task": "sum", "expected": expected, **more}
    ask = lambda *flags, code=OK, out="t.jsonl": r2lm("data", "traces", "p.jsonl", "-m", "seven/model", "-o", out, "-n", 64, "--temp", 0, "--check", "task", *flags, code=code)
    prompts(lines=[item("7", "Hi"), item("07.0", "Hi "), item("8", "Hi  ")])
    said = json.loads(ask("--json").out)
    assert (said["kept"], said["wrong"], said["cut"]) == (2, 1, 0) and all("<answer>7</answer>" in l["messages"][-1]["content"] for l in read())
    # Items as they are made: judged, and none of them is right here.
    r2lm("tasks", "make", "sum", "sort", "-n", 4, "--no-trace", "-o", "p.jsonl")
    assert re.search("4 wrong, 0 came", ask("--keep-cut", out="made.jsonl", code=USAGE).err)
    prompts(lines=[item("7", "Hi"), {"messages": question, "expected": "7"}])
    assert "p.jsonl:2: expected \"task\"" in ask(out="x.jsonl", code=USAGE).err
    prompts(lines=[item("7", "Hi"), item("7", "Ho", task="summ")])
    assert "p.jsonl:2" in ask(out="y.jsonl", code=DATA).err


def test_traces_and_training_in_one():
    prompts()
    r2lm("convert", TOY, "toy")
    # The run was ended while the teacher was still answering: two of three samples are there.
    os.mkdir("run")
    r2lm("data", "traces", "p.jsonl", "-m", TOY, "-o", "run/traces.jsonl", "--samples", 2, "-n", 16, "--budget", 4, "--keep-cut", "--temp", 3)
    out = r2lm("train", "distill", "p.jsonl", "-m", "toy", "--teacher", TOY, "--traces", "--samples", 3, "-n", 16, "--budget", 4, "--keep-cut", "--temp", 3,
               "-o", "run", "--steps", 3, "--batch-tokens", 128, "--checkpoint-every", 3)
    assert {"data", "metrics.jsonl", "model", "traces.jsonl"} <= set(os.listdir("run"))
    assert len(read("run/traces.jsonl")) == 9 and "9 answers of 9 samples to 3 prompts (6 were there before)" in out.err and "teacher_loss" not in metrics("run")[0]
    # Its answers are data from now on: the run goes on, and is repeated, without a teacher.
    r2lm("train", "distill", "--resume", "-o", "run", "--steps", 4)
    r2lm("train", "distill", "-c", "run/config.ini", "-o", "again", "--steps", 3)
    assert [line["step"] for line in metrics("run")] == [1, 2, 3, 4] and metrics("again")[0]["loss"] == metrics("run")[0]["loss"]


def test_a_run_goes_on_bit_by_bit():
    """Half of the batches are the student's own answers: which ones, and what it says, depends on the place in the data alone."""
    model = small_model()
    data = texts(model)
    flags = ("--own-share", 0.5, "--samples", 2, "-n", 12, "--prompt-part", 8, "--schedule", "constant", "--checkpoint-every", 3)
    distill(data, model, model, "whole", *flags, "--steps", 6)
    distill(data, model, model, "parts", *flags, "--steps", 3, "-t", 1)
    distill(data, model, model, "parts", *flags, "--steps", 6, "--resume")
    assert digest("whole/model") == digest("parts/model")
    distill(data, model, model, "other", *flags, "--steps", 3)
    assert "teacher" in distill(data, model, model, "other", *flags, "--steps", 6, "--resume", "--beta", 0.5, code=DATA).err
