#!/bin/sh
# lora-gsm8k.sh [TRAIN.jsonl] [FOLDER] - a real model learns how GSM8K's problems are worked.
#
# What it does   trains a LoRA adapter (rank 16, all linear layers) for SmolLM2-135M-Instruct on the problems of GSM8K, the very
#                GGUF file that one runs staying as it is, for MINUTES; shows the validation loss on the way; asks one of the
#                test set's kind of questions without and with the adapter.
# Time           MINUTES (15), and 98 MB to fetch once
# Memory         2 GB
# Result         FOLDER/run/adapter, FOLDER/run.svg: the validation loss falls from the first steps on; docs/training-runs.md
#                has the figures of one run.  At this size it learns the form, not arithmetic: see there.
# Needs          make; GSM8K's train.jsonl as it is published (github.com/openai/grade-school-math), and test.jsonl beside it,
#                if it is there, so that nothing of the test is learnt
#
# MINUTES=1, or STEPS=20, for a shorter run; R2LM for another program; MODEL for another GGUF file.
set -eu
cd "$(dirname "$0")/.."
r2lm=${R2LM:-$PWD/build/r2lm}
train=${1:-shared/data/gsm8k/train.jsonl}
out=${2:-build/recipes/gsm8k}
length="--minutes ${MINUTES:-15}"
[ -z "${STEPS:-}" ] || length="--steps $STEPS"
[ -r "$train" ] || { echo "usage: lora-gsm8k.sh TRAIN.jsonl [FOLDER]; no $train" >&2; exit 2; }
[ -x "$r2lm" ] || { echo "lora-gsm8k.sh: no $r2lm; run make first" >&2; exit 1; }
model=${MODEL:-$(tools/fetch_models.sh smollm2)}
test=$(dirname "$train")/test.jsonl
held_out=
[ ! -r "$test" ] || held_out="--held-out $test"

if [ -n "$(ls -A "$out" 2> /dev/null)" ] && [ -z "${FORCE:-}" ]; then
    echo "lora-gsm8k.sh: $out is not empty; another folder, or FORCE=1 to begin anew in it" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out"
# shellcheck disable=SC2086  # lists of words
"$r2lm" train sft "$train" -m "$model" -o "$out/run" --lora-rank 16 --batch-tokens 2048 --validation 0.008 $held_out --licence MIT \
    --validate-every 10 $length

"$r2lm" plot "$out/run"
"$r2lm" plot "$out/run" -o "$out/run.svg" --metric loss --metric validation_loss --metric lr
question='A farmer has 12 hens. Each hen lays 5 eggs a week. He sells the eggs for 2 dollars a dozen. How much does he earn in a week?'
echo "--- without the adapter"
"$r2lm" run "$model" -p "$question" -n 200 --temp 0
echo "--- with it"
"$r2lm" run "$model" --lora "$out/run/adapter" -p "$question" -n 200 --temp 0
