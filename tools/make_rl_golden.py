#!/usr/bin/env python3
"""Makes tests/golden/policy_loss.json: what PyTorch makes of answers that were judged, and of pairs of them.

  make_rl_golden.py tests/golden

The golden model `llama` reads four documents, of which all but the first PROMPT tokens are learnt.  Log-probabilities of when
they were drawn and of a reference are its own with noise, so that some ratios are clipped; then the loss of several forms
(include/r2lm/reinforce.h) and the norm of every parameter's gradient, F32.

Needs: torch, transformers >= 5.23.  Deterministic on the same versions.
"""
import argparse, json, os
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from make_golden import gen, num
from make_train_golden import SEED, batch_of, load

PROMPT, WEIGHT = 4, 0.03125
FORMS = [dict(form=1, clip_low=0.2, clip_high=0.28, kl=0.0, beta=0.0), dict(form=1, clip_low=0.1, clip_high=0.3, kl=0.05, beta=0.0),
         dict(form=2, clip_low=0.02, clip_high=0.03, kl=0.0, beta=0.0), dict(form=2, clip_low=0.3, clip_high=0.3, kl=0.02, beta=0.0),
         dict(form=3, clip_low=0.0, clip_high=0.0, kl=0.0, beta=0.5)]


def loss_of(way, logp, old, ref, advantages):
    if way["form"] == 3:
        above = (logp - ref).sum(-1)
        return -torch.nn.functional.logsigmoid(way["beta"] * (above[0::2] - above[1::2])).sum() * WEIGHT
    token = (logp - old).exp()
    # GSPO with a token's own gradient: the sequence's ratio in value, each token's share of it in gradient.
    ratio = token if way["form"] == 1 else (logp - old).mean(-1, keepdim=True).exp().detach() * (logp - logp.detach()).exp()
    a = advantages[:, None]
    surrogate = torch.minimum(ratio * a, ratio.clamp(1 - way["clip_low"], 1 + way["clip_high"]) * a)
    log_q = ref - logp
    return WEIGHT * (-surrogate + way["kl"] * token * (log_q.exp() - 1 - log_q)).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    model, cfg = load(folder, "llama")
    ids = batch_of(cfg, 41, (4, 13))

    def logprobs():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].log_softmax(-1)
        return logits.gather(-1, ids[:, 1:, None])[..., 0][:, PROMPT:]

    with torch.no_grad(): own = logprobs()
    noise = lambda name, scale: scale * torch.randn(own.shape, generator=gen(SEED + 41, name))
    old, ref, advantages = own + noise("old", 0.25), own + noise("reference", 0.3), torch.tensor([0.75, -0.25, -1.0, 0.5])
    ways = []
    for way in FORMS:
        model.zero_grad()
        loss = loss_of(way, logprobs(), old, ref, advantages)
        loss.backward()
        ways.append(dict(way, loss=num(loss), grad_l2={k: num(p.grad.double().norm()) for k, p in sorted(model.named_parameters())}))
        print(way, num(loss), flush=True)
    rows = lambda t: [[num(x) for x in row] for row in t]
    out = dict(model="llama", prompt=PROMPT, weight=WEIGHT, input_ids=ids.tolist(), logprobs=rows(own), old=rows(old), reference=rows(ref),
               advantages=advantages.tolist(), ways=ways)
    with open(f"{folder}/policy_loss.json", "w") as file: json.dump(out, file, separators=(",", ":")); file.write("\n")


if __name__ == "__main__": main()
