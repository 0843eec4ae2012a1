"""Rows of `ROWS=grpo`: steps of GRPO with an adapter beside TRL's, the same questions, numbers of answers and of tokens, in turns, in one run.

Ours runs over the GGUF file that one has; TRL over BF16 weights made of it.  Both ask long_answers.py; TRL is held to whole answers, ours end where the
model ends them, so times are compared per token that was written."""
import json, os, shutil, sys, tempfile
from train_rows import OURS, Runner, judge, line

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = dict(questions=8, answers=8, new_tokens=120, rank=8, steps=2)
# batch: answers that TRL learns at once, as many as leave a machine of 24 GB room; goals: times faster than TRL, share of its memory; seconds of a step,
# tokens per second of the rollout
ROWS = [dict(model="smol", title="GRPO step, SmolLM2-135M, 8 x 8 x 120", batch=64, faster=5, memory=0.5, seconds=None, rollout=None),
        dict(model="q4km", title="GRPO step, Qwen2.5-Coder-0.5B, 8 x 8 x 120", batch=8, faster=5, memory=0.5, seconds=45, rollout=700)]


def ours(b, path, peak_memory):
    """The best step after the first, which arranges weights and measures the divergence."""
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        _, peak = peak_memory([b.program, "train", "grpo", "-m", path, "-o", run, "--verifier", f"{sys.executable} {os.path.join(HERE, 'long_answers.py')}",
                               "--lora-rank", str(WORK["rank"]), "--questions", str(WORK["questions"]), "--answers", str(WORK["answers"]), "-n", str(WORK["new_tokens"]),
                               "--steps", str(WORK["steps"] + 1), "--warmup", "0", "--no-register", "-q", "-t", str(b.o.threads)])
        with open(os.path.join(run, "metrics.jsonl")) as lines: steps = [json.loads(l) for l in lines][1:]
    best = min(steps, key=lambda s: s["seconds"])
    return dict(seconds=best["seconds"], written=best["length"] * best["answers"], rollout=max(s["rollout_tok_s"] for s in steps), peak_bytes=peak)


def theirs(b, r, path, batch, run):
    """Of the same weights as a folder, which r2lm makes of the file."""
    folder = os.path.join(b.build, "bench-models", os.path.basename(path) + "-folder")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    if not os.path.isdir(folder): run([b.program, "convert", path, folder])
    said = r.peer_with("peer_grpo.py", dict(WORK, model=folder, batch=batch))
    return dict(said, written=said["mean_length"] * WORK["questions"] * WORK["answers"])


def measure(b, table, run, json_of, Missing, peak_memory):
    r = Runner(b, run, json_of, Missing)
    print()
    line("learning from rewards", "trl", "", OURS, "of trl", "", "", "peak memory", "of trl", "goal")
    for row in ROWS:
        path, best = b.model(row["model"]), {}
        if not path: continue
        for engine, measured in ((OURS, lambda: ours(b, path, peak_memory)), ("trl", lambda: theirs(b, r, path, row["batch"], run))):
            b.machine()
            try: best[engine] = measured()
            except Missing as why:
                b.lack(f"{engine}, {row['title']}", why)
                continue
            for key in ("seconds", "written", "peak_bytes"): b.note(f"grpo {row['model']}", engine, key, best[engine][key])
        b.machine()
        show_row(table, row, best)


def show_row(table, row, best):
    mine, other = best.get(OURS), best.get("trl")
    if not mine: return
    goals, ratio, share = [], None, None
    if other:
        ratio = (other["seconds"] / other["written"]) / (mine["seconds"] / mine["written"])
        share = mine["peak_bytes"] / other["peak_bytes"]
        goals += [(f">= {row['faster']}x", ratio >= row["faster"]), (f"<= {100 * row['memory']:.0f} %", share <= row["memory"])]
    if row["seconds"]: goals.append((f"<= {row['seconds']} s", mine["seconds"] <= row["seconds"]))
    if row["rollout"]: goals.append((f">= {row['rollout']} tok/s", mine["rollout"] >= row["rollout"]))
    line(row["title"], f"{other['seconds']:.1f} s" if other else "-", "", f"{mine['seconds']:.1f} s", f"{ratio:.2f}x" if ratio else "-", "", "",
         f"{mine['peak_bytes'] / 2**30:.2f} GiB", f"{100 * share:.0f} %" if share else "-", judge(table, goals))
    print(f"    rollout, tokens/s: {mine['rollout']:.0f}; tokens written: {mine['written']:.0f}" + (f", by trl {other['written']:.0f}" if other else ""))
