#!/usr/bin/env python3
"""HF `tokenizers` beside bench_tokenizer: MB/s of one thread on the same files.

  peer_tokenizers.py MODEL.gguf FILE...     (needs pip's gguf and tokenizers)

Builds the published tokenizer of a qwen2 or smollm vocabulary; prints what,bytes,tokens,ms,mb_s like bench_tokenizer.
"""
import os, sys, time
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers as p

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

def build(path):
    reader = GGUFReader(path)
    get = lambda key: reader.fields["tokenizer.ggml." + key].contents()
    tokens, types = get("tokens"), get("token_type")
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in get("merges")]))
    if get("pre") == "qwen2":
        tok.normalizer = normalizers.NFC()
        tok.pre_tokenizer = p.Sequence([p.Split(Regex(QWEN2), "isolated"), p.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        tok.pre_tokenizer = p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types) if k in (3, 4)])
    return tok

def main():
    tok = build(sys.argv[1])
    print("what,bytes,tokens,ms,mb_s")
    for name in sys.argv[2:]:
        text = open(name, encoding="utf-8", errors="ignore").read()
        n_bytes, begin = len(text.encode()), time.process_time()
        n_tokens = len(tok.encode(text, add_special_tokens=False).ids)
        ms = (time.process_time() - begin) * 1e3
        print(f"tokenizers encode {name},{n_bytes},{n_tokens},{ms:.2f},{n_bytes * 1e-3 / ms:.2f}", flush=True)

main()
