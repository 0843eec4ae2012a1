"""r2lm train grpo from outside: a reward that a small model finds, the same again, what is kept, what is refused.

The toy's questions are nothing for a model with random weights, so the reward is that of length alone (--overlong): the sooner
an answer ends the better.
"""
import json, os, re, shutil, signal, subprocess, time
import pytest
from cli_client import DATA, IS_SANITIZED, MEMORY, OK, PROGRAM, TOY, USAGE, here, home, no_layers, r2lm, refused   # noqa: F401  (fixtures)
from test_train import digest, metrics, small_model, texts

SHORT = ("--overlong", 0.99, "--tasks", "sum", "--level", 1, "-n", 24, "--questions", 4, "--answers", 8, "--run-tokens", 160, "--batch-tokens", 1024, "--type", "f32",
         "--lr", 0.01, "--schedule", "constant", "--warmup", 0, "--clip", 0.5)


def grpo(run, *flags, model="start", code=OK):
    return r2lm("train", "grpo", "-m", model, "-o", run, *SHORT, *flags, code=code)


def samples(run): return [json.loads(line) for line in open(f"{run}/samples.jsonl")]


def test_it_learns_what_is_rewarded():
    small_model()
    said = json.loads(grpo("run", "--steps", 30, "--json").out)
    lines = metrics("run")
    mean = lambda key, part: sum(l[key] for l in part) / len(part)
    assert mean("reward", lines[-4:]) > mean("reward", lines[:4]) + 0.4, [l["reward"] for l in lines]
    assert mean("length", lines[-4:]) < 0.5 * mean("length", lines[:4])
    assert said["steps"] == 30 and os.path.isdir("run/model")
    first = lines[0]
    assert first["answers"] == 32 and first["clipped_share"] == 0 and first["pass_sum"] == 0 and first["entropy"] > 4
    # Every answer with its question, and what it was worth.
    kept = samples("run")
    assert len(kept) == 30 * 32 and {s["step"] for s in kept} == set(range(1, 31))
    of_first = [s for s in kept if s["step"] == 1]
    assert len({s["question"] for s in of_first}) == 4 and all("answer" in s["prompt"] for s in of_first)
    assert sum(s["reward"] for s in of_first) / 32 == pytest.approx(first["reward"])
    for q in {s["question"] for s in of_first}: assert abs(sum(s["advantage"] for s in of_first if s["question"] == q)) < 1e-6
    drawn = r2lm("plot", "run").out
    for name in ("reward", "pass_rate", "length", "entropy", "pass_sum"): assert f"\n  {name} " in drawn, drawn


def test_the_same_again_and_gone_on():
    small_model()
    grpo("whole", "--steps", 6, "-t", 1)
    grpo("again", "--steps", 6, "-t", 2)
    assert digest("whole/model") == digest("again/model") and samples("whole") == samples("again")
    grpo("parts", "--steps", 6, "--checkpoint-every", 2, "-q", "-t", 2)
    # As if it had been killed behind step 6: the checkpoint of step 4, and lines of steps that it knows nothing of.
    newest = max(os.listdir("parts/checkpoints"))
    assert newest.endswith("6")
    shutil.rmtree(f"parts/checkpoints/{newest}")
    shutil.rmtree("parts/model")
    kept = open("parts/samples.jsonl").read().splitlines()
    open("parts/samples.jsonl", "w").write("\n".join([kept[0].replace('"text":"', '"text":"\\u0000'), *kept[1:]]) + "\n")  # models write 0 bytes too
    grpo("parts", "--steps", 6, "--checkpoint-every", 2, "--resume")
    assert samples("parts")[0]["text"][0] == "\0"
    assert digest("whole/model") == digest("parts/model") and samples("whole")[1:] == samples("parts")[1:]
    numbers = lambda run: [(l["step"], l["reward"], l["loss"], l["entropy"]) for l in metrics(run)]
    assert numbers("whole") == numbers("parts")
    assert "batches of a step" in grpo("parts", "--questions", 8, "--steps", 9, "--resume", code=DATA).err
    assert "tasks" in grpo("parts", "--tasks", "sort", "--steps", 9, "--resume", code=DATA).err


