#!/usr/bin/env python3
"""Writes tests/golden/pretok_schemes.json: pieces of random strings by the published pre-tokenizers.

  make_pretok_golden.py > tests/golden/pretok_schemes.json     (needs pip's tokenizers)
"""
import json, random
from tokenizers import Regex, pre_tokenizers as p

TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+"]
DS3 = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]

def splits(patterns): return [p.Split(Regex(x), "isolated") for x in patterns]
SCHEMES = {"gpt-2": splits([GPT2]), "qwen2": splits([WORDS + r"\p{N}" + TAIL]), "llama-bpe": splits([WORDS + r"\p{N}{1,3}" + TAIL]),
           "smollm": [p.Digits(individual_digits=True)] + splits([GPT2]), "deepseek-v3": splits(DS3), "deepseek-coder": splits(CODER) + [p.Digits(individual_digits=True)]}
PARTS = list("aZ9 \t\n\r.,'!_-$<") + ["  ", "'s", "'LL", "'\u017f", "\u212a", "é", "e\u0301", "\u00a0", "\u0085", "\u180e", "\u200b", "\u2028", "\u3000", "\u1680", "漢字", "かな", "カ", "ー", "一", "龥", "鿿", "한", "\u0e33", "½", "Ⅷ", "٣", "१", "²", "€", "😀", "\ufeff", "\u0300", "\u0903", "ß", "dz",
         "abc", "123", "\r\n", "\x00", "\x1c", "\x1f", "\x0b", "\x0c", "。", "，", "ࠀ", "\u3007", "〆", "ⅷ", "\u20dd", "\U00020000", "\U0001d7d8"]

def main():
    dice = random.Random(3)
    texts = ["".join(dice.choice(PARTS) for _ in range(dice.randint(1, 14))) for _ in range(150)]
    out = []
    for name, steps in SCHEMES.items():
        seq = p.Sequence(steps)
        out.append(dict(scheme=name, pieces=[[x for x, _ in seq.pre_tokenize_str(t)] for t in texts]))
    print(json.dumps(dict(texts=texts, schemes=out), indent=0))

main()
