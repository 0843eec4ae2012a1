#!/bin/sh
# zero-smollm2.sh [FOLDER] - a small model learns from its own answers, which are judged.
#
# What it does   shows SmolLM2-135M-Instruct the form of answers with CHATS worked examples of each of TASKS (LoRA, merged), then
#                lets it learn from rewards alone (GRPO) for the rest of MINUTES; for comparison the same examples again and again
#                for as long as both took; asks the model as it was and all three of these ITEMS questions of each task that no
#                training has seen, and compares answers one by one.
# Time           MINUTES (110) twice, and a quarter of an hour for the questions; 98 MB to fetch once
# Memory         4 GB
# Result         FOLDER/eval-{base,start,sft,grpo}, FOLDER/grpo.svg; the last lines: shares of right answers with their intervals.
#                docs/training-runs.md has the figures of runs of ours
# Needs          make
#
# SEED=2 for another run of the same; STEPS=5 SFT_STEPS=5 ITEMS=20 for a short one; TASKS, LEVEL, CHATS, TOKENS; MODEL for another GGUF
# file; R2LM for another program.
set -eu
cd "$(dirname "$0")/.."
r2lm=${R2LM:-$PWD/build/r2lm}
out=${1:-build/recipes/zero}
tasks=${TASKS:-sort,tool,order,countdown}
level=${LEVEL:-1}
minutes=${MINUTES:-110}
items=${ITEMS:-1000}
tokens=${TOKENS:-120}
seed=${SEED:-1}
[ -x "$r2lm" ] || { echo "zero-smollm2.sh: no $r2lm; run make first" >&2; exit 1; }
model=${MODEL:-$(tools/fetch_models.sh smollm2)}
rm -rf "$out"
mkdir -p "$out"

seconds() { # of a run; up to now where it has not ended
    tail -n 1 "$1/metrics.jsonl" | grep -o '"seconds_all":[0-9.]*' | cut -d : -f 2
}
calculate() { awk "BEGIN { printf \"%.2f\", $1 }"; }

# 1. A few examples of each task: thoughts, then <answer>.
for task in $(echo "$tasks" | tr , ' '); do
    "$r2lm" tasks make "$task" -n "${CHATS:-150}" --seed "$seed" --level "$level" -o "$out/$task.jsonl"
    cat "$out/$task.jsonl" >> "$out/chats.jsonl"
done
sft() { # RUN LENGTH...
    run=$1
    shift
    "$r2lm" train sft "$out/chats.jsonl" -m "$model" -o "$run" --lora-rank 16 --batch-tokens 2048 --lr 3e-4 --seed "$seed" --licence MIT "$@"
}

# 2. Their form, read twice; merged, so that learning from rewards has an adapter of its own.
if [ -n "${SFT_STEPS:-}" ]; then sft "$out/start" --steps "$SFT_STEPS"; else sft "$out/start" --epochs 2; fi
"$r2lm" convert "$model" "$out/merged" --lora "$out/start/adapter"
"$r2lm" quantize "$out/merged" "$out/start.gguf" --type Q8_0 --no-measure

# 3. Rewards.
if [ -n "${STEPS:-}" ]; then
    length="--steps $STEPS"
else
    length="--minutes $(calculate "$minutes - $(seconds "$out/start") / 60")"
fi
# shellcheck disable=SC2086  # a flag and its number
"$r2lm" train grpo -m "$out/start.gguf" -o "$out/grpo" --tasks "$tasks" --level "$level" --lora-rank 16 --questions 16 --answers 16 -n "$tokens" \
    --lr 2e-4 --schedule constant --warmup 5 --kl-limit 0.5 --patience 40 --seed "$seed" --checkpoint-every 50 $length

# 4. The same examples alone, for as long as both took.
sft "$out/sft" --minutes "$(calculate "($(seconds "$out/start") + $(seconds "$out/grpo")) / 60")"

# 5. What came of it: questions that no training sees, the likeliest answers.
ask() { # NAME MODEL FLAGS...
    name=$1
    shift
    "$r2lm" eval tasks --tasks "$tasks" --level "$level" --limit "$items" -n "$tokens" -o "$out/eval-$name" -m "$@"
}
ask base "$model"
ask start "$out/start.gguf"
ask sft "$model" --lora "$out/sft/adapter"
ask grpo "$out/start.gguf" --lora "$out/grpo/adapter"
"$r2lm" plot "$out/grpo" -o "$out/grpo.svg" --metric reward --metric pass_rate --metric length --metric entropy
"$r2lm" eval compare "$out/eval-base" "$out/eval-grpo"
"$r2lm" eval compare "$out/eval-sft" "$out/eval-grpo"
