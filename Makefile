# make hil     set up, then run the product: pytest -m hil on this machine
# make test    set up, then the project's own checks and tests, side by side
# make help    the rest

# The first that is new enough: Ubuntu 22.04's python3 is not, and its python3.11 is.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do $$python -c \
	'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && exit; done; echo python3)
endif
VENV := .venv
BIN := $(VENV)/bin
# Changes with whatever the environment is made from; the stamp is written last, so half an environment is made anew.
STAMP := $(VENV)/.made-from-$(shell cat pyproject.toml constraints.txt Makefile | cksum | cut -d' ' -f1)
# Where pip's own index brings the CUDA build: TORCH_INDEX_URL=<the CPU index of PyTorch's "Get Started" page>
TORCH_INDEX := $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL))

# Tests run side by side, file by file (tests/support/workers.py), and the dearest are named at the end. Two, also where
# there are more cores: some bound the time that something takes. In one process, as ever: $(BIN)/pytest.
SIDE_BY_SIDE := --numprocesses=2 --durations=30

# What `make test` took from its first line on, checks included; written last, in seconds.
STARTED := $(shell date +%s)
TOOK = echo "make $@ took $$(( $$(date +%s) - $(STARTED) )) s"

.PHONY: help setup hil check check-python check-native format test only-tests checks-beside test-slow coverage faults bench bench-quick clean

help:
	@echo "make hil        set up, then run pytest -m hil with examples/digits.py on this machine"
	@echo "make test       set up, then check and run the project's own tests"
	@echo "make setup      the environment .venv (PYTHON=python3.X chooses the interpreter)"
	@echo "make check      ruff (format and lint), spelling, the floors of the imports, mypy --strict, shell scripts, C++ sources"
	@echo "make format     let ruff reformat and fix"
	@echo "make test-slow  the tests that take longer"
	@echo "make coverage   the tests of make test once more, and which lines of harness/ they run"
	@echo "make faults     the fault matrix: runs that something happens to, N=3 of each kind"
	@echo "make bench      the benchmarks: ratios against named alternatives; hours"
	@echo "make bench-quick  those of ten minutes, before and after a change (AGAINST=FILE compares with an earlier result)"
	@echo "make clean      remove results and caches in this folder, not the environment"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hilgate needs Python 3.11 or newer; found $$($(PYTHON) --version 2>&1). On Ubuntu 22.04: sudo apt-get install" \
			"python3.11-venv; one that lies elsewhere: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "this Python has no venv. On Debian and Ubuntu: sudo apt-get install $(notdir $(PYTHON))-venv"; exit 1; }
	rm -f $(VENV)/.made-from-*
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

hil: setup
	$(BIN)/python -m pytest -m hil
	@echo
	@echo "Next, your own model: copy examples/digits.py, make it yours, then type"
	@echo "    $(BIN)/pytest -m hil --model=FILE.py"

# Side by side: mypy takes one processor for a minute where it has no cache, and clang-tidy two.
check: setup
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-python check-native

check-python: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

check-native: setup
	$(BIN)/shellcheck .ci/run .ci/clang-tidy harness/emulator/guest/boot harness/release/templates/run harness/release/templates/env
	.ci/clang-tidy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The checks run beside the tests, which often wait for timers and for processes of their own; and behind them, for some tests
# bound the time that something takes. What the checks say is printed in one piece, when they end.
test: setup
	@status=0; $(MAKE) --no-print-directory --keep-going --jobs=2 only-tests checks-beside || status=$$?; $(TOOK); exit $$status

only-tests: setup
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

checks-beside: setup
	@log=$$(mktemp); status=0; nice -n 10 $(MAKE) --no-print-directory check > $$log 2>&1 || status=$$?; \
		cat $$log; rm $$log; exit $$status

test-slow: setup
	@status=0; $(BIN)/python -m pytest -m slow $(SIDE_BY_SIDE) || status=$$?; $(TOOK); exit $$status

# Not in `make test`: tests take 1.6 times as long under it (Python 3.11 has no sys.monitoring to count by).
coverage: setup
	rm -rf build/coverage && mkdir -p build/coverage
	@status=0; $(BIN)/python -m coverage run -m pytest $(SIDE_BY_SIDE) || status=$$?; \
		$(BIN)/python -m coverage combine --quiet; $(BIN)/python -m coverage report --skip-covered; $(TOOK); exit $$status

N := 1
faults: setup
	$(BIN)/python -m tests.faults --runs $(N)

# Exit status 1 is a missed aim, 2 a benchmark that could not be run.
AGAINST :=
BENCHMARKS = $(BIN)/python -m benchmarks $(if $(AGAINST),--against "$(AGAINST)")
bench: setup
	$(BENCHMARKS)

bench-quick: setup
	$(BENCHMARKS) --quick

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
