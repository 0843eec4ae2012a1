#!/usr/bin/env python3
"""Makes tests/golden/train_steps.json: what PyTorch makes of tiny models in training.

  make_train_golden.py tests/golden [--steps 10]

  steps   AdamW in F32 on golden cases, a new batch each step: loss and gradient norm before every step,
          norms of the weights after the last.  Matrices decay, vectors do not; the gradient is clipped.
  muon    the same batches with Muon for hidden matrices (each expert's by itself), AdamW for the rest.
          torch.optim.Muon, which multiplies in BF16, must come near on random matrices.
  mtp     one batch of deepseek_v3 with its prediction module: both losses, gradient norms of
          main + mtp_weight * module, where the module's embedding and head are the model's.

Needs: torch, transformers >= 5.23, safetensors.  Deterministic on the same versions.
"""
import argparse, json, os, zlib
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch, transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM
from make_golden import Gaps, gen, num, unfuse
transformers.logging.set_verbosity_error(); transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

CASES = ["llama", "qwen3", "qwen3_moe", "deepseek_v2", "deepseek_v3"]
OPTIONS = dict(lr=2e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip=1.0)
SEED = 4711


def load(folder, case):
    """The checkpoint as transformers has it, without its prediction module."""
    cfg = json.load(open(f"{folder}/{case}/config.json"))
    cls = type(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(f"{folder}/{case}"), attn_implementation="eager"))
    cls._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{cfg['num_hidden_layers']}\..*"]
    model = cls.from_pretrained(f"{folder}/{case}", dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    return model.train(), cfg


def batch_of(cfg, seed, shape=(2, 28)):
    return torch.randint(3, cfg["vocab_size"], shape, generator=gen(SEED + seed, "train batch"))


MUON = dict(lr=5e-3, momentum=0.95, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip=1.0)
MUON_CASES = ["llama", "deepseek_v3"]


def orthogonal(u):
    x = u if u.shape[0] <= u.shape[1] else u.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if u.shape[0] <= u.shape[1] else x.T


def is_hidden(name, p):
    return p.dim() > 1 and not name.endswith((".mlp.gate.weight", "embed_tokens.weight", "lm_head.weight"))


def check_against_torch():
    for n, shape in enumerate(((64, 64), (48, 160), (96, 32))):
        u = torch.randn(shape, generator=gen(n, "muon"))
        w = torch.nn.Parameter(torch.zeros_like(u)); w.grad = u.clone()
        torch.optim.Muon([w], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False, adjust_lr_fn="match_rms_adamw").step()
        off = ((w.detach() + 0.2 * max(shape) ** 0.5 * orthogonal(u)).norm() / w.detach().norm()).item()
        print("muon: torch's own off by", off, "on", shape, flush=True)
        assert off < 0.03, off


def train_muon(folder, case, steps):
    model, cfg = load(folder, case)
    named = unfuse({k: p.data for k, p in model.named_parameters() if p.requires_grad})      # views
    hidden = {k: torch.zeros_like(t) for k, t in named.items() if is_hidden(k, t)}           # momentum
    rest = [(k, p) for k, p in model.named_parameters() if p.requires_grad and k in named and k not in hidden]
    groups = [dict(params=[p for _, p in rest if p.dim() > 1], weight_decay=MUON["weight_decay"]), dict(params=[p for _, p in rest if p.dim() == 1], weight_decay=0.0)]
    opt = torch.optim.AdamW(groups, lr=MUON["lr"], betas=(MUON["beta1"], MUON["beta2"]), eps=MUON["eps"])
    out, gap = [], float("inf")
    for step in steps:
        ids = torch.tensor(step["input_ids"])
        model.zero_grad()
        with Gaps() as gaps: loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MUON["clip"])
        opt.step()
        grads = unfuse({k: (p.grad if p.grad is not None else torch.zeros_like(p)) for k, p in model.named_parameters() if p.requires_grad})
        with torch.no_grad():
            for k, m in hidden.items():
                m.lerp_(grads[k], 1 - MUON["momentum"])
                u = grads[k].lerp(m, MUON["momentum"])
                x = orthogonal(u)
                named[k].mul_(1 - MUON["lr"] * MUON["weight_decay"]).sub_(x, alpha=MUON["lr"] * 0.2 * max(u.shape) ** 0.5)
        gap = min(gap, gaps.min)
        out.append(dict(input_ids=step["input_ids"], loss=num(loss), grad_norm=num(norm)))
    ids = batch_of(cfg, 999)
    with torch.no_grad(): after = model(input_ids=ids, labels=ids, use_cache=False).loss
    weights = {k: num(t.double().norm()) for k, t in sorted(unfuse(dict(model.named_parameters())).items())}
    print("muon", case, [s["loss"] for s in out], "then", float(after), "gap", gap, flush=True)
    return dict(steps=out, after=dict(input_ids=ids.tolist(), loss=num(after)), weight_l2=weights)


