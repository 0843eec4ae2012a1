#!/usr/bin/env python3
"""LoRA adapters for some golden models, and the logits of W + scale * B A by ref_numpy.py (which knows nothing of adapters).

  make_lora_golden.py [--only CASE] [DIR]          (default tests/golden; needs numpy, and gguf for the GGUF twin)
  make_lora_golden.py --peft [DIR]                 compares with the PEFT library (torch, transformers, peft, safetensors)

Writes DIR/lora_CASE/: adapter_config.json, adapter_model.safetensors, expected.json and, where a plain scale allows it, adapter.gguf.
"""
import json, os, struct, sys
import numpy as np
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ref_numpy import Model
from make_gguf import GOLDEN, SUB, TOP, permute

ATTENTION = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
DENSE = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
MLA = ["self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_a_proj_with_mqa", "self_attn.o_proj"]
SHARED = [m.replace("mlp", "shared_experts") for m in DENSE]
# case: base, modules, rank, alpha, dtype, further fields of the configuration, whether there is a GGUF twin
CASES = {
    "lora_qwen2": ("qwen2", ATTENTION + DENSE + ["lm_head"], 5, 10, "F32", dict(rank_pattern={"q_proj": 40, "layers.1.mlp.down_proj": 33}, alpha_pattern={"self_attn.v_proj": 3, "^model.layers.2.mlp.gate_proj": -4.5}), False),
    "lora_qwen2_rs": ("qwen2", ["self_attn.q_proj", "mlp.down_proj"], 8, 4, "BF16", dict(use_rslora=True), False),
    "lora_llama": ("llama", ATTENTION + DENSE, 6, 9, "F32", {}, True),
    "lora_qwen3_moe": ("qwen3_moe", ATTENTION, 16, 32, "F32", {}, False),
    "lora_deepseek_v3": ("deepseek_v3", MLA + DENSE + SHARED, 8, 6, "F32", {}, True),
}


def is_named(key, pattern): return key == pattern[1:] if pattern[0] == "^" else key == pattern or key.endswith("." + pattern)
def pick(patterns, key, usual): return next((v for p, v in (patterns or {}).items() if is_named(key, p)), usual)


def make_pairs(case, T, n_layers):
    """{module: (A, B, scale)}; every module of the list that the model has.  Sizes such that the additions are a good part of the base's sums."""
    base, modules, rank, alpha, dtype, more, _ = CASES[case]
    rng, pairs = np.random.default_rng(sum(case.encode())), {}
    for name in sorted(k[:-7] for k in T if k.endswith(".weight")):
        if not any(is_named(name, m) for m in modules) or ".experts." in name: continue
        if name.startswith("model.layers.") and int(name.split(".")[2]) >= n_layers: continue   # a prediction module
        d_out, d_in = T[name + ".weight"].shape; r = pick(more.get("rank_pattern"), name, rank); a = pick(more.get("alpha_pattern"), name, alpha)
        A = rng.normal(0, 1 / np.sqrt(d_in), (r, d_in)); B = rng.normal(0, 0.06 / np.sqrt(r), (d_out, r))
        A, B = (round_to(x, dtype) for x in (A, B))
        pairs[name] = (A, B, a / np.sqrt(r) if more.get("use_rslora") else a / r)
    return pairs


def to_bf16(x):
    u = x.astype("<f4").view("<u4").astype(np.uint64); return ((u + 0x7fff + ((u >> 16) & 1)) >> 16).astype("<u2")
def round_to(x, dtype): return (to_bf16(x).astype("<u4") << 16).view("<f4").astype(float) if dtype == "BF16" else x.astype("<f4").astype(float)


def write_safetensors(path, tensors, dtype):
    header, data = {}, b""
    for name, x in tensors.items():
        raw = (to_bf16(x) if dtype == "BF16" else x.astype("<f4")).tobytes()
        header[name] = dict(dtype=dtype, shape=list(x.shape), data_offsets=[len(data), len(data) + len(raw)]); data += raw
    text = json.dumps(header, separators=(",", ":")).encode(); text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def write_peft(folder, case, pairs):
    base, modules, rank, alpha, dtype, more, _ = CASES[case]
    config = dict(peft_type="LORA", task_type="CAUSAL_LM", base_model_name_or_path=base, r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", fan_in_fan_out=False,
        inference_mode=True, init_lora_weights=True, modules_to_save=None, layers_to_transform=None, layer_replication=None, use_dora=False, use_rslora=False, rank_pattern={},
        alpha_pattern={}, target_modules=sorted({n.split(".")[-1] for n in pairs}))
    json.dump(config | more, open(folder + "/adapter_config.json", "w"), indent=1)
    write_safetensors(folder + "/adapter_model.safetensors", {f"base_model.model.{n}.lora_{half}.weight": x for n, (A, B, _) in pairs.items() for half, x in (("A", A), ("B", B))}, dtype)


