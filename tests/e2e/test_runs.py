"""Runs of r2lm train as things that one plans, repeats and finds again: --dry-run, config files, how long, the list of runs."""
import json, os, re, signal, sqlite3, subprocess, time
import pytest
from cli_client import DATA, IS_SANITIZED, MEMORY, NUMBERS, OK, PROGRAM, USAGE, here, home, one_line, r2lm, refused   # noqa: F401  (fixtures)
from test_train import digest, metrics, small_model, texts, train

WIDE = dict(hidden_size=128, intermediate_size=384, num_hidden_layers=3, head_dim=32)


def runs(): return json.loads(r2lm("runs", "--json").out)["runs"]


def plan(data, model, *flags): return json.loads(train(data, model, "none", "--dry-run", "--json", *flags).out)


def test_a_plan_says_what_the_run_takes():
    model = small_model(**WIDE)
    data = texts(model)
    for i, more in enumerate([(), ("--optimizer", "muon"), ("--recompute",), ("--batch-tokens", 2048), ("--arithmetic", "f32"), ("--lora-rank", 4)]):
        flags = ("--batch-tokens", 1024, "--run-tokens", 128, "--steps", 2, *more)
        said = plan(data, model, *flags)
        assert not os.path.exists("none") and said["steps"] == 2 and (said["is_tried"] or IS_SANITIZED) and said["seconds"] > 0   # too slow for a trial there
        train(data, model, f"run{i}", *flags)
        assert metrics(f"run{i}")[-1]["memory_bytes"] + said["file_bytes"] == pytest.approx(said["memory_bytes"], rel=0.1)
        parts = [said[k] for k in ("masters_bytes", "gradients_bytes", "moments_bytes", "activations_bytes", "file_bytes")]
        assert 0.5 * said["memory_bytes"] < sum(parts) <= 1.01 * said["memory_bytes"]
        least = 4 if "--lora-rank" in more else 6   # a weight that is not trained has no gradient of its own
        assert least < said["flops_per_token"] / said["active_parameters"] < least + 2


@pytest.mark.skipif(IS_SANITIZED, reason="sanitizers take memory of their own")
def test_a_plan_is_near_the_peak_of_the_process():
    model = small_model(**WIDE)
    data = texts(model)
    flags = ("--batch-tokens", 8192, "--run-tokens", 128, "--steps", 1)
    said = plan(data, model, *flags)
    pid = subprocess.Popen([PROGRAM, "train", "pretrain", data, "-m", model, "-o", "run", "-q", *map(str, flags)], stdout=subprocess.DEVNULL)
    peak = os.wait4(pid.pid, 0)[2].ru_maxrss * 1024
    assert said["memory_bytes"] > 80e6, said
    assert peak == pytest.approx(said["memory_bytes"], rel=0.1)


def test_price_and_memory():
    model = small_model()
    data = texts(model)
    said = plan(data, model, "--steps", 50, "--price", 3600)
    assert said["cost"] == pytest.approx(said["seconds"]) and said["currency"] == "$"
    text = train(data, model, "none", "--dry-run", "--price", 7, "--currency", "EUR ").out
    assert re.search(r"^cost +EUR [0-9.]+ at EUR 7.00 per hour$", text, flags=re.M), text
    assert "cost" not in plan(data, model)
    line = refused("train", "pretrain", data, "-m", model, "-o", "run", "--memory", 0.001, code=MEMORY, says="--batch-tokens")
    assert "available are 1.00 MB" in line
    # More than any machine has is planned as well, and refused.
    refused("train", "pretrain", data, "-m", model, "-o", "run", "--batch-tokens", 1 << 22, "--memory", 1, code=MEMORY, says="available are 1.00 GB")
    done = train(data, model, "run", "--steps", 2, "--price", 3600)
    assert metrics("run")[-1]["cost"] == pytest.approx(metrics("run")[-1]["seconds_all"]) and "% of peak" in done.err and "$" in done.err
    assert all(0 < l["peak_share"] < 2 and l["seconds_left"] >= 0 for l in metrics("run"))


