"""r2lm train --lora-rank from outside: an adapter for the quantized file that one runs, used by run, refused where it must be."""
import json, os
from cli_client import OK, TOY, USAGE, here, home, r2lm, refused   # noqa: F401  (fixtures)


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


def test_refusals():
    data = texts()
    for flags, says in ((["--lora-rank", 4, "--lora-targets", "q_prj"], "q_prj"), (["--lora-rank", 600], "lora-rank")):
        refused("train", "pretrain", data, "-m", TOY, "-o", "run", *flags, code=USAGE, says=says)
