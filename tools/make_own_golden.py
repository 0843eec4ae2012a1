#!/usr/bin/env python3
"""Makes tests/golden/own_architecture.json: our own architecture as transformers runs it.

  make_own_golden.py build/r2lm tests/golden/own_architecture.json [--llama]

Models of `r2lm train init --depth N` are loaded by transformers as DeepseekV3ForCausalLM: numbers of
parameters, and logits of the last rows of a few prompts (the first ones of a row, and the logarithm of
the sum of all exponentials, which all take part in).  --llama also compares llama.cpp's logits of the
converted file, which keeps keys and values as F16 (needs llama_cpp).

Needs: torch, transformers >= 5.23.
"""
import argparse, json, os, subprocess, tempfile, zlib
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch, transformers
from transformers import AutoModelForCausalLM
transformers.logging.set_verbosity_error()

CASES = [(2, 11), (4, 12)]          # depth, seed; logits of the first only: the file stays small
LENGTHS, LAST, FIRST = [7, 40, 150], 4, 48


def prompts(vocab):
    return [[zlib.crc32(f"{n} {i}".encode()) % vocab for i in range(n)] for n in LENGTHS]


def describe(model, folder, depth, seed, llama):
    case = dict(depth=depth, seed=seed, parameters=sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
                + sum(b.numel() for n, b in model.named_buffers() if n.endswith("e_score_correction_bias")))
    if depth != CASES[0][0]: return case
    case["prompts"] = []
    for ids in prompts(model.config.vocab_size):
        with torch.no_grad(): logits = model(torch.tensor([ids])).logits[0].double()
        case["prompts"].append(dict(input_ids=ids, logits_last4=[[round(x, 6) for x in row[:FIRST].tolist()] for row in logits[-LAST:]],
                                    log_sum_exp_last4=[round(x, 6) for x in logits[-LAST:].logsumexp(-1).tolist()]))
        if llama:
            llama.reset(); llama.eval(ids)
            print("llama.cpp differs by", abs(torch.tensor(llama.scores[:len(ids)]).double() - logits).max().item())
    return case


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program"); p.add_argument("out"); p.add_argument("--llama", action="store_true")
    args = p.parse_args()
    cases = []
    for depth, seed in CASES:
        with tempfile.TemporaryDirectory() as tmp:
            run = lambda *words: subprocess.run([args.program, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
            run("train", "init", "--depth", depth, "--seed", seed, "-o", f"{tmp}/m")
            llama = None
            if args.llama:
                from llama_cpp import Llama
                run("convert", f"{tmp}/m", f"{tmp}/m.gguf")
                llama = Llama(f"{tmp}/m.gguf", n_ctx=256, n_batch=256, logits_all=True, verbose=False)
            model = AutoModelForCausalLM.from_pretrained(f"{tmp}/m", dtype=torch.float32, attn_implementation="eager").eval()
            assert type(model).__name__ == "DeepseekV3ForCausalLM"
            cases.append(describe(model, tmp, depth, seed, llama))
            print({k: v for k, v in cases[-1].items() if k != "prompts"})
    with open(args.out, "w") as f: json.dump(dict(transformers=transformers.__version__, cases=cases), f); f.write("\n")


if __name__ == "__main__": main()