def test_killed_and_gone_on():
    small_model()
    grpo("whole", "--steps", 8)
    run = [PROGRAM, "train", "grpo", "-m", "start", "-o", "run", *map(str, SHORT), "--steps", "8", "--checkpoint-every", "1", "-q"]
    child = subprocess.Popen(run)
    while not (os.path.exists("run/metrics.jsonl") and len(metrics("run")) >= 3) and child.poll() is None: time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    subprocess.run([*run, "--resume"], check=True)
    assert digest("whole/model") == digest("run/model") and samples("whole") == samples("run")


def test_other_ways_to_learn():
    small_model()
    data = texts("start")
    ways = {"plain": (), "parts": ("--parts", 2), "sequence": ("--parts", 2, "--ratio", "sequence", "--clip-high", 0.001, "--clip-low", 0.001),
            "kl": ("--kl", 0.1), "rounds": ("--rounds", 1), "norm": ("--loss-norm", "answers", "--deviation"), "mean": ("--loss-norm", "tokens"),
            "recomputed": ("--recompute",)}
    seen = set()
    for name, flags in ways.items():
        grpo(name, "--steps", 3, *flags)
        seen.add(digest(f"{name}/model"))
        if name == "sequence": assert max(l["clipped_share"] for l in metrics(name)) > 0
        if name == "kl": assert [l["kl"] for l in metrics(name)][0] == pytest.approx(0, abs=1e-3) and abs(metrics(name)[-1]["kl"]) > 0
    assert digest("recomputed/model") == digest("plain/model") and len(seen) == len(ways) - 1 - (digest("rounds/model") == digest("plain/model"))
    r2lm("train", "grpo", data, "-m", "start", "-o", "mixed", *SHORT, "--steps", 3, "--sft-share", 0.1)
    assert digest("mixed/model") not in seen
    # An adapter on the quantized model.
    r2lm("convert", "start", "start.gguf")
    r2lm("quantize", "start.gguf", "q8.gguf", "--type", "Q8_0", "--no-measure")
    grpo("adapter", "--steps", 6, "--lora-rank", 4, "--kl", 0.01, "--lr", 0.03, model="q8.gguf")
    assert os.path.exists("adapter/adapter.gguf") and metrics("adapter")[0]["kl"] == 0 and metrics("adapter")[-1]["kl"] != 0


def shown(*flags): return json.loads(r2lm("runs", "samples", *flags, "--json").out)


def test_answers_are_shown():
    small_model()
    grpo("run", "--steps", 3)
    kept = samples("run")
    said = shown("run", "--limit", 0)
    short = lambda list_: [{k: round(v, 6) if isinstance(v, float) else v for k, v in s.items()} for s in list_]
    assert short(said["samples"]) == short(kept) and (said["matching"], said["all"], said["not_samples"]) == (96, 96, 0)
    number = json.loads(r2lm("runs", "--json").out)["runs"][0]["id"]
    assert shown(number, "--limit", 0) == said and len(shown("run")["samples"]) == 20
    steps = lambda range_: sorted({s["step"] for s in shown("run", "--step", range_, "--limit", 0)["samples"]})
    assert [steps(r) for r in ("2", "2-3", "2-", "0-1")] == [[2], [2, 3], [2, 3], [1]]
    assert shown("run", "--right")["matching"] == 0 and shown("run", "--wrong", "--task", "sum")["matching"] == 96 and shown("run", "--task", "sort")["matching"] == 0
    assert "0 of 0 answers shown, 96 in all" in r2lm("runs", "samples", "run", "--right").err
    for flags in (("--right", "--wrong"), ("--step", "3-2"), ("--step", "x"), ("--step", "-"), ("--step", "99999999999999999999")):
        refused("runs", "samples", "run", *flags, code=USAGE, says=flags[0])
    # As it is read: each question once, its answers below it.
    line = dict(kept[0], step=7, question=3, prompt="Say\nit", text="one\u0000two\n", reward=0.5, advantage=0.25, right=True, end=True, form=True, why="")
    os.mkdir("made")
    with open("made/samples.jsonl", "w") as out:
        for change in ({}, {"right": False, "end": False, "form": False, "why": "no <answer>", "text": ""}): out.write(json.dumps(dict(line, **change)) + "\n")
        out.write('what?\n{"step": 3}\n[]\n' + json.dumps(line)[:80])             # lines that are none, and one that is being written
    said = r2lm("runs", "samples", "made")
    n = line["tokens"]
    assert said.out == (f"step 7, question 3: sum, level 1, en\n    Say\n    it\n  right, reward 0.5, advantage +0.25, {n} tokens\n    one two\n"
                        f"  wrong, reward 0.5, advantage +0.25, {n} tokens, cut off, not in the form asked for: no <answer>\n")
    assert "3 lines are no answers" in said.err
    assert "1 of 2 answers shown" in r2lm("runs", "samples", "made", "--limit", 1).err
    refused("runs", "samples", "nothing", says="nothing")
    refused("runs", "samples", "start", says="samples.jsonl")
    open("made/samples.jsonl", "w").write("what?\n")
    refused("runs", "samples", "made", says="expected answers")
    open("made/samples.jsonl", "w").write("")
    assert "0 in all" in r2lm("runs", "samples", "made").err


