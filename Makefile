# Two commands do all set-up on a fresh machine: `make demo` and `make test`. Both work in their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
# Test processes, each taking whole files; more than two disturb the tests that time something.
JOBS ?= 2

.PHONY: demo test lint types docs audit gpu-check clean

demo: $(VENV)/.installed
	$(BIN)/gearnn demo --out $(OUT) $(if $(wildcard $(OUT)/config.json),--resume)

test: $(VENV)/.compilers lint types
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

# The documentation as a site in build/site, which opens from the disk.
docs: $(VENV)/.installed
	$(BIN)/mkdocs build --strict

# Known faults of what is pinned; says so and goes on where the auditor or its database cannot be reached.
audit:
	.ci/audit $(PYTHON)

# On a machine with a GPU: every GPU test, then the benchmarks, into benchmarks/results/<gpu>.json. GPU_PYTHON may name an
# interpreter that has torch, CuPy and numba-cuda already.
GPU_PYTHON ?= $(abspath $(BIN))/python
gpu-check: $(if $(filter $(abspath $(BIN))/python,$(GPU_PYTHON)),$(VENV)/.compilers)
	$(GPU_PYTHON) benchmarks/gpu_check.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vermin --quiet --no-tips --eval-annotations --target=3.8- --violations gearnn engine kernels setup.py

# Checked as installed, so that the checker sees gearnn.engine and gearnn.kernels where users import them.
types: $(VENV)/.installed
	rm -rf build
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --target build/types .
	cd build/types && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --python-executable $(abspath $(BIN))/python -p gearnn

$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=21.3,<26'
	$(BIN)/pip install --quiet -r requirements.txt -c constraints.txt
	touch $@

# CUDA's compilers and TensorRT-RTX's builder, which need no GPU or driver, for the tests.
$(VENV)/.compilers: $(VENV)/.installed
	$(BIN)/pip install --quiet --no-build-isolation -e '.[compilers,tensorrt-rtx]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
