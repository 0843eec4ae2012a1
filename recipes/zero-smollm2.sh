#!/bin/sh
# zero-smollm2.sh [FOLDER] - a small model learns from its own answers, which are judged.
#
# What it does   shows SmolLM2-135M-Instruct the form of answers with CHATS worked examples of each of TASKS (LoRA, merged), then
#                lets it learn from rewards alone (GRPO, STEPS steps); for comparison the same examples again and again for as long
#                as both took. HEADLINE, one of the tasks, is learnt alone too, HEADLINE_STEPS steps with each of SEEDS. Asks the
#                model as it was and all that came of it ITEMS questions of each task that no training has seen, and compares answers
#                one by one.
# Time           two minutes, 50 for the rewards, 12 for each of three seeds, 50 for the comparison, 15 for the questions; 98 MB to
#                fetch once
# Memory         4 GB
# Result         FOLDER/eval-*, FOLDER/grpo.svg, FOLDER/HEADLINE.svg; the last lines: shares of right answers with their intervals.
# Needs          make
#
# STEPS=6 HEADLINE_STEPS=6 (no fewer: five warm up) SFT_STEPS=3 ITEMS=20 SEEDS=1 for a short one; TASKS, LEVEL, TOKENS; MODEL
# for another GGUF file; R2LM for another program.
set -eu
cd "$(dirname "$0")/.."
r2lm=${R2LM:-$PWD/build/r2lm}
out=${1:-build/recipes/zero}
tasks=${TASKS:-sort,tool,order,countdown}
level=${LEVEL:-1}
items=${ITEMS:-1000}
tokens=${TOKENS:-120}
headline=${HEADLINE:-sort}
seeds=${SEEDS:-1 2 3}
[ -x "$r2lm" ] || { echo "zero-smollm2.sh: no $r2lm; run make first" >&2; exit 1; }
model=${MODEL:-$(tools/fetch_models.sh smollm2)}
if [ -n "$(ls -A "$out" 2> /dev/null)" ] && [ -z "${FORCE:-}" ]; then
    echo "zero-smollm2.sh: $out is not empty; another folder, or FORCE=1 to begin anew in it" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out"

# 1. A few examples of each task: thoughts, then <answer>.
for task in $(echo "$tasks" | tr , ' '); do
    "$r2lm" tasks make "$task" -n "${CHATS:-24}" --level "$level" -o "$out/$task.jsonl"
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
grpo() { # RUN TASKS STEPS SEED
    "$r2lm" train grpo -m "$out/start.gguf" -o "$out/$1" --tasks "$2" --level "$level" --lora-rank 16 --questions 16 --answers 16 \
        -n "$tokens" --parts 2 --lr 3e-4 --schedule constant --warmup 5 --kl-limit 3 --patience 40 --steps "$3" --seed "$4" \
        --checkpoint-every 10
}
grpo grpo "$tasks" "${STEPS:-200}" 1
for seed in $seeds; do grpo "$headline-$seed" "$headline" "${HEADLINE_STEPS:-40}" "$seed"; done

# 4. The same examples alone, for as long as both took: steps by the time of one, so that other work beside them counts for neither.
last() { tail -n 1 "$out/$1/metrics.jsonl" | grep -o "\"$2\":[0-9.]*" | cut -d : -f 2; } # RUN NAME
steps=$(awk "BEGIN { s = $(last start seconds_all); print int((s + $(last grpo seconds_all)) / s * $(last start step)) }")
sft "$out/sft" --steps "${SFT_STEPS:-$steps}"

# 5. What came of it: questions that no training sees, the likeliest answers.
ask() { # NAME TASKS MODEL FLAGS...
    name=$1
    of=$2
    shift 2
    "$r2lm" eval tasks --tasks "$of" --level "$level" --limit "$items" -n "$tokens" -o "$out/eval-$name" -m "$@"
}
ask base "$tasks" "$model"
ask start "$tasks" "$out/start.gguf"
ask sft "$tasks" "$model" --lora "$out/sft/adapter"
ask grpo "$tasks" "$out/start.gguf" --lora "$out/grpo/adapter"
"$r2lm" eval compare "$out/eval-sft" "$out/eval-grpo"
for seed in $seeds; do
    ask "$headline-$seed" "$headline" "$out/start.gguf" --lora "$out/$headline-$seed/adapter"
    "$r2lm" eval compare "$out/eval-sft" "$out/eval-$headline-$seed"
done
curves() { "$r2lm" plot "$@" --metric reward --metric pass_rate --metric length --metric entropy; }
curves "$out/grpo" -o "$out/grpo.svg"
# shellcheck disable=SC2046  # several runs
curves $(for seed in $seeds; do echo "$out/$headline-$seed"; done) -o "$out/$headline.svg"
