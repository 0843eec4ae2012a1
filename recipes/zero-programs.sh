#!/bin/sh
# zero-programs.sh [FOLDER] - a model that writes programs learns from whether they run.
#
# What it does   lets Qwen2.5-Coder-0.5B-Instruct (Q4_K_M, as it is in its file) learn three tasks from rewards alone (GRPO, LoRA, STEPS
#                steps): to write a function, to mend one, to complete a program until it prints what is asked for; what it writes
#                runs in the sandbox. For comparison CHATS worked examples of each are shown to it again and again, SFT_STEPS steps,
#                which take about as long. Asks the model as it was and both ITEMS questions of each task that no training has seen,
#                and with HUMANEVAL=HumanEval.jsonl.gz that suite too: what was known must not get lost.
# Time           40 minutes twice, 10 for each 3,000 questions, 2 for each HumanEval (a busy machine); 491 MB to fetch once
# Memory         6 GB
# Result         FOLDER/eval-{base,sft,grpo}, FOLDER/humaneval-{base,sft,grpo}, FOLDER/grpo.svg; the last lines: shares of right answers
#                with their intervals.
# Needs          make; the sandbox (r2lm sandbox --check)
#
# STEPS=4 SFT_STEPS=3 ITEMS=20 for a short one; TASKS, LEVEL, SEED, TOKENS; MODEL for another GGUF file; R2LM for another program.
set -eu
cd "$(dirname "$0")/.."
r2lm=${R2LM:-$PWD/build/r2lm}
out=${1:-build/recipes/programs}
tasks=${TASKS:-function,repair,print}
level=${LEVEL:-4}
items=${ITEMS:-1000}
tokens=${TOKENS:-160}
seed=${SEED:-1}
[ -x "$r2lm" ] || { echo "zero-programs.sh: no $r2lm; run make first" >&2; exit 1; }
"$r2lm" sandbox --check
model=${MODEL:-$(tools/fetch_models.sh qwen05)}
if [ -n "$(ls -A "$out" 2> /dev/null)" ] && [ -z "${FORCE:-}" ]; then
    echo "zero-programs.sh: $out is not empty; another folder, or FORCE=1 to begin anew in it" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out"

# 1. Rewards: an answer is worth what its program does.
"$r2lm" train grpo -m "$model" -o "$out/grpo" --tasks "$tasks" --level "$level" --lora-rank 8 --questions 12 --answers 12 --parts 2 \
    -n "$tokens" --lr 1e-4 --kl 0.1 --schedule cosine --warmup 2 --kl-limit 1 --patience 40 --seed "$seed" --checkpoint-every 4 --steps "${STEPS:-24}"

# 2. Worked examples instead.
for task in $(echo "$tasks" | tr , ' '); do
    "$r2lm" tasks make "$task" -n "${CHATS:-24}" --level "$level" --seed "$seed" -o "$out/$task.jsonl"
    cat "$out/$task.jsonl" >> "$out/chats.jsonl"
done
"$r2lm" train sft "$out/chats.jsonl" -m "$model" -o "$out/sft" --lora-rank 8 --batch-tokens 2048 --lr 1e-4 --seed "$seed" --licence MIT \
    --steps "${SFT_STEPS:-260}"

# 3. What came of it.
ask() { # NAME FLAGS...
    name=$1
    shift
    "$r2lm" eval tasks --tasks "$tasks" --level "$level" --limit "$items" -n "$tokens" -o "$out/eval-$name" -m "$model" "$@"
    if [ -n "${HUMANEVAL:-}" ]; then "$r2lm" eval humaneval --data "$HUMANEVAL" -o "$out/humaneval-$name" -m "$model" "$@"; fi
}
ask base
ask sft --lora "$out/sft/adapter"
ask grpo --lora "$out/grpo/adapter"
"$r2lm" plot "$out/grpo" -o "$out/grpo.svg" --metric reward --metric pass_rate --metric length --metric entropy
"$r2lm" eval compare "$out/eval-base" "$out/eval-grpo"
"$r2lm" eval compare "$out/eval-sft" "$out/eval-grpo"
if [ -n "${HUMANEVAL:-}" ]; then "$r2lm" eval compare "$out/humaneval-base" "$out/humaneval-grpo"; fi