def check_forecast(train, *flags):
    """--dry-run trains nothing and says of memory what the run then takes; --minutes becomes a number of steps, kept with the run."""
    said = json.loads(train("none", "--dry-run", "--steps", 3, "--price", 3600, "--json").out)
    assert not os.path.exists("none") and said["is_tried"] and said["steps"] == 3 and said["cost"] == pytest.approx(said["seconds"]) and said["seconds"] > 0
    train("run", "--steps", 3)
    assert metrics("run")[-1]["memory_bytes"] + said["file_bytes"] == pytest.approx(said["memory_bytes"], rel=0.1)
    assert said["step_tokens"] == pytest.approx(metrics("run")[-1]["tokens"] / 3, rel=0.5)
    text = train("none", "--dry-run", "--steps", 3).out
    assert "by trial" in text and "memory" in text and "data" not in text, text
    train("timed", "--minutes", 0.01, *flags)
    steps = int(re.search(r"^steps = (\d+)$", open("timed/config.ini").read(), flags=re.M)[1])
    assert steps == len(metrics("timed")) >= 1


def test_how_long_and_what_it_takes():
    small_model()
    check_forecast(grpo)
    assert "available are 1.00 MB" in grpo("none", "--dry-run", "--memory", 0.001, code=MEMORY).err and not os.path.exists("none")


MOE = dict(architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True,
           decoder_sparse_step=1, mlp_only_layers=[], head_dim=16)


def test_experts_of_later_parts():
    """With experts, a batch that is learnt in parts goes to those that it was drawn with; where there are none the flag means nothing."""
    small_model("start", **MOE)
    flags = ("--parts", 2, "--balance-rate", 0)
    grpo("whole", "--steps", 4, *flags, "-t", 1)
    grpo("parts", "--steps", 4, *flags, "-t", 2, "--checkpoint-every", 2)
    grpo("free", "--steps", 4, *flags, "--no-replay")
    assert digest("whole/model") == digest("parts/model") and samples("whole") == samples("parts")
    first = lambda run: [s for s in samples(run) if s["step"] == 1]
    assert digest("free/model") != digest("whole/model") and first("free") == first("whole")
    shutil.rmtree(f"parts/checkpoints/{max(os.listdir('parts/checkpoints'))}")
    assert "experts" in grpo("parts", "--steps", 4, *flags, "--checkpoint-every", 2, "--resume", "--no-replay", code=DATA).err
    grpo("parts", "--steps", 4, *flags, "--checkpoint-every", 2, "--resume")
    assert digest("whole/model") == digest("parts/model") and samples("whole") == samples("parts")
    small_model("dense")
    grpo("with", "--steps", 2, "--parts", 2, model="dense")
    grpo("without", "--steps", 2, "--parts", 2, "--no-replay", model="dense")
    assert digest("with/model") == digest("without/model")


