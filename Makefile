# Set-up, checks and the demo. `make help` lists what there is.
#
# Needs make and Python 3.11, 3.12 or 3.13 with venv; everything else is installed into $(VENV).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
JOBS ?= 2
TORCH ?=

# An editable install and tools that start one another are confused by these.
unexport PYTHONPATH PYTHONHOME

bin := $(VENV)/bin
installed := $(VENV)/.installed
installed_torch := $(VENV)/.installed-torch
ready := $(installed) $(if $(filter-out 0,$(TORCH)),$(installed_torch))

# TensorFlow 2.21 has wheels for 3.11 to 3.13. ensurepip is missing where Debian splits off venv.
usable = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
find_python = for python in python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c '$(usable)' >/dev/null 2>&1 && { echo "$$python"; break; }; done
# Looked for once, and only where an environment has to be made.
PYTHON ?= $(eval PYTHON := $(shell $(find_python)))$(PYTHON)

# PyTorch's usual Linux wheel brings several GB of CUDA; only the CPU build is ever taken there.
torch := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)$(if $(filter Linux,$(shell uname -s)),+cpu)

.PHONY: help
help:
	@echo 'make demo         train an LSTM on real speech, verify it and all others, diagnose a broken one'
	@echo 'make test         lint, tests, branch coverage of reference/'
	@echo 'make test-slow    the expensive sweeps'
	@echo 'make properties   every Hypothesis property with 10,000 examples'
	@echo 'make bench-oracle the oracle beside an ideal NumPy LSTM: benchmarks/results/oracle_speed.json'
	@echo 'make conformance  Flax, Equinox, Haiku, ONNX, PyTorch and the others in an environment of their'
	@echo '                  own, each held against the oracle over the whole case matrix'
	@echo 'make no-false-alarms  10,000 random configurations there: benchmarks/results/no_false_alarms.json'
	@echo 'make upstream     run every reproduction in docs/upstream/ there and write docs/upstream.md'
	@echo 'make mutation     small changes of reference/ and conformance/: does a test see each?'
	@echo 'make survivors    the zoo against the checks of others: docs/survivors.md'
	@echo 'make bench        every LSTM at hand, checked and timed: benchmarks/results/speed_cpu.json'
	@echo 'make bench-grid   the same along T, B, H, depth, directions and masks'
	@echo 'make bench-vowels an epoch of Japanese Vowels on the fast path beside keras.layers.LSTM'
	@echo 'make bench-long   time and memory of the fast path against steps, to 10,000'
	@echo 'make study        the initialization study and its scaling anew: 20 min on 2 cores; goes on where it stopped'
	@echo 'make docs         the pages to learn from and their notebooks, by running their sources: out/docs'
	@echo 'make lint         ruff, mypy, import rules'
	@echo 'make wheel        build sdist and wheel; smoke-test the wheel in a fresh environment'
	@echo 'make clean        remove what the above have made, the environment too'
	@echo
	@echo 'TORCH=1 adds PyTorch (on Linux its CPU build, where pip finds one)'
	@echo 'PYTHON=python3.12 chooses the Python, VENV=folder the environment, JOBS=4 the test processes'

# The stamp is written last: an interrupted installation is taken up again.
$(installed): pyproject.toml constraints.txt
	@if ! "$(bin)/python" -m pip --version >/dev/null 2>&1; then \
		if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(usable)'; then \
			echo 'make: found no Python 3.11, 3.12 or 3.13 with venv and pip. Install one' \
				'(Debian: apt-get install python3 python3-venv) or say where: make PYTHON=/path/to/python' >&2; \
			exit 2; \
		fi; \
		echo "Making $(VENV) with $$("$(PYTHON)" --version)"; \
		"$(PYTHON)" -m venv --clear "$(VENV)"; \
	fi
	@echo 'Installing into $(VENV): some minutes and 2.5 GB the first time'
	"$(bin)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test]'
	@touch "$@"

$(installed_torch): $(installed)
	@if "$(bin)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt '$(torch)'; \
	then touch "$@"; \
	else echo 'make: pip finds no $(torch); all that needs PyTorch is skipped' >&2; fi

.PHONY: demo
demo: $(ready)
	"$(bin)/python" examples/train_japanese_vowels.py --out out/japanese_vowels.keras
	"$(bin)/lstm-oracle" verify out/japanese_vowels.keras --data examples/japanese_vowels.npz
	"$(bin)/lstm-oracle" verify --quick || { status=$$?; [ $$status -eq 1 ] && \
		echo 'Exit status 1: a framework disagrees; the table above says which, and why.'; }
	"$(bin)/python" examples/not_training.py --budget 70 --picture out/not_training.svg || \
		echo 'On this machine the remedied model is not better.'

# What the README shows of the demo.
.PHONY: demo-transcript
demo-transcript: $(ready)
	@mkdir -p out
	COLUMNS=100 $(MAKE) --no-print-directory -s demo >out/demo.txt 2>out/demo.err
	mv out/demo.txt benchmarks/results/demo.txt
	mv out/not_training.svg docs/not_training.svg

.PHONY: test
test: lint
	"$(bin)/pytest" -n $(JOBS) --dist worksteal --cov --cov-report=term-missing:skip-covered --cov-fail-under=100

.PHONY: test-slow
test-slow: $(ready)
	"$(bin)/pytest" -n $(JOBS) --dist worksteal -m slow

.PHONY: properties
properties: $(ready)
	HYPOTHESIS_PROFILE=thorough "$(bin)/pytest" -n $(JOBS) --dist worksteal -m hypothesis

