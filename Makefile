# make bench: the main job. make test: the tests. Both set up .venv first, and are quick when nothing changed.
PYTHON ?= python3
VENV ?= .venv
OUT ?= out
BIN = $(VENV)/bin
# The package is installed in place: only what the build reads asks for another install.
BUILD_INPUTS = setup.py pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*.cpp csrc/*.hpp)

.PHONY: bench test test-wheel lint goldens results clean

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks --out $(OUT)

test: $(VENV)/.installed
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The wheel, in an environment and a folder of its own: no source tree to fall back on.
WHEEL = build/wheel
test-wheel:
	rm -rf $(WHEEL)
	mkdir -p $(WHEEL)/elsewhere/benchmarks
	$(PYTHON) -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir $(WHEEL) .
	$(WHEEL)/venv/bin/python -m pip install --quiet --constraint constraints.txt "$$(ls $(WHEEL)/featcodec-*.whl)[test]"
	cp -r tests README.md pyproject.toml $(WHEEL)/elsewhere
	cp -r benchmarks/results $(WHEEL)/elsewhere/benchmarks
	cd $(WHEEL)/elsewhere && ../venv/bin/python -m pytest

# Writes the goldens that are missing; those that exist are never rewritten.
goldens: $(VENV)/.installed
	$(BIN)/python -m tests.goldens

# Measures anew what is committed under benchmarks/results, and shows it in the README.
results: $(VENV)/.installed
	$(BIN)/python -m benchmarks --out benchmarks/results/default
	$(BIN)/python -m benchmarks.readme

$(VENV)/.installed: $(BUILD_INPUTS)
	$(PYTHON) -m venv $(VENV)
	FEATCODEC_WERROR=1 $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

clean:
	rm -rf build dist out *.egg-info featcodec/_core*.so $(VENV)
