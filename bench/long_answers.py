#!/usr/bin/env python3
"""Questions whose answers go on to any length, and a reward that differs from answer to answer: what `ROWS=grpo` asks of both sides.

As a program it is a verifier for `r2lm train grpo --verifier` (docs/tasks.md); peer_grpo.py imports `question` and `reward`.  The reward is the share of vowels
that are an e: nothing worth learning, but no two answers get the same, so every question is learnt from."""
import json, sys

THINGS = ("a lighthouse", "the sea", "an old clock", "a market", "winter", "a train", "bread", "a garden", "the moon", "a bridge", "paper", "a violin")


def question(seed, index):
    return f"Write a long story about {THINGS[(seed + index) % len(THINGS)]} and {THINGS[(seed + index // len(THINGS) + 5) % len(THINGS)]}, in chapters."


def reward(text):
    vowels = sum(text.count(v) for v in "aeiou")
    return text.count("e") / vowels if vowels else 0.0


def main():
    for line in sys.stdin:
        q = json.loads(line)
        if "hello" in q: reply = dict(name="stories", levels=1)
        elif "make" in q: reply = dict(prompt=question(q["make"]["seed"], q["make"]["index"]), key=0)
        else: reply = dict(score=reward(q["text"]))
        print(json.dumps(dict(reply, id=q["id"])), flush=True)


if __name__ == "__main__":
    main()
