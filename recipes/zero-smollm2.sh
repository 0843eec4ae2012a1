#!/bin/sh
# zero-smollm2.sh [FOLDER] - a small model learns from its own answers, which are judged.
#
# What it does   shows SmolLM2-135M-Instruct the form of answers with CHATS worked examples of each of TASKS (LoRA, merged), then
#                lets it learn from rewards alone (GRPO) for the rest of MINUTES; for comparison the same examples again and again
#                for as long as both took; then HEADLINE alone from rewards, HEADLINE_STEPS steps with each of SEEDS; asks the model as
#                it was and all that came of it ITEMS questions of each task that no training has seen, and compares them one by one.
# Time           MINUTES (30) twice, 25 minutes for the seeds, 10 for the questions; 98 MB to fetch once
# Memory         4 GB
# Result         FOLDER/eval-{base,start,sft,grpo,seed-N}, FOLDER/grpo.svg; the last lines: shares of right answers with their
#                intervals. docs/training-runs.md has the figures of runs of ours
# Needs          make
#
# STEPS=5 SFT_STEPS=5 HEADLINE_STEPS=2 ITEMS=20 for a short one; SEEDS="" for none of the last runs; TASKS, LEVEL, CHATS, TOKENS; MODEL
# for another GGUF file; R2LM for another program.
set -eu
cd "$(dirname "$0")/.."
r2lm=${R2LM:-$PWD/build/r2lm}
out=${1:-build/recipes/zero}
tasks=${TASKS:-sort,tool,order,countdown}
headline=${HEADLINE:-countdown}
level=${LEVEL:-1}
minutes=${MINUTES:-30}
items=${ITEMS:-1000}
tokens=${TOKENS:-120}
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
    "$r2lm" tasks make "$task" -n "${CHATS:-60}" --level "$level" -o "$out/$task.jsonl"
    cat "$out/$task.jsonl" >> "$out/chats.jsonl"
done
sft() { # RUN LENGTH...
    run=$1
    shift
    "$r2lm" train sft "$out/chats.jsonl" -m "$model" -o "$run" --lora-rank 16 --batch-tokens 2048 --lr 3e-4 --licence MIT "$@"
}

# 2. Their form, read eight times; merged, so that learning from rewards has an adapter of its own.
if [ -n "${SFT_STEPS:-}" ]; then sft "$out/start" --steps "$SFT_STEPS"; else sft "$out/start" --epochs 8; fi
"$r2lm" convert "$model" "$out/merged" --lora "$out/start/adapter"
"$r2lm" quantize "$out/merged" "$out/start.gguf" --type Q8_0 --no-measure

# 3. Rewards.
grpo() { # RUN TASKS LENGTH...
    run=$1 asked=$2
    shift 2
    "$r2lm" train grpo -m "$out/start.gguf" -o "$run" --tasks "$asked" --level "$level" --lora-rank 16 --questions 16 --answers 16 \
        -n "$tokens" --lr 2e-4 --schedule constant --warmup 5 --kl-limit 0.5 --patience 40 --checkpoint-every 25 "$@"
}
if [ -n "${STEPS:-}" ]; then
    grpo "$out/grpo" "$tasks" --steps "$STEPS"
else
    grpo "$out/grpo" "$tasks" --minutes "$(calculate "$minutes - $(seconds "$out/start") / 60")"
fi

# 4. The same examples alone, for as long as both took.
if [ -n "${SFT_STEPS:-}" ]; then
    sft "$out/sft" --steps "$SFT_STEPS"
else
    sft "$out/sft" --minutes "$(calculate "($(seconds "$out/start") + $(seconds "$out/grpo")) / 60")"
fi

# 5. What came of it: questions that no training sees, the likeliest answers.
ask() { # NAME TASKS MODEL FLAGS...
    name=$1 asked=$2
    shift 2
    "$r2lm" eval tasks --tasks "$asked" --level "$level" --limit "$items" -n "$tokens" -o "$out/eval-$name" -m "$@"
}
ask base "$tasks" "$model"
ask start "$tasks" "$out/start.gguf"
ask sft "$tasks" "$model" --lora "$out/sft/adapter"
ask grpo "$tasks" "$out/start.gguf" --lora "$out/grpo/adapter"
"$r2lm" plot "$out/grpo" -o "$out/grpo.svg" --metric reward --metric pass_rate --metric length --metric entropy
"$r2lm" eval compare "$out/eval-base" "$out/eval-grpo"
"$r2lm" eval compare "$out/eval-sft" "$out/eval-grpo"

# 6. Does it hang on chance? One task with other questions and other draws.
for seed in ${SEEDS-1 2 3}; do
    grpo "$out/seed-$seed" "$headline" --steps "${HEADLINE_STEPS:-25}" --seed "$seed"
    ask "seed-$seed" "$headline" "$out/start.gguf" --lora "$out/seed-$seed/adapter"
done
