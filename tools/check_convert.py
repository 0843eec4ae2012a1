#!/usr/bin/env python3
"""Hold `r2lm convert` against others on a real model: GGUF -> folder -> GGUF.

  check_convert.py PROGRAM MODEL.gguf [TOKENIZER_GOLDEN.json]     (needs numpy, gguf, safetensors, tokenizers, llama-cpp-python)

  - every tensor of the folder is what gguf-py reads from MODEL, rounded to BF16 (F32 stays), byte for byte; of the second file too
  - tokenizer.json gives the golden ids in Hugging Face's tokenizers; tokens, types, merges and ids of the second file are MODEL's
  - llama.cpp loads the second file, tokenizes alike and finds the same next tokens
"""
import json, os, subprocess, sys, tempfile
import numpy as np
from gguf import GGUFReader, GGMLQuantizationType, dequantize
from safetensors import safe_open


def bf16(x):
    """Round to nearest even, as bits."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def check_weights(model, second):
    a, b = ({t.name: t for t in GGUFReader(p).tensors} for p in (model, second))
    assert set(a) == set(b), set(a) ^ set(b)
    for name, t in a.items():
        x = dequantize(t.data, t.tensor_type)
        if t.tensor_type == GGMLQuantizationType.F32: assert np.array_equal(x, b[name].data), name
        else: assert np.array_equal(bf16(x).ravel(), b[name].data.view(np.uint16).ravel()), name
    print(len(a), "tensors equal")


def check_vocabulary(model, second):
    a, b = (GGUFReader(p).fields for p in (model, second))
    for key in (k for k in a if k.startswith("tokenizer.") and k not in ("tokenizer.ggml.add_space_prefix",)):
        assert key in b and a[key].contents() == b[key].contents(), key
    print("vocabulary equal")


def check_folder(folder, golden):
    with safe_open(os.path.join(folder, "model.safetensors"), "np") as f: print(len(list(f.keys())), "tensors in safetensors")
    if golden is None: return
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    cases = json.load(open(golden))["cases"]
    wrong = [c["text"] for c in cases if tokenizer.encode(c["text"], add_special_tokens=False).ids != c["ids"]]
    assert not wrong, wrong[:3]
    print(len(cases), "texts tokenized alike")


def check_llama(model, second):
    import llama_cpp
    text, found = "def fib(n):\n    # the n-th number, 12345\nÜber 日本語 don't", []
    for path in (model, second):
        m = llama_cpp.Llama(model_path=path, n_ctx=256, n_threads=2, logits_all=True, verbose=False)
        ids = m.tokenize(text.encode(), add_bos=False, special=True)
        m.eval(ids)
        found.append((ids, np.array(m.scores[:len(ids)])))
    assert found[0][0] == found[1][0]
    same = (found[0][1].argmax(1) == found[1][1].argmax(1)).mean()
    print(f"llama.cpp: {len(found[0][0])} tokens alike, next tokens {100 * same:.0f} % alike, logits within {np.abs(found[0][1] - found[1][1]).max():.2f}")
    assert same >= 0.9       # quantized and BF16 products round differently


def main():
    program, model, golden = (sys.argv[1:] + [None])[:3]
    with tempfile.TemporaryDirectory() as folder:
        hf, second = os.path.join(folder, "hf"), os.path.join(folder, "second.gguf")
        for a, b in ((model, hf), (hf, second)): subprocess.run([program, "convert", a, b, "--shard-size", "1000"], check=True)
        check_folder(hf, golden)
        check_weights(model, second)
        check_vocabulary(model, second)
        check_llama(model, second)


if __name__ == "__main__":
    main()
