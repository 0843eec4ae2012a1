#!/usr/bin/env python3
"""llama.cpp's perplexity on tests/golden/perplexity_50k.txt, kept in tests/golden/perplexity.json.

  make_perplexity.py smollm2=FILE.gguf qwen05=FILE.gguf      (needs llama-cpp-python and numpy)

Windows of 512 tokens, each on its own, the second half of each scored, as llama.cpp's own tool does.
"""
import json, math, os, sys
import numpy as np
import llama_cpp
from llama_cpp import Llama

WINDOW = 512
golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden")


def perplexity(path):
    text = open(os.path.join(golden, "perplexity_50k.txt"), "rb").read()
    model = Llama(path, n_ctx=WINDOW, n_batch=WINDOW, logits_all=True, verbose=False, n_threads=2)
    tokens = model.tokenize(text, add_bos=False, special=False)
    total, n = 0.0, 0
    for begin in range(0, len(tokens) - WINDOW + 1, WINDOW):
        window = tokens[begin:begin + WINDOW]
        model.reset()
        model.eval(window)
        for i in range(WINDOW // 2, WINDOW - 1):
            row = np.asarray(model.scores[i], dtype=np.float64)
            top = row.max()
            total += top + math.log(np.exp(row - top).sum()) - row[window[i + 1]]
            n += 1
    return {"llama_cpp": round(math.exp(total / n), 5), "n_tokens": len(tokens), "n_scored": n,
            "version": "llama-cpp-python " + llama_cpp.__version__}


result = {name: perplexity(path) for name, path in (a.split("=", 1) for a in sys.argv[1:])}
print(json.dumps(result, indent=1))
json.dump(result, open(os.path.join(golden, "perplexity.json"), "w"), indent=1)
