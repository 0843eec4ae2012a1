#!/usr/bin/env python3
"""HF `tokenizers` beside `r2lm tokenizer train`: learning a vocabulary on one thread, from the same documents.

  peer_tokenizer_train.py LINES.jsonl OURS/tokenizer.json     (needs pip's tokenizers)

Takes size and special tokens from our file; prints one JSON object: CPU seconds, and whether vocabulary and merges are the same.
"""
import json, os, sys, time
os.environ["TOKENIZERS_PARALLELISM"], os.environ["RAYON_NUM_THREADS"] = "false", "1"
from tokenizers import Tokenizer, models, pre_tokenizers as p, trainers

ours = json.load(open(sys.argv[2]))
special = [a["content"] for a in ours["added_tokens"]]
begin = time.process_time()
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
tok = Tokenizer(models.BPE())
tok.pre_tokenizer = p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False)])
tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=len(ours["model"]["vocab"]), min_frequency=2, special_tokens=special,
                                                   initial_alphabet=p.ByteLevel.alphabet(), show_progress=False))
seconds = time.process_time() - begin
theirs = json.loads(tok.to_str())["model"]
merges = [m if isinstance(m, str) else " ".join(m) for m in theirs["merges"]]
print(json.dumps(dict(seconds=seconds, same=theirs["vocab"] == ours["model"]["vocab"] and merges == ours["model"]["merges"])))
