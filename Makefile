# The front door.  CMake and Ninja do the work; every target first installs the packages it lacks.
#   make            the program, build/r2lm; make help shows these lines
#   make run        answers a question with the default model; make run PROMPT="..." takes another
#   make check      every test: structure, unit, kernel, golden, end to end, real models
#   make check-fast the tests that need no downloaded model
#   make install    program, library, man pages and completions below PREFIX; make uninstall
#   make bench      r2lm beside llama.cpp and ik_llama.cpp; ROWS=decode,prefill picks rows
.DEFAULT_GOAL := all
.PHONY: all help run check check-fast check-golden check-install check-aarch64 asan fuzz bench install \
        uninstall format format-check clean
.SUFFIXES:

PROMPT ?= Why is the sky blue? Answer in two sentences.
MODEL ?= smollm2
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
FUZZ_SECONDS ?= 30
CMAKE_FLAGS ?=
CTEST_FLAGS ?=
ROWS ?= all

NEED = @./tools/install_packages.sh
# -B is repeated by every target, so a changed option reconfigures by itself.
CONFIGURE = cmake -G Ninja -S . -B
CTEST = ctest --output-on-failure --no-tests=error -j "$$(nproc)" $(CTEST_FLAGS)
export CC PROMPT

all:
	$(NEED) build
	@$(CONFIGURE) $(BUILD) $(CMAKE_FLAGS) --log-level=NOTICE > /dev/null
	@cmake --build $(BUILD) --target r2lm

help:
	@sed -n '/^#   make/s/^# *//p' Makefile

run: all
	$(NEED) models
	@model=$$(./tools/fetch_models.sh $(MODEL)) && exec $(BUILD)/r2lm run -m "$$model" -p "$$PROMPT"

check:
	$(NEED) build check models clients
	@$(CONFIGURE) $(BUILD) $(CMAKE_FLAGS) > /dev/null
	@cmake --build $(BUILD)
	@./tools/fetch_models.sh smollm2 qwen05 > /dev/null
	@./tools/fetch_clients.sh > /dev/null
	@$(CTEST) --test-dir $(BUILD)

# Everything that needs no downloaded model: minutes become seconds.
check-fast:
	$(NEED) build check
	@$(CONFIGURE) $(BUILD) $(CMAKE_FLAGS) > /dev/null
	@cmake --build $(BUILD)
	@$(CTEST) --test-dir $(BUILD) -LE real

# The golden cases alone; R2LM_GOLDEN_DIR points them at any folder of the form of tests/golden.
check-golden:
	$(NEED) build check models
	@$(CONFIGURE) $(BUILD) $(CMAKE_FLAGS) > /dev/null
	@cmake --build $(BUILD)
	@$(CTEST) --test-dir $(BUILD) -L golden

# Builds examples/ against an installed copy, and compares the exported symbols with the headers.
check-install:
	$(NEED) build
	@./tools/check_install.sh

check-aarch64:
	@./tools/check_aarch64.sh

asan:
	$(NEED) build check
	@$(CONFIGURE) $(BUILD)-asan -DR2LM_SANITIZE=ON $(CMAKE_FLAGS) > /dev/null
	@cmake --build $(BUILD)-asan
	@$(CTEST) --test-dir $(BUILD)-asan -LE real

fuzz:
	$(NEED) build fuzz
	@FUZZ_SECONDS=$(FUZZ_SECONDS) ./tools/run_fuzzers.sh

bench: all
	$(NEED) build models bench
	@$(CONFIGURE) $(BUILD) $(CMAKE_FLAGS) > /dev/null
	@cmake --build $(BUILD)
	@python3 bench/run_bench.py --build $(BUILD) --rows "$(ROWS)"

install: all
	@$(CONFIGURE) $(BUILD) -DCMAKE_INSTALL_PREFIX="$(PREFIX)" $(CMAKE_FLAGS) > /dev/null
	@cmake --build $(BUILD) --target r2lm r2lm_shared r2lm_static written_pages
	@DESTDIR="$(DESTDIR)" cmake --install $(BUILD)

uninstall:
	@test -f $(BUILD)/install_manifest.txt || { echo "nothing to remove: no $(BUILD)/install_manifest.txt"; exit 1; }
	@sed 's|^|$(DESTDIR)|' $(BUILD)/install_manifest.txt | xargs -d '\n' rm -fv

format:
	$(NEED) format
	@git ls-files '*.c' '*.h' | xargs clang-format -i

format-check:
	$(NEED) format
	@git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-clang $(BUILD)-fuzz $(BUILD)-aarch64 $(BUILD)-stage