def train(folder, case, n_steps):
    for attempt in range(20):
        model, cfg = load(folder, case)
        named = [(k, p) for k, p in model.named_parameters() if p.requires_grad]
        groups = [dict(params=[p for _, p in named if p.dim() > 1], weight_decay=OPTIONS["weight_decay"]),
                  dict(params=[p for _, p in named if p.dim() == 1], weight_decay=0.0)]
        opt = torch.optim.AdamW(groups, lr=OPTIONS["lr"], betas=(OPTIONS["beta1"], OPTIONS["beta2"]), eps=OPTIONS["eps"])
        steps, gap = [], float("inf")
        for step in range(n_steps):
            ids = batch_of(cfg, 1000 * attempt + step)
            opt.zero_grad()
            with Gaps() as gaps: loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIONS["clip"])
            opt.step()
            gap = min(gap, gaps.min)
            steps.append(dict(input_ids=ids.tolist(), loss=num(loss), grad_norm=num(norm)))
        if gap > 1e-4: break                                    # no choice of experts hangs by a thread
    else: raise SystemExit(f"{case}: no batches without near ties")
    ids = batch_of(cfg, 999)
    with torch.no_grad(): after = model(input_ids=ids, labels=ids, use_cache=False).loss
    weights = {k: num(t.double().norm()) for k, t in sorted(unfuse(dict(model.named_parameters())).items())}
    print(case, [s["loss"] for s in steps], "then", float(after), "gap", gap, flush=True)
    return dict(steps=steps, after=dict(input_ids=ids.tolist(), loss=num(after)), weight_l2=weights)


def train_module(folder, case="deepseek_v3", weight=0.3):
    """Row i: embedding of token i+1 and the main model's hidden row i; predicts token i+2."""
    from transformers.modeling_layers import MtpModel
    model, cfg = load(folder, case)
    mtp = MtpModel.from_pretrained(model); mtp.train(); mtp.config._attn_implementation = "eager"
    stored = load_file(f"{folder}/{case}/model.safetensors")
    for attempt in range(400):
        ids = batch_of(cfg, 5000 + attempt)
        with Gaps() as gaps, torch.no_grad(): model(input_ids=ids)
        if gaps.min > 1e-4: break
    ce = torch.nn.functional.cross_entropy
    h = model.model(input_ids=ids, use_cache=False).last_hidden_state
    main = ce(model.lm_head(h[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    n = ids.shape[1] - 1
    pos = torch.arange(1, n + 1)[None]
    emb = mtp.embed_tokens(ids[:, 1:])
    mask = torch.full((n, n), torch.finfo(torch.float32).min).triu(1)[None, None]
    x = mtp.layers[0](emb, h[:, :-1], position_embeddings=mtp.rotary_emb(emb, position_ids=pos), attention_mask=mask, position_ids=pos, past_key_values=None)
    logits = mtp._project_to_logits(x)
    module = ce(logits[:, :-1].flatten(0, 1), ids[:, 2:].flatten())
    (main + weight * module).backward()
    L, grads = cfg["num_hidden_layers"], {}
    def put(name, grad):
        if grad is not None: grads[name] = grads[name] + grad if name in grads else grad.clone()
    for k, p in unfuse({k: (p.grad if p.grad is not None else torch.zeros_like(p)) for k, p in model.named_parameters()}).items(): put(k, p)
    seen = {id(p) for p in model.parameters()}
    names = {}
    for k, p in mtp.named_parameters():
        if id(p) not in seen: names[k] = p
    print("module's own parameters:", sorted(names), flush=True)
    own = unfuse({k: (p.grad if p.grad is not None else torch.zeros_like(p)) for k, p in names.items()})
    values = unfuse({k: p.detach() for k, p in names.items()})
    pre = f"model.layers.{L}."
    for k, g in own.items():                                    # found by its value in the checkpoint
        matches = [s for s, t in stored.items() if s.startswith(pre) and t.shape == values[k].shape and torch.equal(t, values[k])]
        assert matches, k
        name = matches[0][len(pre):]
        put({"embed_tokens.weight": "model.embed_tokens.weight", "shared_head.head.weight": "lm_head.weight"}.get(name, pre + name), g)
    print("mtp", float(main), float(module), flush=True)
    return dict(case=case, input_ids=ids.tolist(), mtp_weight=weight, loss=num(main), mtp_loss=num(module),
                grad_l2={k: num(g.double().norm()) for k, g in sorted(grads.items())})


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder"); ap.add_argument("--steps", type=int, default=10)
    a = ap.parse_args()
    out = dict(made_with=dict(torch=torch.__version__, transformers=transformers.__version__), options=OPTIONS,
               meaning="losses: mean over all targets of a batch, labels = input_ids; grad_norm before clipping",
               cases={c: train(a.folder, c, a.steps) for c in CASES}, mtp=train_module(a.folder))
    check_against_torch()
    out["muon"] = dict(options=MUON, cases={c: train_muon(a.folder, c, out["cases"][c]["steps"]) for c in MUON_CASES})
    json.dump(out, open(f"{a.folder}/train_steps.json", "w"), separators=(",", ":"))


if __name__ == "__main__":
    main()