def test_nothing_to_learn_from():
    small_model()
    flags = ("--tasks", "sum", "--level", 1, "-n", 6, "--questions", 2, "--answers", 2, "--patience", 3)
    err = r2lm("train", "grpo", "-m", TOY, "-o", "cut", *flags, "--no-think", "--steps", 9, code=1).err
    assert "for 3 steps every answer was cut off at 6 tokens" in err and len(metrics("cut")) == 3, err
    said = r2lm("train", "grpo", "-m", TOY, "-o", "short", *flags, "--no-think", "--steps", 2).err
    assert "nothing was learnt; `r2lm runs samples short`" in said, said
    judged = ("-m", "start", "-n", 24, "--questions", 4, "--answers", 16, "--patience", 2, "--steps", 9, "--no-think")
    for score, says in ((0, "equally bad"), (1, "equally good, most of them right")):
        open(f"{score}.py", "w").write(f"MODE, SCORE = 'same', {score}\n" + VERIFIER)
        err = r2lm("train", "grpo", "-o", f"run{score}", *judged, "--verifier", f"/usr/bin/python3 {score}.py", code=1).err
        assert "for 2 steps" in err and says in err and "nothing was learnt" not in err and len(metrics(f"run{score}")) == 2, err
    # Right answers are worth more in the language of their question.
    said = r2lm("train", "grpo", "-o", "spoken", *judged, "--steps", 2, "--verifier", "/usr/bin/python3 1.py", "--language-weight", 0.5).err
    worth = {s["reward"] for s in samples("spoken")}
    assert min(worth) >= 1 and max(worth) <= 1.5 and len(worth) > 1 and "nothing was learnt" not in said
    assert "kl-limit" in r2lm("train", "grpo", "-o", "far", "-m", "start", *SHORT, "--steps", 9, "--kl", 0.001, "--kl-limit", 0.00001, code=1).err


def test_thoughts_have_their_budget():
    """The toy thinks without end: four tokens of it, exactly, and what is judged says so even where the prompt opened the thought."""
    flags = ("-m", TOY, "--tasks", "sum", "--level", 1, "-n", 12, "--questions", 1, "--answers", 2, "--steps", 1, "--patience", 9)
    r2lm("train", "grpo", *flags, "--think", "--budget", 4, "-o", "run")
    assert [s["text"] for s in samples("run")] == ["<think>" + "an" * 4 + "</think>" + "an" * 7] * 2, samples("run")
    r2lm("train", "grpo", *flags, "--no-think", "-o", "none")
    assert all(s["text"].startswith("anan") and "think" not in s["text"] for s in samples("none")), samples("none")


def test_refusals():
    small_model()
    refused("train", "grpo", "-m", "start", "-o", "run", code=USAGE, says="--tasks")
    refused("train", "grpo", "-m", "start", "--tasks", "sum", code=USAGE, says="-o RUN")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum,soup", code=USAGE, says="soup")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum", "--level", 40, code=USAGE, says="level")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum", "--languages", "en,xx", code=USAGE, says="xx")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum", "--languages", "zh", code=USAGE, says="never taught in zh")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum", "-n", 600, code=USAGE, says="run-tokens")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum", "--minutes", 3, "--steps", 3, code=USAGE, says="one of --steps")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum", "--epochs", 3, code=USAGE, says="--steps or --minutes, found --epochs")
    refused("train", "grpo", "-m", "start", "--dry-run", code=USAGE, says="--tasks")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum", "--level", 1, "-n", 8, "--run-tokens", 160, "--questions", 65536, "--answers", 1024,
            "--rounds", 63, code=USAGE, says="answers in a step")
    refused("train", "grpo", "-m", "start", "-o", "run", "--tasks", "sum", "--sft-share", 1, code=USAGE, says="data")


VERIFIER = r'''
import json, sys, time
for line in sys.stdin:
    r = json.loads(line)
    out = {"id": r["id"]}
    if "hello" in r: out.update(name="x" + "\u00fc" * 60 if MODE == "words" else "vowels", levels=3)
    elif "make" in r: out.update(prompt="Say a", key=1)
    elif MODE == "hang": time.sleep(600)
    elif MODE == "garbage": print("what?", flush=True); continue
    elif MODE == "bytes": sys.stdout.buffer.write(b"\xff\xfe\n"); sys.stdout.flush(); continue
    elif MODE == "same": out.update(score=SCORE)
    elif MODE == "words": out.update(score=0, why="x" + "\u00fc" * 200)
    else: out.update(score=min(1, r["text"].count("a") / 4))
    print(json.dumps(out), flush=True)
'''


