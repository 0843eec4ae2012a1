"""Runs that are killed, stopped and gone on with from outside, and what becomes of their checkpoints."""
import json, os, random, signal, subprocess, time
from cli_client import NUMBERS, OK, PROGRAM, TOY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)
from test_train import digest, metrics, small_model, texts, train

FLAGS = ("--batch-tokens", 128, "--run-tokens", 64, "--type", "f32", "--steps", 12, "--checkpoint-every", 3, "--validate-every", 4)
# What no clock and no amount of memory has a part in.
SAME = ("step", "tokens", "targets", "loss", "lr", "gradient_norm", "validation_loss", "validation_bpb", "mtp_loss", "expert_load")


def numbers(run): return [{k: line.get(k) for k in SAME} for line in metrics(run)]


def start(data, model, run, *flags):
    return subprocess.Popen([PROGRAM, "train", "pretrain", data, "-m", model, "-o", run, *map(str, (*FLAGS, *flags))],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


def steps(run): return sorted(os.listdir(f"{run}/checkpoints"))


def test_killed_and_gone_on_with():
    model = small_model()
    data = texts(model)
    r2lm("train", "pretrain", data, "-m", model, "-o", "whole", *FLAGS)
    assert steps("whole") == ["step-00000009", "step-00000012"]
    whole, expected = numbers("whole"), digest("whole/model")
    chance = random.Random(4)
    for i in range(4):
        p = start(data, model, f"run{i}")
        for _ in range(30000):                                # somewhere behind the first checkpoint, a minute at most
            if os.path.exists(f"run{i}/checkpoints/step-00000003/manifest.json") or p.poll() is not None: break
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)
        p.kill()
        p.communicate()
        # All flags come from the run itself; another number of threads changes nothing.
        r2lm("train", "pretrain", "--resume", "-o", f"run{i}", "-t", 1 + i % 2)
        assert numbers(f"run{i}") == whole and digest(f"run{i}/model") == expected
    # Behind the end nothing is left to do; a rate may change, data may not.
    r2lm("train", "pretrain", "--resume", "-o", "run0")
    assert digest("run0/model") == expected
    refused("train", "pretrain", "--resume", "-o", "run0", "--seed", 9, says="seed")
    refused("train", "pretrain", "--resume", "-o", "nowhere", "-m", model, data, says="no such run to go on with")


def test_a_signal_writes_a_checkpoint_too():
    model = small_model()
    data = texts(model)
    p = start(data, model, "run", "--steps", 1000000, "--checkpoint-every", 0, "--validate-every", 0, "--schedule", "constant", "--warmup", 0)
    for _ in range(600):
        if os.path.exists("run/metrics.jsonl") and len(metrics("run")) >= 3: break
        time.sleep(0.1)
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=120)
    done = len(metrics("run"))
    assert p.returncode == 0 and steps("run") == [f"step-{done:08d}"] and os.path.exists("run/model/config.json")
    r2lm("train", "pretrain", "--resume", "-o", "run", "--steps", done + 2)
    assert [line["step"] for line in metrics("run")] == list(range(1, done + 3))


def test_numbers_out_of_hand_name_the_last_checkpoint():
    model = small_model()
    data = texts(model)
    r2lm("train", "pretrain", data, "-m", model, "-o", "run", *FLAGS, "--lr", 0.01, "--schedule", "constant")
    done = r2lm("train", "pretrain", "--resume", "-o", "run", "--steps", 90, "--lr", 100, "--weight-decay", 100, code=NUMBERS)
    assert "no finite number" in done.err and "run/checkpoints/step-000000" in done.err and "--resume" in done.err


def test_a_damaged_checkpoint_is_passed_over():
    model = small_model()
    data = texts(model)
    r2lm("train", "pretrain", data, "-m", model, "-o", "run", *FLAGS)
    expected = digest("run/model")
    shard = "run/checkpoints/step-00000012/state-0-of-1.safetensors"
    raw = bytearray(open(shard, "rb").read()); raw[len(raw) // 2] ^= 4
    open(shard, "wb").write(raw)
    said = r2lm("train", "pretrain", "--resume", "-o", "run").err
    assert "passed over" in said and "step-00000012" in said
    assert digest("run/model") == expected and len(metrics("run")) == 12


def test_export():
    model = small_model()
    data = texts(model)
    r2lm("train", "pretrain", data, "-m", model, "-o", "run", *FLAGS)
    r2lm("train", "export", "run", "-o", "last")
    assert digest("last") == digest("run/model")
    r2lm("train", "export", "run", "-o", "earlier", "--step", 9)
    assert digest("earlier") != digest("last")
    refused("train", "export", "run", "-o", "none", "--step", 4, says="a checkpoint of step 4, found 12, ")
    # A run that is over: nothing to do is said, and fewer steps than are done are refused.
    assert "all 12 steps were done before" in r2lm("train", "pretrain", "--resume", "-o", "run").err
    assert digest("last") == digest("run/model")
    refused("train", "pretrain", "--resume", "-o", "run", "--steps", 8, code=USAGE, says="the 12 steps that are done, found 8")
    refused("train", "pretrain", "--resume", "-o", "nowhere", says="nowhere: no run of train pretrain to go on with")
    refused("train", "pretrain", "txt", "-m", model, "-o", "other", says="txt: expected a folder of `r2lm data prep`")
    refused("train", "export", "run", "-o", "last", code=USAGE, says="exists already")
    # The model as one file: the same answers, the template with it.
    r2lm("convert", "last", "last.gguf")
    say = lambda m: r2lm("run", m, "--raw", "-p", "1 and", "-n", 12, "--temp", 0, "--arithmetic", "f32").out
    assert say("last.gguf") == say("last") == say("run/model")
    ppl = lambda m: json.loads(r2lm("ppl", m, "-f", "txt/3.txt", "-c", 64, "--arithmetic", "f32", "--json").out)["perplexity"]
    assert ppl("last.gguf") == ppl("last")


def test_a_gguf_file_is_trained_on():
    model = small_model()
    data = texts(model)
    r2lm("convert", model, "start.gguf")
    for source, run in ((model, "folder"), ("start.gguf", "file")):
        r2lm("train", "pretrain", data, "-m", source, "-o", run, *FLAGS, "--lr", 0.002, "--warmup", 0)
    assert [line["loss"] for line in metrics("file")] == [line["loss"] for line in metrics("folder")]
    weights = lambda run: json.loads(r2lm("ppl", f"{run}/model", "-f", "txt/3.txt", "-c", 64, "--arithmetic", "f32", "--json").out)["perplexity"]
    assert weights("file") == weights("folder") and sorted(os.listdir("file")) == sorted(os.listdir("folder"))
