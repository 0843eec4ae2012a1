#!/bin/sh
# fetch_clients.sh [--have] - makes sure that the Python clients which the tests run against `r2lm serve`
# lie in the user cache, and prints their folder; progress goes to stderr.  --have fetches nothing
# and fails when they are not all there.
#   openai_llm/   the packages openai and llm, with pytest
#   aider/        aider-chat, which wants other versions of the same packages
# What is in each is pinned by tests/e2e/clients/NAME.txt.  770 MB, a minute or two, once.
set -eu

tree=$(cd "$(dirname "$0")/.." && pwd)
clients=${R2LM_CLIENTS:-${XDG_CACHE_HOME:-${HOME:?not set, nor is R2LM_CLIENTS}/.cache}/r2lm/clients}
say() { echo "r2lm: $*" >&2; }

is_there() { # NAME
    [ -x "$clients/$1/bin/python" ] && cmp -s "$tree/tests/e2e/clients/$1.txt" "$clients/$1/installed.txt"
}

# The list is copied last: a broken download is begun again, with pip's cache.
fetch() { # NAME WHAT
    say "fetching $2 (once) into $clients"
    rm -rf "${clients:?}/$1"
    python3 -m venv "$clients/$1" >&2 || { say "cannot make a Python environment in $clients/$1"; exit 1; }
    "$clients/$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps \
        -r "$tree/tests/e2e/clients/$1.txt" >&2 || { say "pip could not install $2"; exit 1; }
    cp "$tree/tests/e2e/clients/$1.txt" "$clients/$1/installed.txt"
}

if [ "${1-}" = --have ]; then
    is_there openai_llm && is_there aider || { say "not fetched yet; run tools/fetch_clients.sh"; exit 1; }
else
    mkdir -p "$clients"
    # One download at a time.
    exec 9> "$clients/.lock"
    flock 9
    is_there openai_llm || fetch openai_llm "openai and llm"
    is_there aider || fetch aider "aider-chat"
fi
echo "$clients"
