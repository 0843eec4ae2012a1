"""r2lm train --lora-rank from outside: an adapter for the quantized file that one runs, used by run, refused where it must be."""
import json, os, shutil, struct
from cli_client import DATA, OK, SOURCE, TOY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)
import test_train


def texts(name="data"):
    os.makedirs("txt", exist_ok=True)
    for i in range(12):
        open(f"txt/{i}.txt", "w").write("".join(f"{i} and {j} are {i + j}; " for j in range(30)))
    r2lm("data", "prep", "txt", "-m", TOY, "-o", name, "--validation", 0, "--keep-copies", "--force")
    return name


def train(data, run, *flags, code=OK):
    return r2lm("train", "pretrain", data, "-m", TOY, "-o", run, "--batch-tokens", 256, "--run-tokens", 64, *flags, code=code)


def test_an_adapter_for_a_gguf_file():
    data = texts()
    said = json.loads(train(data, "run", "--lora-rank", 4, "--steps", 12, "--lr", 0.01, "--json").out)
    losses = [json.loads(line)["loss"] for line in open("run/metrics.jsonl")]
    assert losses[-1] < 0.8 * losses[0]
    assert said["adapter"] == "run/adapter" and not os.path.exists("run/model")
    config = json.load(open("run/adapter/adapter_config.json"))
    assert config["r"] == 4 and config["lora_alpha"] == 8 and config["peft_type"] == "LORA" and config["base_model_name_or_path"] == TOY
    # Both forms say the same, and something else than the model alone.
    out = {a: r2lm("run", "-m", TOY, "-p", "3 and 4", "-n", 12, "--temp", 0, "--raw", *(["--lora", a] if a else [])).out for a in ("", "run/adapter", "run/adapter.gguf")}
    assert out["run/adapter"] == out["run/adapter.gguf"] != out[""]
    # One thread gives the same bytes as two.
    again = json.loads(train(data, "again", "--lora-rank", 4, "--steps", 12, "--lr", 0.01, "--json", "--threads", 1).out)
    assert again["loss"] == said["loss"]
    assert open("again/adapter.gguf", "rb").read() == open("run/adapter.gguf", "rb").read()


def test_a_run_goes_on():
    data = texts()
    how = ("--lora-rank", 3, "--lr", 0.01, "--schedule", "constant", "--checkpoint-every", 3)
    train(data, "whole", *how, "--steps", 6)
    train(data, "parts", *how, "--steps", 3)
    train(data, "parts", *how, "--steps", 6, "--resume")
    assert open("whole/adapter.gguf", "rb").read() == open("parts/adapter.gguf", "rb").read()
    line = refused("train", "pretrain", data, "-m", TOY, "-o", "parts", *how, "--lora-alpha", 1, "--steps", 9, "--resume", "--batch-tokens", 256, "--run-tokens", 64)
    assert "scale" in line


def test_merged_into_the_weights():
    data = texts()
    r2lm("quantize", TOY, "q.gguf", "--type", "Q8_0")
    r2lm("train", "pretrain", data, "-m", "q.gguf", "-o", "run", "--batch-tokens", 256, "--run-tokens", 64, "--lora-rank", 4, "--steps", 12, "--lr", 0.01)
    ppl = lambda model, *more: json.loads(r2lm("ppl", model, "-f", "txt/3.txt", "-c", 128, "--arithmetic", "f32", "--cache-type", "f16", "--json", *more).out)["perplexity"]
    for model, type, near in ((TOY, "f32", 1e-4), ("q.gguf", "keep", 0.02)):        # what was quantized becomes BF16
        adapted, alone = ppl(model, "--lora", "run/adapter"), ppl(model)
        assert adapted < 0.8 * alone
        for adapter in ("run/adapter", "run/adapter.gguf"):
            note = r2lm("convert", model, "merged", "--force", "--type", type, "--lora", adapter).err
            assert "added to 14 matrices" in note
            r2lm("convert", "merged", "merged.gguf", "--force")
            for merged in ("merged", "merged.gguf"): assert abs(ppl(merged) / adapted - 1) < near
    r2lm("convert", TOY, "minus", "--type", "f32", "--lora", "run/adapter:-1")
    r2lm("convert", "minus", "none.gguf", "--lora", "run/adapter.gguf:1")
    assert abs(ppl("none.gguf") / ppl(TOY) - 1) < 1e-4
    # An adapter of another model, or none at all: nothing is left behind.
    shutil.copytree("run/adapter", "deeper")
    tensors = open("run/adapter/adapter_model.safetensors", "rb").read()
    open("deeper/adapter_model.safetensors", "wb").write(tensors.replace(b".layers.1.", b".layers.7."))
    shutil.copytree("run/adapter", "large")
    start = 8 + struct.unpack("<Q", tensors[:8])[0]
    open("large/adapter_model.safetensors", "wb").write(tensors[:start] + struct.pack("<f", 3e38) * ((len(tensors) - start) // 4))
    golden = os.path.join(SOURCE, "tests", "golden")
    for adapter, code, says in ((os.path.join(golden, "lora_llama"), DATA, "expected 64 columns and 32 rows"), (os.path.join(golden, "lora_deepseek_v3", "adapter.gguf"), DATA, "deepseek2"),
                                ("deeper", DATA, "layers.7.mlp.down_proj: the model has no such matrix"), ("large", DATA, "no finite number"), ("run/adapter:0", USAGE, "scale"), (TOY, DATA, "adapter"), ("nowhere", DATA, "nowhere")):
        refused("convert", TOY, "x", "--lora", adapter, code=code, says=says)


def test_an_adapter_stays_with_its_base():
    base = test_train.small_model()
    test_train.texts(base)
    r2lm("train", "init", "seed", "-o", "other", "--seed", 9)
    how = ("--lora-rank", 3, "--checkpoint-every", 2, "--batch-tokens", 256, "--run-tokens", 64)
    r2lm("train", "pretrain", "data", "-m", base, "-o", "run", *how, "--steps", 2)
    refused("train", "pretrain", "data", "-m", "other", "-o", "run", *how, "--steps", 4, "--resume", code=DATA, says="base and scale")
    refused("train", "export", "run", "-m", "other", "-o", "out", code=DATA, says="base and scale")
    refused("train", "export", "run", "--lora-alpha", 1, "-o", "out", code=DATA, says="base and scale")
    refused("train", "export", "run", "--optimizer", "muon", "-o", "out", code=DATA, says='optimizer: expected "muon"')
    assert not os.path.exists("out")
    r2lm("train", "export", "run", "-o", "out")
    assert open("out/adapter_model.safetensors", "rb").read() == open("run/adapter/adapter_model.safetensors", "rb").read()


def test_flags_without_use_are_named():
    said = train(texts(), "run", "--steps", 1, "--lora-alpha", 3, "--teacher", TOY, "--expert-parallel", "--kl=0.1", "--set", "traces=1", "--no-replay",
                 code=USAGE).err
    for flag in ("--lora-alpha", "--teacher", "--expert-parallel", "--kl", "--traces", "--replay"): assert said.count(f"{flag} changes nothing here") == 1, said
    assert said.count("changes nothing here") == 6 and "--kl changes nothing here: it is for `train` grpo" in said


def test_refusals():
    data = texts()
    for flags, says in ((["--lora-rank", 4, "--lora-targets", "q_prj"], "q_prj"), (["--lora-rank", 600], "lora-rank")):
        refused("train", "pretrain", data, "-m", TOY, "-o", "run", *flags, code=USAGE, says=says)