@pytest.mark.skipif(IS_SANITIZED, reason="the sanitizer must be the first library")
def test_programs_without_a_sandbox(no_layers):
    small_model()
    missing = {"NO_BUBBLEWRAP": "1", "NO_LANDLOCK": "1", "LD_PRELOAD": no_layers}
    refused("train", "grpo", "-m", "start", *SHORT, "--tasks", "sum,print", "-o", "run", "--steps", 1, env=missing, code=77, says="sandbox")


def test_a_verifier_of_ones_own():
    small_model()
    open("good.py", "w").write("MODE = 'good'\n" + VERIFIER)
    flags = ("-m", "start", "-n", 16, "--questions", 2, "--answers", 8, "--run-tokens", 128, "--batch-tokens", 1024, "--type", "f32", "--lr", 0.01, "--warmup", 0,
             "--schedule", "constant", "--clip", 0.5)
    r2lm("train", "grpo", *flags, "--verifier", "/usr/bin/python3 good.py", "-o", "run", "--steps", 25)
    lines = metrics("run")
    mean = lambda part: sum(l["reward"] for l in part) / len(part)
    assert mean(lines[-4:]) > mean(lines[:4]) + 0.3, [l["reward"] for l in lines]
    assert {s["task"] for s in samples("run")} == {"vowels"} and lines[0]["failed_grades"] == 0
    open("bad.py", "w").write("MODE = 'garbage'\n" + VERIFIER)
    err = r2lm("train", "grpo", *flags, "--verifier", "/usr/bin/python3 bad.py", "-o", "bad", "--steps", 9, "--patience", 2, code=1).err
    assert "no answer could be judged" in err, err
    assert metrics("bad")[0]["failed_grades"] > 0 and len(metrics("bad")) == 2
    # Whatever it says, and wherever that is cut: the run goes on, and keeps it.
    for mode in ("words", "bytes"):
        open(f"{mode}.py", "w").write(f"MODE = '{mode}'\n" + VERIFIER)
        r2lm("train", "grpo", *flags, "--verifier", f"/usr/bin/python3 {mode}.py", "-o", mode, "--steps", 2)
        assert len(samples(mode)) == 32 and all(len(s["why"]) > 50 for s in samples(mode)), samples(mode)[0]
    assert any(key.startswith("level_x\u00fc") for key in metrics("words")[0])
    open("hang.py", "w").write("MODE = 'hang'\n" + VERIFIER)
    begin = time.monotonic()
    r2lm("train", "grpo", *flags, "--questions", 1, "--answers", 2, "--verifier", "/usr/bin/python3 hang.py", "--verifier-timeout", 1, "-o", "hang", "--steps", 1)
    assert time.monotonic() - begin < 60 and metrics("hang")[0]["failed_grades"] == 2
    refused("train", "grpo", *flags, "--verifier", "/nowhere/at/all", "-o", "none", "--steps", 2, code=DATA)
    refused("train", "grpo", *flags, "--verifier", "/usr/bin/python3 good.py", "--level", 4, "-o", "none", "--steps", 2, code=USAGE, says="level of 1 to 3, found 4")
    # A folder names no program to be run.
    refused("train", "grpo", "--resume", "-o", "run", "--steps", 26, code=USAGE, says="--verifier COMMAND once more")


RISING = r'''
import json, sys
for line in sys.stdin:
    r = json.loads(line)
    out = {"id": r["id"]}
    if "hello" in r: out.update(name="steps", levels=4)
    elif "make" in r: out.update(prompt=f"level {r['make']['level']}", key=r["make"]["level"])
    else: out.update(score=float(r["key"] < 3))
    print(json.dumps(out), flush=True)
'''


