#!/usr/bin/env python3
"""Questions and judgement of reasoning-gym (pip install reasoning-gym) for r2lm, as lines of JSON (docs/tasks.md).

    r2lm tasks make -n 100 --verifier "python3 examples/reasoning_gym_verifier.py leg_counting spell_backward" -o items.jsonl

Every level is one of the generators that are named; an item is drawn by seed and index alone.
"""
import json, os, sys

replies = os.fdopen(os.dup(1), "w")      # nothing that a library prints is a reply
os.dup2(2, 1)
try: import reasoning_gym
except ImportError as why: sys.exit(f"{why}; `pip install reasoning-gym` into the Python that runs this ({sys.executable})")

NAMES = sys.argv[1:] or ["leg_counting"]
KEPT = 64
entries = {}                             # data sets by their generator and seed


def data_set(name, seed, size):
    if (name, seed) not in entries or len(entries[name, seed]) < size:
        while len(entries) >= KEPT: entries.pop(next(iter(entries)))
        entries[name, seed] = reasoning_gym.create_dataset(name, seed=seed, size=max(1 << 20, size))
    return entries[name, seed]


def answer(request):
    if "hello" in request: return {"name": "reasoning-gym " + " ".join(NAMES)[:50], "levels": len(NAMES)}
    if "make" in request:
        want = request["make"]
        name = NAMES[(want["level"] - 1) % len(NAMES)]
        entry = data_set(name, want["seed"] % (1 << 31), want["index"] + 1)[want["index"]]
        reply = {"prompt": entry["question"] + "\nPut the answer in <answer> tags.",
                 "key": {"name": name, "seed": want["seed"], "index": want["index"]}}
        if entry.get("answer") is not None: reply["answer"] = str(entry["answer"])
        return reply
    key = request["key"]
    data = data_set(key["name"], key["seed"] % (1 << 31), key["index"] + 1)
    score = float(data.score_answer(answer=request["answer"], entry=data[key["index"]]))
    return {"score": min(1.0, max(0.0, score))}


for line in sys.stdin:
    request = json.loads(line)
    try:
        reply = answer(request)
    except Exception as error:           # a judge that stumbles over an answer calls it wrong
        if "answer" not in request: raise
        reply = {"score": 0, "why": f"{type(error).__name__}: {error}"[:200]}
    print(json.dumps({"id": request["id"], **reply}), file=replies, flush=True)
