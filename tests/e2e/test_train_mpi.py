"""mpirun r2lm train from outside: several processes learn what one does, the same every time, and end together when one cannot go on."""
import contextlib, json, os, shutil, signal, struct, subprocess, time
import pytest
from cli_client import DATA, NUMBERS, OK, PROGRAM, SOURCE, USAGE, here, home, one_line, r2lm   # noqa: F401  (fixtures)
from test_train import digest, metrics, small_model, texts

PLUGIN = os.path.join(os.path.dirname(PROGRAM), "libr2lm_mpi.so")
pytestmark = pytest.mark.skipif(not (shutil.which("mpirun") and os.path.exists(PLUGIN)), reason="no mpirun, or r2lm was built without MPI")
# Containers run as root; there may be fewer cores than ranks; MPI keeps memory until the end.
ENVIRONMENT = dict(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none",
                   ASAN_OPTIONS="detect_leaks=0:" + os.environ.get("ASAN_OPTIONS", ""))
BATCHES = ["--batch-tokens", 256, "--run-tokens", 64, "--accumulate", 6, "--arithmetic", "f32", "--type", "f32", "--clip", 0.5, "-t", 1]


@contextlib.contextmanager
def started(command, **how):
    """mpirun, which ends its ranks when it is told to end: at the block's end at the latest, and (setpriv) when this process is killed."""
    run = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], env=dict(os.environ, **ENVIRONMENT), **how)
    try: yield run
    finally:
        for end in (run.terminate, run.kill):
            if run.poll() is None: end()
            with contextlib.suppress(subprocess.TimeoutExpired): run.wait(timeout=10)


def mpirun(n, *arguments, code=OK, program=PROGRAM, timeout=120):
    """n processes, or what each of several commands is given: [[...], [...]]."""
    parts = [["-n", "1", program, *map(str, a)] for a in n] if isinstance(n, list) else [["-n", str(n), program, *map(str, arguments)]]
    command = ["mpirun", *[word for i, part in enumerate(parts) for word in ([":"] if i else []) + part]]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace") as run: said = run.communicate(timeout=timeout)
    done = subprocess.CompletedProcess(command, run.returncode, *said)
    assert done.returncode == code, (command, done.returncode, done.stdout[-500:], done.stderr[-2000:])
    return done


def moe_model(name="start"):
    """DeepSeek-V3's blocks, small: latent attention, experts with balancing, a prediction module."""
    config = json.load(open(os.path.join(SOURCE, "tests/golden/deepseek_v3/config.json")))
    del config["vocab_size"]
    return small_model(name, **config)


def pretrain(model, run, *flags): return ["train", "pretrain", "data", "-m", model, "-o", run, *BATCHES, *flags]


def assert_same_numbers(one, other, tolerance=1e-5):
    a, b = metrics(one), metrics(other)
    assert len(a) == len(b) > 0
    for x, y in zip(a, b):
        assert x["tokens"] == y["tokens"] and x["targets"] == y["targets"] and x["lr"] == y["lr"]
        for name in ("loss", "gradient_norm", "validation_loss", "mtp_loss", "expert_load"):
            assert (name in x) == (name in y)
            if name in x: assert y[name] == pytest.approx(x[name], rel=tolerance), (name, x["step"])