def test_levels_follow_what_is_solved():
    """Levels 1 and 2 are always right, 3 never: it rises by halves and stays where half is right."""
    small_model()
    open("rising.py", "w").write(RISING)
    flags = ("-m", "start", "-n", 4, "--questions", 8, "--answers", 8, "--run-tokens", 128, "--batch-tokens", 1024, "--type", "f32", "--warmup", 0,
             "--verifier", "/usr/bin/python3 rising.py", "--checkpoint-every", 2)
    r2lm("train", "grpo", *flags, "-o", "run", "--steps", 6)
    levels = lambda run: [l["level_steps"] for l in metrics(run)]
    assert levels("run")[:4] == [1, 1.5, 2, 2.5] and all(2 <= l <= 3 for l in levels("run")[4:]), levels("run")
    asked = lambda step: {s["level"] for s in samples("run") if s["step"] == step}
    assert asked(1) == {1} and asked(2) == {1, 2} and asked(3) == {2} and asked(4) == {2, 3}
    assert all(s["right"] == (s["level"] < 3) and s["prompt"] == f"level {s['level']}" for s in samples("run"))
    # Where it stood is in the checkpoint.
    r2lm("train", "grpo", *flags, "-o", "again", "--steps", 6)
    shutil.rmtree(f"again/checkpoints/{max(os.listdir('again/checkpoints'))}")
    r2lm("train", "grpo", *flags, "-o", "again", "--steps", 6, "--resume")
    assert levels("again") == levels("run") and samples("again") == samples("run")
    # A level that is held stays.
    r2lm("train", "grpo", *flags, "-o", "held", "--steps", 2, "--level", 2)
    assert levels("held") == [2, 2]


PAIRS = [{"prompt": f"Say {i}", "chosen": "yes " * (1 + i % 3), "rejected": "no " * (1 + i % 2)} for i in range(12)]


def dpo(run, *flags, code=OK):
    return r2lm("train", "dpo", "pairs.jsonl", "-m", "start", "-o", run, "--batch-tokens", 512, "--run-tokens", 128, "--type", "f32", "--step-pairs", 6, "--lr", 0.003,
                "--warmup", 0, "--schedule", "constant", *flags, code=code)


def test_pairs():
    small_model()
    open("pairs.jsonl", "w").write("".join(json.dumps(p) + "\n" for p in PAIRS))
    dpo("run", "--steps", 10, "-t", 1)
    lines = metrics("run")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and lines[0]["margin"] == pytest.approx(0, abs=1e-3)     # the model is its own reference
    assert lines[-1]["loss"] < 0.4 and lines[-1]["accuracy"] == 1 and lines[-1]["margin"] > 0.5, lines[-1]
    dpo("again", "--steps", 10, "-t", 2)
    assert digest("run/model") == digest("again/model")
    dpo("parts", "--steps", 10, "--checkpoint-every", 5)
    shutil.rmtree(f"parts/checkpoints/{max(os.listdir('parts/checkpoints'))}")
    dpo("parts", "--steps", 10, "--checkpoint-every", 5, "--resume")
    assert digest("run/model") == digest("parts/model")
    assert "beta" in dpo("parts", "--steps", 12, "--resume", "--beta", 0.3, code=DATA).err
    r2lm("convert", "start", "start.gguf")
    r2lm("train", "dpo", "pairs.jsonl", "-m", "start.gguf", "-o", "adapter", "--lora-rank", 4, "--steps", 6, "--lr", 0.02, "--batch-tokens", 512, "--run-tokens", 128)
    assert metrics("adapter")[-1]["loss"] < 0.6 and os.path.exists("adapter/adapter.gguf")
    open("longer.jsonl", "w").write(open("pairs.jsonl").read() + json.dumps({"prompt": "x", "chosen": "yes " * 300, "rejected": "no"}) + "\n")
    longer = ("-m", "start", "--batch-tokens", 512, "--run-tokens", 128, "--type", "f32", "--step-pairs", 6, "--lr", 0.003, "--warmup", 0, "--schedule", "constant", "--steps", 10)
    err = r2lm("train", "dpo", "longer.jsonl", "-o", "longer", *longer).err
    assert "1 pairs are left out" in err, err
    refused("train", "dpo", "-m", "start", "-o", "none", code=USAGE, says="pairs")
    open("bad.jsonl", "w").write('{"prompt": "x", "chosen": "y"}\n')
    refused("train", "dpo", "bad.jsonl", "-m", "start", "-o", "none", says="bad.jsonl:1")
    refused("train", "dpo", "pairs.jsonl", "-m", "start", "-o", "none", "--run-tokens", 4, code=USAGE, says="none that fit")


def test_how_long_pairs_take():
    small_model()
    open("pairs.jsonl", "w").write("".join(json.dumps(p) + "\n" for p in PAIRS))
    check_forecast(dpo)