def write_gguf(folder, case, pairs, config):
    from gguf import GGUFWriter
    a = dict(llama="llama", deepseek_v3="deepseek2")[config["model_type"]]
    w = GGUFWriter(folder + "/adapter.gguf", a); w.add_type("adapter"); w.add_string("adapter.type", "lora"); w.add_float32("adapter.lora.alpha", float(CASES[case][3])); w.add_string("general.base_model.0.name", CASES[case][0])
    for name, (A, B, _) in pairs.items():
        if name in TOP: base = TOP[name]
        else: _, _, i, rest = name.split(".", 3); base = f"blk.{i}.{SUB[rest]}"
        if a == "llama" and name.endswith(("q_proj", "k_proj")): B = permute(B, config["num_attention_heads" if name.endswith("q_proj") else "num_key_value_heads"])
        for half, x in (("a", A), ("b", B)): w.add_tensor(f"{base}.weight.lora_{half}", np.ascontiguousarray(x, dtype=np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


def make(case, root):
    base = CASES[case][0]; m = Model(f"{root}/{base}"); folder = f"{root}/{case}"; os.makedirs(folder, exist_ok=True)
    if m.c.get("tie_word_embeddings"): m.T["lm_head.weight"] = m.T["model.embed_tokens.weight"]
    pairs = make_pairs(case, {k: v for k, v in m.T.items() if k != "lm_head.weight" or "lm_head" in CASES[case][1]}, m.L)
    write_peft(folder, case, pairs)
    if CASES[case][6]: write_gguf(folder, case, pairs, m.c)
    elif os.path.exists(folder + "/adapter.gguf"): os.remove(folder + "/adapter.gguf")
    plain = {k: m.T[k + ".weight"] for k in pairs}; prompts = []; changes = 0
    for p in json.load(open(f"{root}/{base}/expected.json"))["prompts"]:
        ids = np.array(p["input_ids"]); before = m.forward(ids)[0][-4:]; rows = {}
        for scale in (1, 0.5):
            for k, (A, B, s) in pairs.items(): m.T[k + ".weight"] = plain[k] + scale * s * (B @ A)
            rows[scale] = m.forward(ids)[0][-4:]
            for k in pairs: m.T[k + ".weight"] = plain[k]
        changes = max(changes, np.abs(rows[1] - before).max()); digits = lambda x: [[round(float(v), 6) for v in row] for row in x]
        prompts.append(dict(input_ids=p["input_ids"], logits_last4=digits(rows[1]), logits_last4_half=digits(rows[0.5])))
    json.dump(dict(base=base, adapter_changes_logits_by=float(changes), prompts=prompts), open(folder + "/expected.json", "w"), separators=(",", ":"))
    print(f"{case:18s} {len(pairs)} pairs, logits changed by up to {changes:.2f}")


def compare_peft(root):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    for case in CASES:
        e = json.load(open(f"{root}/{case}/expected.json"))
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(f"{root}/{e['base']}", dtype=torch.float32), f"{root}/{case}").eval(); worst = 0
        for p in e["prompts"]:
            with torch.no_grad(): z = model(torch.tensor([p["input_ids"]])).logits[0, -4:].double().numpy()
            worst = max(worst, np.abs(z - np.array(p["logits_last4"])).max())
        print(f"{case:18s} PEFT differs by up to {worst:.1e}")


if __name__ == "__main__":
    args = sys.argv[1:]; only = args[args.index("--only") + 1] if "--only" in args else None
    root = args[-1] if args and not args[-1].startswith("--") and args[-1] != only else GOLDEN
    if "--peft" in args: compare_peft(root)
    else: [make(c, root) for c in CASES if only in (None, c)]
