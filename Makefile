# make demo | test | calibration | lint | notebooks | bench: each makes .venv when it is missing, installs what it needs, and does its job.
# `make bench` measures bgmm beside its peers (benchmarks/run.py), in an environment of its own with several GB of them;
# QUICK=1 only shows that it works, ONLY="iteration memory" measures some of it.
# The environment is made once, with the first Python that fits; `make clean` and then `make PYTHON=/path/to/python3.13 demo`
# makes it with another.

PYTHON ?=
PIP = .venv/bin/python -m pip install -q -c constraints.txt
CANDIDATES = python3.13 python3.12 python3.14 python3 python
new_enough = import sys; raise SystemExit(sys.version_info < (3, 12))
works = .venv/bin/python -c '$(new_enough)' && .venv/bin/pip --version

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.ONESHELL:
.SHELLFLAGS = -ec
.NOTPARALLEL:
.PHONY: demo test calibration lint notebooks bench venv clean broken

demo: .venv/runtime
	@.venv/bin/bgmm demo

test: .venv/dev
	@.venv/bin/python -m pytest -n 2 --dist loadfile

calibration: .venv/dev
	@.venv/bin/python -m pytest -m slow

lint: .venv/dev
	@.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

notebooks: .venv/dev
	@.venv/bin/python notebooks/execute.py --check

bench: .venv/bench/ready
	@.venv/bench/bin/python -m benchmarks.run $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

venv: .venv/dev

clean:
	@rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps: .venv/runtime says that bgmm runs, .venv/dev that its checks run too.
# An environment whose Python no longer starts (removed, or the folder moved) is made anew, whatever its stamps say.
.venv/runtime .venv/dev: pyproject.toml constraints.txt $(shell { $(works); } >/dev/null 2>&1 || echo broken)

.venv/runtime:
	@$(environment)
	$(PIP) -e .
	touch .venv/runtime
	rm .venv/unfinished

.venv/dev:
	@$(environment)
	$(PIP) -e '.[dev]'
	touch .venv/runtime .venv/dev
	rm .venv/unfinished

# The peers all together if they install so, else one by one: bgmm is measured beside those that install.
.venv/bench/ready: benchmarks/requirements.txt .venv/runtime
	@.venv/bin/python -m venv .venv/bench
	install='.venv/bench/bin/python -m pip install -q -c constraints.txt'
	echo "installing what bgmm is measured against; this takes a few minutes"
	$$install -e .
	if ! $$install -r benchmarks/requirements.txt; then
		grep -v '^#' benchmarks/requirements.txt | while read -r peer; do
			$$install "$$peer" </dev/null || echo "$$peer does not install here; the benchmarks go on without it"
		done
	fi
	touch .venv/bench/ready

# Leaves an environment with pip and marks it .venv/unfinished, a mark that goes once the installation is complete:
# one that was interrupted is thrown away. A Python fits when it runs, is new enough and can make environments;
# all of the PATH is searched, because a shim of pyenv may hide a Python that works.
define environment
if [ -e .venv/unfinished ] || ! { $(works); } >/dev/null 2>&1; then
	python= bare=
	try() {
		"$$1" -c '$(new_enough)' </dev/null >/dev/null 2>&1 || return 0
		if "$$1" -c 'import ensurepip, venv' </dev/null >/dev/null 2>&1; then python=$$1; else bare=$$1; fi
	}
	if [ -n '$(PYTHON)' ]; then
		try '$(PYTHON)'
	else
		for name in $(CANDIDATES); do
			IFS=:
			for folder in $$PATH; do [ -n "$$python" ] || [ "$$folder" = '$(CURDIR)/.venv/bin' ] || try "$$folder/$$name"; done
			unset IFS
		done
	fi
	if [ -z "$$python" ]; then
		if [ -n "$$bare" ]; then
			echo "bgmm needs a Python that can make virtual environments, and $$bare lacks the module ensurepip or venv; install it (Debian and Ubuntu: apt install python3-venv), or name another Python: make PYTHON=/path/to/python3.13 $(or $(MAKECMDGOALS),demo)" >&2
		else
			echo "bgmm needs Python 3.12 or newer, and $(if $(PYTHON),$(PYTHON) is none,none was found on the PATH); install one, or say where it is: make PYTHON=/path/to/python3.13 $(or $(MAKECMDGOALS),demo)" >&2
		fi
		exit 1
	fi
	echo "making .venv with $$python; the first installation takes a minute or two"
	rm -rf .venv
	mkdir .venv
	touch .venv/unfinished
	"$$python" -m venv .venv
fi
touch .venv/unfinished
rm -f .venv/runtime .venv/dev
endef