@pytest.mark.parametrize("kind", ["dense", "experts"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_ranks_learn_what_one_process_does(kind, optimizer):
    model = small_model() if kind == "dense" else moe_model()
    texts(model)
    flags = ["--steps", 5, "--lr", 0.003, "--warmup", 1, "--validate-every", 3, "--optimizer", optimizer]
    if kind == "experts": flags += ["--mtp-weight", 0.3, "--balance-rate", 0.001, "--balance", 0.001]
    r2lm(*pretrain(model, "one", *flags))
    done = mpirun(2, *pretrain(model, "two", *flags))
    assert done.stdout == "two/model\n" and done.stderr.count("step 5/5") == 1           # the first rank alone tells of it
    assert_same_numbers("one", "two")
    # Twice the same bits, for any number of threads.
    mpirun(2, *pretrain(model, "again", *flags, "-t", 2))
    assert digest("again/model") == digest("two/model") != digest(model)
    if kind == "dense":
        mpirun(3, *pretrain(model, "three", *flags))
        assert_same_numbers("one", "three")


def test_what_cannot_be_trained_is_said_once():
    model = small_model()
    texts(model)
    line = one_line(mpirun(2, *pretrain(model, "few", "--accumulate", 1), code=USAGE).stderr)
    assert "at least as many batches per step as ranks (2), found 1" in line
    os.mkdir("taken")
    assert "exists already" in one_line(mpirun(2, *pretrain(model, "taken"), code=USAGE).stderr)
    assert not os.path.exists("few") and os.listdir("taken") == []


def test_numbers_that_are_none_end_all_ranks():
    model = small_model()
    texts(model)
    done = mpirun(2, *pretrain(model, "wild", "--steps", 60, "--lr", 90, "--warmup", 0, "--clip", 0), code=NUMBERS)
    assert "no finite number" in one_line(done.stderr) and not os.path.exists("wild/model")


def test_ranks_that_differ_are_named():
    model = small_model()
    texts(model)
    line = one_line(mpirun([pretrain(model, "a", "--lr", 0.01), pretrain(model, "a", "--lr", 0.02)], code=DATA).stderr)
    assert "rank 1 of 2: expected the same options as rank 0" in line
    r2lm("train", "init", "seed", "-o", "other", "--seed", 9)
    line = one_line(mpirun([pretrain(model, "a"), pretrain(model, "a"), pretrain("other", "a")], code=DATA).stderr)
    assert "rank 2 of 3: expected the same weights to begin with as rank 0" in line
    lora = ["--lora-rank", 2]
    line = one_line(mpirun([pretrain(model, "a", *lora), pretrain("other", "a", *lora)], code=DATA).stderr)
    assert "rank 1 of 2: expected the same base and scale of an adapter as rank 0" in line
    line = one_line(mpirun([pretrain(model, "a"), pretrain(model, "a", "--steps", 2, "--warmup", 5)], code=USAGE).stderr)
    assert "rank 1 of 2: training: expected fewer steps of warm-up (5) than steps (2)" in line
    assert not os.path.exists("a")


def test_chats_are_prepared_by_one_rank():
    model = small_model()
    with open("chats.jsonl", "w") as out:
        for i in range(80): print(json.dumps(dict(messages=[dict(role="user", content=f"what is {i}"), dict(role="assistant", content=f"{i} is {i}")])), file=out)
    flags = ["-m", model, *BATCHES, "--steps", 2, "--accumulate", 2]
    r2lm("train", "sft", "chats.jsonl", "-o", "one", *flags)
    mpirun(2, "train", "sft", "chats.jsonl", "-o", "two", *flags)
    assert_same_numbers("one", "two")


def test_without_the_plugin_it_says_what_to_install():
    model = small_model()
    texts(model)
    os.mkdir("bin")
    shutil.copy(PROGRAM, "bin/r2lm")
    line = one_line(mpirun(2, *pretrain(model, "a"), program="bin/r2lm", code=DATA).stderr)
    assert "started as 2 processes" in line and "libopenmpi-dev" in line
    r2lm(*pretrain(model, "alone", "--steps", 1))


def test_a_run_goes_on_with_other_ranks():
    model = small_model()
    texts(model)
    flags = ["--lr", 0.003, "--warmup", 1, "--checkpoint-every", 2, "--validate-every", 2, "--optimizer", "muon", "--schedule", "constant"]
    r2lm(*pretrain(model, "one", *flags, "--steps", 6))
    mpirun(2, *pretrain(model, "many", *flags, "--steps", 2))
    shards = [f for f in os.listdir("many/checkpoints/step-00000002") if f.endswith(".safetensors")]
    assert sorted(shards) == ["state-0-of-2.safetensors", "state-1-of-2.safetensors"]
    r2lm(*pretrain(model, "many", *flags, "--steps", 4, "--resume"))
    mpirun(3, *pretrain(model, "many", *flags, "--steps", 6, "--resume"))
    assert_same_numbers("one", "many")
    # With as many as before: the same bits as a run that was never interrupted.
    mpirun(2, *pretrain(model, "whole", *flags, "--steps", 4))
    mpirun(2, *pretrain(model, "parts", *flags, "--steps", 2))
    mpirun(2, *pretrain(model, "parts", *flags, "--steps", 4, "--resume"))
    assert digest("parts/model") == digest("whole/model")
    # A shard that is missing: there is no such checkpoint, and all ranks go back to the one before.
    os.remove("parts/checkpoints/step-00000004/state-1-of-2.safetensors")
    mpirun(2, *pretrain(model, "parts", *flags, "--steps", 4, "--resume"))
    assert digest("parts/model") == digest("whole/model")


def wait_for(condition, seconds=100):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def state_of(pid):
    """(letter, parent) of a process; "Z" when it is over."""
    try: return tuple(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[:2])
    except OSError: return "Z", "0"


def children(pid): return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and state_of(entry)[1] == str(pid)]


def test_a_rank_that_dies_ends_the_run():
    model = small_model()
    texts(model)
    flags = ["--steps", 100000, "--checkpoint-every", 3, "--warmup", 0]
    command = ["mpirun", "-n", "2", PROGRAM, *map(str, pretrain(model, "run", *flags))]
    with open("said.txt", "w") as said, started(command, stdout=said, stderr=said) as run:
        saved = "run/checkpoints/step-00000006/manifest.json"
        wait_for(lambda: os.path.exists(saved) or run.poll() is not None)
        ranks = {open(f"/proc/{pid}/environ").read().split("OMPI_COMM_WORLD_RANK=")[1][0]: pid for pid in children(run.pid)}
        os.kill(ranks["1"], signal.SIGKILL)
        assert run.wait(timeout=60) != 0                                # it ends, and names the rank
        assert "process rank 1" in open("said.txt").read()
        wait_for(lambda: all(state_of(pid)[0] == "Z" for pid in ranks.values()), 20)
    n = len(metrics("run"))
    mpirun(2, *pretrain(model, "run", "--checkpoint-every", 3, "--steps", n + 3, "--resume"))   # what it left is whole
    assert [l["step"] for l in metrics("run")] == list(range(1, n + 4))


def test_a_signal_to_one_rank_stops_all_and_saves():
    model = small_model()
    texts(model)
    command = ["mpirun", "-n", "2", PROGRAM, *map(str, pretrain(model, "run", "--steps", 100000, "--warmup", 0))]
    with open("said.txt", "w") as said, started(command, stdout=said, stderr=said) as run:
        wait_for(lambda: os.path.exists("run/metrics.jsonl") and len(metrics("run")) > 2 or run.poll() is not None)
        os.kill(children(run.pid)[-1], signal.SIGTERM)
        assert run.wait(timeout=60) == 0, open("said.txt").read()
    r2lm("verify", "run/model")
    mpirun(2, *pretrain(model, "run", "--steps", len(metrics("run")) + 1, "--resume"))


def test_experts_divided_among_ranks():
    model = moe_model()
    texts(model)
    # Five batches of a step: not all ranks have as many.
    flags = ["--accumulate", 5, "--lr", 0.003, "--warmup", 1, "--validate-every", 2, "--optimizer", "muon", "--mtp-weight", 0.3, "--mtp-from", 0.5,
             "--balance-rate", 0.001, "--balance", 0.001, "--checkpoint-every", 2]
    r2lm(*pretrain(model, "one", *flags, "--steps", 4))
    mpirun(2, *pretrain(model, "two", *flags, "--steps", 4, "--expert-parallel"))
    assert_same_numbers("one", "two")
    mpirun(2, *pretrain(model, "again", *flags, "--steps", 4, "--expert-parallel", "-t", 2, "--recompute"))
    assert digest("again/model") == digest("two/model")
    mpirun(3, *pretrain(model, "two", *flags, "--steps", 6, "--expert-parallel", "--resume"))
    r2lm(*pretrain(model, "one", *flags, "--steps", 6, "--resume"))
    assert_same_numbers("one", "two")
    # What was written holds the experts of all ranks.
    values = [weights(f"{run}/model") for run in ("one", "two")]
    assert values[0].keys() == values[1].keys() and all(abs(x - y) < 1e-3 for name in values[0] for x, y in zip(values[0][name], values[1][name]))


def weights(folder):
    """Every hundredth number of each tensor of a model in F32."""
    raw = open(f"{folder}/model.safetensors", "rb").read()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + n])
    found = {}
    for name, t in header.items():
        if name == "__metadata__": continue
        first, end = (8 + n + x for x in t["data_offsets"])
        found[name] = [struct.unpack_from("<f", raw, at)[0] for at in range(first, end, 400)]
    return found


