#!/bin/bash
# run_fuzzers.sh - builds every libFuzzer target with clang and runs each for FUZZ_SECONDS (30), as many
# at a time as there are cores.  Starts from the seeds in the tree; finds are kept in the build folder.
# FUZZ_TARGETS="gguf template" picks some.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-30}
build=${R2LM_FUZZ_BUILD:-build-fuzz}

cmake -G Ninja -S . -B "$build" -DCMAKE_C_COMPILER=clang -DR2LM_FUZZ=ON > "$build.log" 2>&1 ||
    { cat "$build.log"; rm -f "$build.log"; exit 1; }
rm -f "$build.log"
cmake --build "$build" --target fuzzers
names=${FUZZ_TARGETS:-$(for f in tests/fuzz/fuzz_*.c; do n=${f##*/fuzz_}; echo "${n%.c}"; done)}

one() { # NAME: prints one line; fails when the target crashed, leaked, hung or ran nothing
    local name=$1 work=$build/corpus/$1 log=$build/fuzz_$1.log
    mkdir -p "$work" "$build/finds"
    if "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -artifact_prefix="$build/finds/$name-" "$work" "tests/fuzz/seeds/$name" > "$log" 2>&1; then
        echo "fuzz $name: no finding in $(grep -o 'Done [0-9]* runs' "$log" | grep -o '[0-9]*' || echo 0) runs"
    else
        echo "fuzz $name: FINDING, input in $build/finds, log:"
        tail -n 40 "$log"
        return 1
    fi
}
export -f one
export build seconds
[ -n "$names" ] || { echo "no fuzz targets in tests/fuzz"; exit 1; }
# shellcheck disable=SC2086  # a list of names
printf '%s\n' $names | xargs -P "$(nproc)" -I NAME bash -c 'one NAME'
