#!/bin/sh
# zero-programs.sh [FOLDER] - a model that writes programs learns from whether they run.
#
# What it does   lets Qwen2.5-Coder-0.5B-Instruct (Q4_K_M, as it is in its file) learn three tasks from rewards alone (GRPO, LoRA): to
#                write a function, to mend one, to print what is asked for; its programs run in the sandbox. For comparison the worked
#                examples of the same tasks are shown to it for as long. Asks the model as it was and both ITEMS questions of each task
#                that no training has seen, and with HUMANEVAL=HumanEval.jsonl.gz that suite too: what was known must not get lost.
# Time           MINUTES (20) twice, 25 minutes for the questions, 2 for each HumanEval; 491 MB to fetch once
# Memory         4 GB
# Result         FOLDER/eval-{base,sft,grpo}, FOLDER/humaneval-{base,sft,grpo}, FOLDER/grpo.svg; the last lines: shares of right answers
#                with their intervals.
# Needs          make; the sandbox (r2lm sandbox --check)
#
# STEPS=4 SFT_STEPS=3 ITEMS=20 for a short one; TASKS, SEED, CHATS, TOKENS; MODEL for another GGUF file; R2LM for another program.
set -eu
cd "$(dirname "$0")/.."
r2lm=${R2LM:-$PWD/build/r2lm}
out=${1:-build/recipes/programs}
tasks=${TASKS:-function,repair,print}
minutes=${MINUTES:-20}
items=${ITEMS:-1000}
tokens=${TOKENS:-160}
seed=${SEED:-1}
[ -x "$r2lm" ] || { echo "zero-programs.sh: no $r2lm; run make first" >&2; exit 1; }
"$r2lm" sandbox --check
model=${MODEL:-$(tools/fetch_models.sh qwen05)}
rm -rf "$out"
mkdir -p "$out"

# 1. Rewards: an answer is worth what its program does. Each task as hard as it can be learnt from.
if [ -n "${STEPS:-}" ]; then length="--steps $STEPS"; else length="--minutes $minutes"; fi
# shellcheck disable=SC2086  # a flag and its number
"$r2lm" train grpo -m "$model" -o "$out/grpo" --tasks "$tasks" --lora-rank 16 --questions 12 --answers 8 --parts 2 -n "$tokens" \
    --lr 1e-4 --schedule constant --warmup 3 --kl-limit 1 --patience 40 --seed "$seed" --checkpoint-every 25 $length

# 2. Worked examples for as long.
for task in $(echo "$tasks" | tr , ' '); do
    "$r2lm" tasks make "$task" -n "${CHATS:-1000}" --seed "$seed" -o "$out/$task.jsonl"
    cat "$out/$task.jsonl" >> "$out/chats.jsonl"
done
if [ -n "${SFT_STEPS:-}" ]; then
    length="--steps $SFT_STEPS"
else
    length="--minutes $(tail -n 1 "$out/grpo/metrics.jsonl" | grep -o '"seconds_all":[0-9.]*' | awk -F : '{ printf "%.2f", $2 / 60 }')"
fi
# shellcheck disable=SC2086  # a flag and its number
"$r2lm" train sft "$out/chats.jsonl" -m "$model" -o "$out/sft" --lora-rank 16 --batch-tokens 2048 --lr 1e-4 --seed "$seed" --licence MIT $length

# 3. What came of it.
ask() { # NAME FLAGS...
    name=$1
    shift
    "$r2lm" eval tasks --tasks "$tasks" --limit "$items" -n "$tokens" -o "$out/eval-$name" -m "$model" "$@"
    if [ -n "${HUMANEVAL:-}" ]; then "$r2lm" eval humaneval --data "$HUMANEVAL" -o "$out/humaneval-$name" -m "$model" "$@"; fi
}
ask base
ask grpo --lora "$out/grpo/adapter"
ask sft --lora "$out/sft/adapter"
"$r2lm" plot "$out/grpo" -o "$out/grpo.svg" --metric reward --metric pass_rate --metric length --metric entropy
"$r2lm" eval compare "$out/eval-base" "$out/eval-grpo"
"$r2lm" eval compare "$out/eval-sft" "$out/eval-grpo"
if [ -n "${HUMANEVAL:-}" ]; then "$r2lm" eval compare "$out/humaneval-base" "$out/humaneval-grpo"; fi
