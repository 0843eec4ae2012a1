#!/bin/bash
# check_aarch64.sh - cross-builds for aarch64 with the portable kernels and runs the unit, kernel and
# fuzz-seed tests under qemu.  The libraries come from Debian's arm64 packages, unpacked into a folder
# of their own: the machine's own package database stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
./tools/install_packages.sh build aarch64
build=$PWD/build-aarch64
root=$build/sysroot

if [ ! -f "$root/complete" ]; then
    rm -rf "$root"
    mkdir -p "$root"/apt/{lists/partial,cache/archives/partial,etc,status}
    : > "$root/apt/status/status"
    options=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$root/apt" -o Dir::State::status="$root/apt/status/status"
        -o Dir::Cache="$root/apt/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update -q > "$build/apt.log" 2>&1 || { cat "$build/apt.log"; exit 1; }
    (cd "$root" && apt-get "${options[@]}" download -q libjansson4 libjansson-dev libpcre2-8-0 libpcre2-dev libutf8proc2 libutf8proc-dev \
        libcmocka0 libcmocka-dev libc6 libgcc-s1 > "$build/apt.log" 2>&1) || { cat "$build/apt.log"; exit 1; }
    for package in "$root"/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$root"/*.deb "$root/apt"
    touch "$root/complete"
fi

cat > "$build/toolchain.cmake" << CMAKE
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L $root -E LD_LIBRARY_PATH=$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT -Wl,-rpath-link,$root/usr/lib/aarch64-linux-gnu)
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-Wl,-rpath-link,$root/usr/lib/aarch64-linux-gnu -Wl,-rpath-link,$root/lib/aarch64-linux-gnu")
CMAKE
export PKG_CONFIG_LIBDIR=$root/usr/lib/aarch64-linux-gnu/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
cmake -G Ninja -S . -B "$build" -DCMAKE_TOOLCHAIN_FILE="$build/toolchain.cmake" -DR2LM_WERROR=ON -DR2LM_LINES_ONLY=ON > "$build/configure.log" 2>&1 ||
    { cat "$build/configure.log"; exit 1; }
labels=${AARCH64_LABELS:-unit|kernel|fuzz}
# shellcheck disable=SC2086  # a list of words
cmake --build "$build" --target r2lm $(echo "$labels" | tr '|' '\n' | sed 's/^/programs_/')
# Left out: tests that take minutes when every instruction is translated.  What they watch is plain C above
# the kernels; unit/engine, unit/cache_rows and unit/backward run.
slow='^unit/(drafting|latent_shapes|scheduling|trainer|lora_trainer|rollout)$'
ctest --test-dir "$build" -j "$(nproc)" -E "$slow" --output-on-failure --no-tests=error -L "$labels" -LE real ${CTEST_FLAGS:-}
