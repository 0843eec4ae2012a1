#!/usr/bin/env python3
"""Makes tests/golden/train_lora.json: what the PEFT library makes of adapters in training, the base frozen.

  make_lora_train_golden.py tests/golden [--steps 10]
  make_lora_train_golden.py --check FOLDER BASE     opens a PEFT folder that r2lm wrote, on a Hugging Face model

For every golden adapter of one rank (make_lora_golden.py): loss, and each A's and B's gradient (norm, first values), of the batch in the
base's expected.json; then ten steps of AdamW on other batches, loss and gradient norm before each, norms of the pairs after the last.
Needs: torch, transformers >= 5.23, peft, safetensors.  Deterministic on the same versions.
"""
import argparse, json, os
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from peft import PeftModel
from safetensors.torch import load_file
from make_train_golden import OPTIONS, batch_of, load
from make_golden import num
CASES = ["lora_llama", "lora_qwen2_rs", "lora_qwen3_moe", "lora_deepseek_v3"]


class Pair(torch.nn.Module):
    """y = W x + s B A x.  PEFT 0.21 itself adapts fused experts for "gate_proj" and drops what the file holds: not used where there are any."""
    def __init__(self, linear, A, B, s):
        super().__init__(); self.base, self.s = linear.requires_grad_(False), s
        self.A, self.B = torch.nn.Parameter(A), torch.nn.Parameter(B)
    def forward(self, x): return self.base(x) + self.s * ((x @ self.A.T) @ self.B.T)


def open_case(folder, case):
    base = json.load(open(f"{folder}/{case}/expected.json"))["base"]; config = json.load(open(f"{folder}/{case}/adapter_config.json"))
    stored = {k: v.float() for k, v in load_file(f"{folder}/{case}/adapter_model.safetensors").items()}
    model, cfg = load(folder, base)
    if "deepseek" not in case:
        model = PeftModel.from_pretrained(model, f"{folder}/{case}", is_trainable=True)
        pairs = {k.replace(".default.", "."): p for k, p in model.named_parameters() if p.requires_grad}
    else:
        model.requires_grad_(False); pairs = {}
        for k, A in stored.items():
            if not k.endswith(".lora_A.weight"): continue
            name, kb = k[len("base_model.model."):-len(".lora_A.weight")], k.replace("lora_A", "lora_B"); parent, last = name.rsplit(".", 1)
            pair = Pair(model.get_submodule(name), A, stored[kb], config["lora_alpha"] / config["r"]); setattr(model.get_submodule(parent), last, pair)
            pairs[k], pairs[kb] = pair.A, pair.B
    assert pairs.keys() == stored.keys() and all(torch.equal(pairs[k], stored[k]) for k in pairs)
    return model, cfg, base, pairs


def loss_of(model, ids, labels=None):
    z = model(ids).logits[:, :-1].reshape(-1, model.config.vocab_size)
    return torch.nn.functional.cross_entropy(z, (ids if labels is None else labels)[:, 1:].reshape(-1))


def gradients(folder, case):
    model, _, base, pairs = open_case(folder, case)
    t = json.load(open(f"{folder}/{base}/expected.json"))["train"]
    loss = loss_of(model, torch.tensor(t["input_ids"]), torch.tensor(t["labels"])); loss.backward()
    return dict(base=base, loss=num(loss), grad_l2={k: num(p.grad.norm()) for k, p in pairs.items()}, grad_first4={k: [num(x) for x in p.grad.reshape(-1)[:4]] for k, p in pairs.items()})


def steps(folder, case, n):
    model, cfg, _, pairs = open_case(folder, case); out = []
    opt = torch.optim.AdamW(pairs.values(), lr=OPTIONS["lr"], betas=(OPTIONS["beta1"], OPTIONS["beta2"]), eps=OPTIONS["eps"], weight_decay=OPTIONS["weight_decay"])
    for i in range(n):
        ids = batch_of(cfg, 100 + i); opt.zero_grad(); loss = loss_of(model, ids); loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(pairs.values(), OPTIONS["clip"]); opt.step()
        out.append(dict(input_ids=ids.tolist(), loss=num(loss), grad_norm=num(norm)))
    ids = batch_of(cfg, 100 + n)
    with torch.no_grad(): after = dict(input_ids=ids.tolist(), loss=num(loss_of(model, ids)))
    return dict(steps=out, after=after, weight_l2={k: num(p.detach().norm()) for k, p in pairs.items()})


def check(folder, base):
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval(); ids = torch.arange(3, 40)[None]
    with torch.no_grad(): plain = model(ids).logits; adapted = PeftModel.from_pretrained(model, folder)(ids).logits
    print(f"{folder}: loads; logits change by up to {(adapted - plain).abs().max():.3g}"); print(json.dumps([float(x) for x in adapted[0, -1, :8]]))


if __name__ == "__main__":
    a = argparse.ArgumentParser(); a.add_argument("folder"); a.add_argument("base", nargs="?"); a.add_argument("--steps", type=int, default=10); a.add_argument("--check", action="store_true"); a = a.parse_args()
    if a.check: check(a.folder, a.base)
    else:
        out = dict(options=OPTIONS, cases={})
        for case in CASES:
            out["cases"][case] = gradients(a.folder, case) | steps(a.folder, case, a.steps)
            print(case, "loss", out["cases"][case]["loss"], "...", out["cases"][case]["after"]["loss"], flush=True)
        json.dump(out, open(f"{a.folder}/train_lora.json", "w"), separators=(",", ":"))