.PHONY: mutation
mutation: $(ready)
	"$(bin)/python" benchmarks/mutation.py

.PHONY: bench-oracle
bench-oracle: $(ready)
	"$(bin)/python" benchmarks/oracle_speed.py

# Every library that has an adapter, apart from the environment of `make test`.
libraries := .venv-conformance
installed_libraries := $(libraries)/.installed
$(installed_libraries): pyproject.toml constraints.txt constraints-conformance.txt
	@"$(libraries)/bin/python" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear "$(libraries)"
	@echo 'Installing into $(libraries): some minutes and 4 GB the first time'
	"$(libraries)/bin/python" -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -c constraints-conformance.txt \
		-e '.[all,test]' '$(torch)' flax equinox dm-haiku onnx onnxruntime
	@touch "$@"

.PHONY: conformance
conformance: $(installed_libraries)
	"$(libraries)/bin/pytest" -m 'slow or not slow' \
		tests/test_verify_of_what_is_installed.py tests/test_libraries_agree.py \
		tests/test_identify_libraries.py

.PHONY: no-false-alarms
no-false-alarms: $(installed_libraries)
	"$(libraries)/bin/python" benchmarks/no_false_alarms.py

.PHONY: upstream
upstream: $(installed_libraries)
	"$(libraries)/bin/python" docs/update_upstream.py

.PHONY: survivors
survivors: $(installed_libraries)
	KERAS_BACKEND=jax "$(libraries)/bin/python" benchmarks/survivors.py \
		zoo torch jax-x64 jax-float32 torch-usual jax-usual onnx keras

# Everyone who is timed, apart from the environment of `make test`.
peers := .venv-bench
installed_peers := $(peers)/.installed
$(installed_peers): pyproject.toml constraints.txt benchmarks/peers.txt
	@"$(peers)/bin/python" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear "$(peers)"
	@echo 'Installing into $(peers): some minutes and 3 GB the first time'
	"$(peers)/bin/python" -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -r benchmarks/peers.txt -e .
	@"$(peers)/bin/python" -m pip install --quiet --disable-pip-version-check '$(torch)' || \
		echo 'make: pip finds no $(torch); it is not among those who are timed' >&2
	@touch "$@"

.PHONY: bench-env
bench-env: $(installed_peers)

# About eight minutes on two quiet cores. Interrupted, it goes on where it was; finished, it begins
# anew. Exit status 1, that someone was wrong and has no time, does not end it: the table says so.
.PHONY: bench
bench: $(installed_peers)
	"$(peers)/bin/lstm-oracle" bench --shapes issue --progress \
		--keep benchmarks/results/speed_cpu.json || [ $$? -eq 1 ]
	@mkdir -p out
	"$(peers)/bin/lstm-oracle" bench --from benchmarks/results/speed_cpu.json \
		--format html --output out/speed.html || [ $$? -eq 1 ]
	@echo 'benchmarks/results/speed_cpu.json, out/speed.html'

# About three quarters of an hour: the curves of time against T, B and H, and of memory against T.
.PHONY: bench-grid
bench-grid: $(installed_peers)
	"$(peers)/bin/lstm-oracle" bench --grid --progress \
		--keep benchmarks/results/speed_grid_cpu.json || [ $$? -eq 1 ]
	@mkdir -p out
	"$(peers)/bin/lstm-oracle" bench --from benchmarks/results/speed_grid_cpu.json \
		--format html --output out/speed_grid.html || [ $$? -eq 1 ]

.PHONY: bench-vowels
bench-vowels: $(installed_peers)
	"$(peers)/bin/python" benchmarks/vowels_speed.py

.PHONY: bench-long
bench-long: $(installed_peers)
	"$(peers)/bin/python" benchmarks/long_sequences.py

.PHONY: bench-history
bench-history: $(installed_peers)
	"$(peers)/bin/pytest" benchmarks/speed_history.py --benchmark-autosave

# Results by shape are kept in out/initialization: interrupted, it goes on where it stopped.
.PHONY: study
study: $(ready)
	"$(bin)/python" -m lstm_oracle.benchmarks.study.initialization
	"$(bin)/python" -m lstm_oracle.benchmarks.study.scaling
	@mkdir -p out/study
	"$(bin)/lstm-oracle" study gates --steps 200 --format html --output out/study/gates.html
	"$(bin)/lstm-oracle" study gradient-flow --steps 200 --format html --output out/study/gradient-flow.html
	"$(bin)/lstm-oracle" study initialization --format html --output out/study/initialization.html

.PHONY: docs
docs: $(ready)
	"$(bin)/python" docs/build.py

.PHONY: lint
lint: $(ready)
	"$(bin)/ruff" check .
	"$(bin)/ruff" format --check .
	"$(bin)/mypy"
	"$(bin)/lint-imports" --no-cache

# The wheel is built from the sdist, which proves that the sdist is whole.
.PHONY: wheel
wheel: $(installed)
	rm -rf dist out/wheel-test
	@mkdir -p out
	"$(bin)/python" -m build --outdir dist . >out/build.log 2>&1 || { cat out/build.log; exit 1; }
	"$(bin)/python" -m venv --clear out/wheel-test/venv
	out/wheel-test/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd out/wheel-test && PYTHONWARNINGS=error venv/bin/python "$(CURDIR)/tests/smoke.py"
	rm -rf out/wheel-test

.PHONY: clean
clean:
	rm -rf "$(VENV)" "$(libraries)" build dist out *.egg-info .coverage .coverage.* coverage.json
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
