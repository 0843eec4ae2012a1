#!/usr/bin/env python3
"""Makes tests/golden/soft_targets.json: what PyTorch makes of a model that learns from a teacher.

  make_soft_golden.py tests/golden

The golden model `llama` learns from `qwen3`, which knows fewer tokens: the teacher's K likeliest tokens of each position and
what all others have, at a temperature; then the loss of several mixtures and the norm of every parameter's gradient, F32.

Needs: torch, transformers >= 5.23.  Deterministic on the same versions.
"""
import argparse, json, os
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from make_golden import num
from make_train_golden import batch_of, load

K = 6
WAYS = [dict(temperature=1.0, beta=0.0, share=1.0), dict(temperature=2.0, beta=0.0, share=0.5), dict(temperature=1.0, beta=1.0, share=1.0),
        dict(temperature=1.5, beta=0.3, share=0.8)]


def parts_of(logits, tokens):
    """log of the tokens' probabilities and of the rest's: [..., K + 1]."""
    logp = logits.log_softmax(-1)
    rest = logp.scatter(-1, tokens, float("-inf")).logsumexp(-1, keepdim=True)
    return torch.cat([logp.gather(-1, tokens), rest], -1)


def divergence(log_p, log_q, beta):
    p, q = log_p.exp(), log_q.exp()
    if beta == 0: return (p * (log_p - log_q)).sum(-1)
    if beta == 1: return (q * (log_q - log_p)).sum(-1)
    log_m = (beta * p + (1 - beta) * q).log()
    return beta * (p * (log_p - log_m)).sum(-1) + (1 - beta) * (q * (log_q - log_m)).sum(-1)


def make_case(teacher, student, ids, way):
    t = way["temperature"]
    with torch.no_grad():
        logits = teacher(input_ids=ids).logits[:, :-1].float()
        tokens = logits.topk(K, -1).indices
        log_p = parts_of(logits / t, tokens)
    student.zero_grad()
    logits = student(input_ids=ids, use_cache=False).logits[:, :-1]
    hard = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    soft = t * t * divergence(log_p, parts_of(logits / t, tokens), way["beta"]).mean()
    ((1 - way["share"]) * hard + way["share"] * soft).backward()
    norms = {k: num(p.grad.double().norm()) for k, p in sorted(student.named_parameters())}
    print(way, num(hard), num(soft), flush=True)
    return dict(way, loss=num(hard), soft_loss=num(soft), tokens=tokens.flatten(0, 1).tolist(),
                log_probs=[[num(x) for x in row] for row in log_p.flatten(0, 1)], grad_l2=norms)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    folder = parser.parse_args().folder
    (teacher, _), (student, cfg) = load(folder, "qwen3"), load(folder, "llama")
    ids = batch_of(cfg, 31, (2, 13))
    out = dict(student="llama", teacher="qwen3", k=K, input_ids=ids.tolist(), ways=[make_case(teacher.eval(), student, ids, w) for w in WAYS])
    with open(f"{folder}/soft_targets.json", "w") as file: json.dump(out, file, separators=(",", ":")); file.write("\n")


if __name__ == "__main__": main()