def test_how_long():
    model = small_model()
    data = texts(model)
    n = plan(data, model)["data_tokens"]
    assert plan(data, model, "--epochs", 2)["steps"] == -(-2 * n // 256)
    assert plan(data, model, "--tokens", 2560, "--checkpoint-every", 2)["steps"] == 10
    refused("train", "pretrain", data, "-m", model, "-o", "x", "--steps", 3, "--epochs", 1, code=USAGE, says="one of --steps")
    train(data, model, "timed", "--minutes", 0.01, "--checkpoint-every", 2)
    steps = int(re.search(r"^steps = (\d+)$", open("timed/config.ini").read(), flags=re.M)[1])
    assert steps == len(metrics("timed")) >= 1
    r2lm("train", "pretrain", "-c", "timed/config.ini", "-o", "again")
    assert digest("timed/model") == digest("again/model")


def test_the_rate_suits_the_model():
    model = small_model()
    data = texts(model)
    assert plan(data, model)["lr"] == 0.001
    train(data, model, "run", "--steps", 1)
    assert plan(data, "run/model")["lr"] == 0.0001                   # it is no beginner any more
    assert "trained already" in train(data, "run/model", "more", "--steps", 1).err
    assert "its model is run/model" in refused("run", "-m", "run", "-p", "hi", says="training run")


def test_config_files():
    model = small_model()
    data = texts(model)
    train(data, model, "run", "--steps", 3, "--lr", 0.01, "--optimizer", "muon", "--seed", 5)
    r2lm("train", "pretrain", "-c", "run/config.ini", "-o", "again")
    assert digest("run/model") == digest("again/model")
    r2lm("train", "pretrain", "-c", "run/config.ini", "-o", "longer", "--set", "steps=4", "--seed", 6)
    assert len(metrics("longer")) == 4 and digest("longer/model") != digest("run/model")
    for text, says in [("lr = 0.1\nwarmpu = 3\n", "c.ini:2: --warmpu: no such flag here; did you mean --warmup?"), ("[train]\n\nlr = fast\n", "c.ini:3: lr: expected a number from 0 to 100"),
                       ("lr\n", "c.ini:1: expected FLAG = VALUE"), ("[bench]\nlr = 1\n", "c.ini:2: expected settings of [train]"), ("optimizer = sgd\n", "c.ini:1: optimizer: expected adamw|muon")]:
        open("c.ini", "w").write(text)
        line = one_line(train(data, model, "no", "-c", "c.ini", code=DATA if "FLAG = VALUE" in says else USAGE).err)
        assert says in line and not os.path.exists("no"), line
    refused("train", "pretrain", data, "-m", model, "-o", "no", "-c", "none.ini", says="none.ini")
    refused("train", "pretrain", data, "-m", model, "-o", "no", "--set", "lrr=1", code=USAGE, says="did you mean --lr?")
    refused("train", "pretrain", data, "-m", model, "-o", "no", "--set", "lr", code=USAGE, says="NAME=VALUE")


# ---------------------------------------------------------------- the list of runs
def test_runs_are_listed(home):
    assert runs() == []
    model = small_model()
    data = texts(model)
    train(data, model, "one", "--steps", 2)
    train(data, model, "bad", "--steps", 60, "--lr", 100, "--weight-decay", 100, "--schedule", "constant", code=NUMBERS)
    train(data, model, "none", "--steps", 1, "--no-register")
    refused("train", "pretrain", "--resume", "-o", "one", "--steps", 1, "--lr", 2, "--batch-tokens", 128, folder="one")
    refused("train", "pretrain", data, "-m", model, "-o", "never", "--warmup", 9, "--steps", 3, code=USAGE)
    bad, one = runs()                                                # who was refused is not in the list, nor has it changed
    assert (one["state"], one["step"], one["steps"], one["kind"]) == ("finished", 2, 2, "pretrain")
    assert one["loss"] == pytest.approx(metrics("one")[-1]["loss"]) and one["validation_loss"] > 0 and one["tokens"] == metrics("one")[-1]["tokens"]
    assert one["folder"] == os.path.realpath("one") and one["model"] == os.path.realpath(model) and one["config"] == open("one/config.ini").read()
    assert bad["state"] == "failed" and "no finite number" in bad["message"]
    assert json.loads(r2lm("runs", "show", "one", "--json").out)["id"] == one["id"]
    assert "finished" in r2lm("runs", "show", one["id"]).out and re.search(r"failed +pretrain", r2lm("runs").out)
    r2lm("runs", "rm", bad["id"])
    assert [r["id"] for r in runs()] == [one["id"]] and os.path.exists("bad/metrics.jsonl")
    refused("runs", "show", "nothing", says="no run has this number or folder")
    refused("runs", "rm", code=USAGE, says="show RUN or rm RUN")
    state = home / ".local/state/r2lm"
    assert (state / "runs.db").stat().st_mode & 0o777 == 0o600 and state.stat().st_mode & 0o777 == 0o700
    os.symlink(home, "elsewhere")                                   # a home that is a link, as on machines that keep homes elsewhere
    r2lm("train", "pretrain", data, "-m", model, "-o", "linked", "--batch-tokens", 256, "--steps", 1, env=dict(HOME=os.path.abspath("elsewhere")))
    assert [r["folder"] for r in runs()] == [os.path.realpath("linked"), one["folder"]]
    with sqlite3.connect(state / "runs.db") as db: db.execute("UPDATE runs SET seconds = 9e999, folder = CAST(x'ff41' AS TEXT) WHERE id = ?", (one["id"],))
    assert [(r["folder"], r["seconds"]) for r in runs()][1:] == [(None, None)] and r2lm("runs").out    # no UTF-8, no number: shown none the less


def test_runs_beside_each_other_and_ones_that_die():
    model = small_model()
    data = texts(model)
    start = lambda name: subprocess.Popen([PROGRAM, "train", "pretrain", data, "-m", model, "-o", name, "--steps", "1000000", "--batch-tokens", "256", "--run-tokens", "64"],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    both = [start("a"), start("b")]
    for _ in range(1200):
        if all(os.path.exists(f"{n}/metrics.jsonl") and len(metrics(n)) >= 2 for n in "ab"): break
        time.sleep(0.1)
    assert sorted(os.path.basename(r["folder"]) for r in runs() if r["state"] == "running") == ["a", "b"]
    for how in (["--resume"], [data, "-m", model, "--force"]):
        refused("train", "pretrain", *how, "-o", "b", code=USAGE, says="another process is training there")
    both[0].kill()
    both[0].wait()
    both[1].send_signal(signal.SIGTERM)
    assert both[1].wait(timeout=200) == OK
    assert {os.path.basename(r["folder"]): r["state"] for r in runs()} == {"a": "crashed", "b": "stopped"}


def test_a_damaged_list_stops_no_run(home):
    model = small_model()
    data = texts(model)
    state = home / ".local/state/r2lm"
    state.mkdir(parents=True)
    (state / "runs.db").write_bytes(b"this is no database, whatever its name says" * 100)
    done = train(data, model, "run", "--steps", 1)
    assert "damaged" in done.err and os.path.exists("run/model")
    refused("runs", says="damaged")
    (state / "runs.db").unlink()
    sqlite3.connect(state / "runs.db").executescript("CREATE TABLE runs(id INTEGER PRIMARY KEY)")     # not ours
    assert "the run goes on" in train(data, model, "more", "--steps", 1).err
