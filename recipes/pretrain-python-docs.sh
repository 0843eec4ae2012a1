#!/bin/sh
# pretrain-python-docs.sh [FOLDER] - a model from nothing, on Python's documentation and standard library.
#
# What it does   learns a vocabulary of 6144 tokens from the texts of Debian's python3-doc and of /usr/lib/python3.*, pretrains
#                an r2 model on them (7.2 million parameters, 3.6 at work per token: MLA, 16 experts of which 3 and a shared
#                one work) for MINUTES, then a dense model (llama, 3.8 million) of the same operations per token for as many
#                steps, and shows both side by side; with torch and transformers in PYTHON also PyTorch's losses.
# Time           MINUTES (15) for r2, about two thirds of that for the dense one, some minutes for PyTorch's 20 steps
# Memory         1 GB; 150 MB of disk in FOLDER (build/recipes/python-docs)
# Result         validation loss of both in bits per byte; FOLDER/runs.svg; docs/training-runs.md has the figures of one run
# Needs          make; apt install python3-doc
#
# MINUTES=1, or STEPS=100, for a shorter run; R2LM for another program; PYTHON for the one that has torch.
set -eu
cd "$(dirname "$0")/.."
r2lm=${R2LM:-$PWD/build/r2lm}
out=${1:-build/recipes/python-docs}
length="--minutes ${MINUTES:-15}"
[ -z "${STEPS:-}" ] || length="--steps $STEPS"

docs=$(find -L /usr/share/doc/python3*/html/_sources -maxdepth 0 2>/dev/null | head -n 1)
lib=$(find /usr/lib/python3.* -maxdepth 0 2>/dev/null | head -n 1)
if [ -z "$docs" ] || [ -z "$lib" ]; then
    echo "pretrain-python-docs.sh: expected /usr/share/doc/python3*/html/_sources and /usr/lib/python3.*; apt install python3-doc" >&2
    exit 1
fi
[ -x "$r2lm" ] || { echo "pretrain-python-docs.sh: no $r2lm; run make first" >&2; exit 1; }

# 1. Texts: the documentation as it was written (reStructuredText), the library's sources.
if [ -n "$(ls -A "$out" 2> /dev/null)" ] && [ -z "${FORCE:-}" ]; then
    echo "pretrain-python-docs.sh: $out is not empty; another folder, or FORCE=1 to begin anew in it" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out/texts/lib"
cp -rL "$docs" "$out/texts/doc"
(cd "$lib" && find . -name '*.py' -not -path '*/dist-packages/*' | tar cf - -T -) | tar xf - -C "$out/texts/lib"
cd "$out"

# 2. A vocabulary, and the texts as tokens: one document in a hundred is put aside.
"$r2lm" tokenizer train texts -o vocabulary --vocab-size 6144
"$r2lm" data prep texts -m vocabulary -o data --validation 0.01 --licence "PSF-2.0 and those of its parts"

# 3. Two shapes.  Without r2's prediction module: neither a dense llama nor transformers' class trains one.
"$r2lm" train init --depth 6 --tokenizer vocabulary -o shape
mkdir r2 dense
cp vocabulary/* r2
cp vocabulary/* dense
sed 's/"num_nextn_predict_layers": 1/"num_nextn_predict_layers": 0/' shape/config.json > r2/config.json
cat > dense/config.json <<'END'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 6144, "hidden_size": 192, "intermediate_size": 496,
 "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 48, "hidden_act": "silu",
 "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 4096, "tie_word_embeddings": true, "eos_token_id": 0}
END
"$r2lm" train init r2 -o r2-start
"$r2lm" train init dense -o dense-start

# 4. Both in the same order of data, Muon at the same rate, as many steps.
train() { # START RUN FLAGS...
    start=$1 run=$2
    shift 2
    "$r2lm" train pretrain data -m "$start" -o "$run" --batch-tokens 4096 --optimizer muon --lr 0.01 --mtp-weight 0 --validate-every 50 "$@"
}
# shellcheck disable=SC2086  # two words
train r2-start r2-run $length
train dense-start dense-run --steps "$(wc -l < r2-run/metrics.jsonl)"

# 5. PyTorch on the same start, batches and optimizer; and the finished model in transformers.
runs="r2-run dense-run"
python=${PYTHON:-python3}
if "$python" -c 'import torch, transformers' 2>/dev/null; then
    compare=$OLDPWD/tools/compare_training.py
    "$python" "$compare" r2-start r2-run data --program "$r2lm" --optimizer muon --steps "${TORCH_STEPS:-20}" -o pytorch
    "$python" "$compare" r2-start r2-run data --program "$r2lm" --saved
    runs="$runs pytorch"
else
    echo "$python has no torch and transformers: PyTorch's losses are left out" >&2
fi

# 6. What came of it.
# shellcheck disable=SC2086  # a list of words
"$r2lm" plot $runs -o runs.svg --metric loss --metric validation_bpb --metric gradient_norm --metric tok_s
# shellcheck disable=SC2086
"$r2lm" plot $runs
for run in r2-run dense-run; do
    printf '%-10s validation, bits per byte: ' $run
    grep -o '"validation_bpb":[0-9.]*' $run/metrics.jsonl | tail -n 1 | cut -d : -f 2
done
"$r2lm" run r2-run/model --raw -p 'The module provides' -n 60 --temp 0.7 --seed 1
echo "$PWD/r2-run/model"
