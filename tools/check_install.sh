#!/bin/bash
# check_install.sh - installs into an empty folder and builds the three examples against that copy
# alone, once with CMake and once with pkg-config, as a user of the library would.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${R2LM_BUILD:-build}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

cmake -G Ninja -S . -B "$build" > /dev/null
cmake --build "$build" > /dev/null
cmake --install "$build" --prefix "$stage/usr" > /dev/null
libdir=$(dirname "$(find "$stage/usr" -name libr2lm.so -print -quit)")

# Nothing but the installed copy is reachable from here.
cp -r examples "$stage/examples"
cd "$stage/examples"

for header in "$stage"/usr/include/r2lm/*.h; do # each public header compiles alone, in C and in C++
    echo "#include <r2lm/${header##*/}>" > "$stage/alone.c"
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror -I "$stage/usr/include" -fsyntax-only "$stage/alone.c"
    if command -v c++ > /dev/null; then c++ -x c++ -Wall -Wextra -I "$stage/usr/include" -fsyntax-only "$stage/alone.c"; fi
done
echo "headers: $(find "$stage/usr/include/r2lm" -name '*.h' | wc -l) compile alone"

n_built=0
for source in *.c; do
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    # The prefix inside r2lm.pc is that of the configuration; this copy lies elsewhere.
    flags=$(pkg-config --define-variable=prefix="$stage/usr" --cflags --libs r2lm)
    # shellcheck disable=SC2086  # compiler flags
    cc -std=c11 -Wall -Wextra -Werror "$source" -o "$stage/${source%.c}" $flags
    n_built=$((n_built + 1))
done
for folder in */; do
    [ -f "$folder/CMakeLists.txt" ] || continue
    cmake -G Ninja -S "$folder" -B "$stage/build-${folder%/}" -DCMAKE_PREFIX_PATH="$stage/usr" > /dev/null
    cmake --build "$stage/build-${folder%/}" > /dev/null
    n_built=$((n_built + 1))
done
if [ -f CMakeLists.txt ]; then
    cmake -G Ninja -S . -B "$stage/build-examples" -DCMAKE_PREFIX_PATH="$stage/usr" > /dev/null
    cmake --build "$stage/build-examples" > /dev/null
fi
[ "$n_built" -ge 3 ] || { echo "examples: expected three, found $n_built"; exit 1; }
echo "examples: $n_built built against the installed library"

for page in share/man/man1/r2lm.1 share/bash-completion/completions/r2lm share/zsh/site-functions/_r2lm \
    share/fish/vendor_completions.d/r2lm.fish bin/r2lm; do
    [ -s "$stage/usr/$page" ] || { echo "install: $page is missing or empty"; exit 1; }
done
LD_LIBRARY_PATH=$libdir "$stage/usr/bin/r2lm" version
