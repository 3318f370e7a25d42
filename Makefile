# make demo | test | calibration | lint | notebooks | bench: each installs what it needs into .venv, and does its job.
# make PYTHON=/path/to/python3.13 demo: use this Python instead of the first suitable one on the PATH.
# make bench QUICK=1: a trial run; make bench ONLY="iteration memory": some benchmarks. Its environment takes several GB.

suitable = -c 'import sys; sys.exit(sys.version_info < (3, 12))'
PYTHON ?= $(shell for p in python3.13 python3.12 python3.14; do $$p $(suitable) 2>/dev/null && echo $$p && exit; done; echo python3)
# Bytecode of what is imported is written at its first import: that of all packages takes two thirds of an installation.
pip_install = bin/python -m pip install -q --no-compile -c constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK = 1
.PHONY: demo test calibration lint notebooks bench venv clean

demo: .venv/runtime; .venv/bin/bgmm demo
# Tests compile much and run it briefly: LLVM's optimisations cost them more than they gain, and so do XLA's of loops, which make
# more kernels. Matrices are small: further threads of BLAS and OpenMP would wait for each other.
passes = while-loop-invariant-code-motion,while-loop-constant-sinking,simplify-while-loops,reshape-mover,simplify-conditional
test: .venv/dev; JAX_DISABLE_MOST_OPTIMIZATIONS=1 XLA_FLAGS=--xla_disable_hlo_passes=$(passes) OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
calibration: .venv/dev; .venv/bin/python -m pytest -m slow
lint: .venv/dev; .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
notebooks: .venv/dev; .venv/bin/python notebooks/execute.py --check
bench: .venv/bench/ready; .venv/bench/bin/python -m benchmarks.run $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))
venv: .venv/dev
clean:; rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache; find . -name __pycache__ -prune -exec rm -rf {} +

# Every stamp is written last, so that an installation that was interrupted starts again.
.venv/made:
	@$(PYTHON) $(suitable) 2>/dev/null || { echo "bgmm needs Python 3.12 or newer, and $(PYTHON) is older or does not run; \
	install one, or say where it is: make PYTHON=/path/to/python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	touch $@
.venv/runtime: .venv/made pyproject.toml constraints.txt
	.venv/$(pip_install) -e .
	touch $@
.venv/dev: .venv/runtime
	.venv/$(pip_install) -e '.[dev]'
	touch $@
.venv/bench/ready: .venv/runtime benchmarks/requirements.txt
	.venv/bin/python -m venv --clear .venv/bench
	.venv/bench/$(pip_install) -e .
	.venv/bench/$(pip_install) -r benchmarks/requirements.txt || for peer in $$(grep -v '^#' benchmarks/requirements.txt); do \
	.venv/bench/$(pip_install) "$$peer" || echo "$$peer does not install here; the benchmarks go on without it"; done
	touch $@
