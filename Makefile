# make bench: the main job. make test: the tests. Both set up .venv first, and are quick when nothing changed.
PYTHON ?= python3
VENV ?= .venv
OUT ?= out
BIN = $(VENV)/bin
# The package is installed in place: only what the build reads asks for another install.
BUILD_INPUTS = setup.py pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*.cpp csrc/*.hpp)

.PHONY: bench test lint goldens results clean

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks --out $(OUT)

test: $(VENV)/.installed
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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