def test_a_model_without_experts_has_none_to_divide():
    model = small_model()
    texts(model)
    assert "experts to divide" in one_line(mpirun(2, *pretrain(model, "a", "--expert-parallel"), code=USAGE).stderr)


def test_rewards_on_two_ranks():
    """Each rank asks questions of its own; both hold the same model after each step, killed and resumed or not."""
    small_model()
    how = ["train", "grpo", "-m", "start", "--overlong", 0.99, "--tasks", "sum", "--level", 1, "-n", 16, "--questions", 4, "--answers", 6, "--run-tokens", 128,
           "--batch-tokens", 512, "--type", "f32", "--lr", 0.01, "--schedule", "constant", "--warmup", 0, "-t", 1, "--parts", 2, "--steps", 4]
    mpirun(2, *how, "-o", "whole")
    lines = metrics("whole")
    assert len(lines) == 4 and all(l["questions"] == 4 and l["answers"] == 24 for l in lines) and any(l["mixed_share"] > 0 for l in lines)
    mpirun(2, *how, "-o", "parts", "--checkpoint-every", 2)
    newest = max(os.listdir("parts/checkpoints"))
    shutil.rmtree(f"parts/checkpoints/{newest}")
    mpirun(2, *how, "-o", "parts", "--checkpoint-every", 2, "--resume")
    assert digest("whole/model") == digest("parts/model") and [l["reward"] for l in metrics("parts")] == [l["reward"] for l in lines]
    # One process asks the same questions and gets the same answers to the first ones.
    r2lm(*how, "-o", "alone")
    assert metrics("alone")[0]["reward"] == pytest.approx(lines[0]["reward"], abs=1e-9)
    assert "tasks and rewards" in mpirun([[*how, "-o", "run"], [*how, "-o", "run", "--kl", 0.1]], code=DATA).stderr
