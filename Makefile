# The verbs of this project. Each makes .venv as far as it is missing (compose/bootstrap.sh) and needs no cleaning.
#
#   make demo      the whole of it in 90 seconds: real Kafka, real Postgres, checkouts, kills, and the books checked
#   make demo-rm45 RM 45.00, or RM 90.00: one charge with its protections switched one by one, in two minutes
#   make up, down  the local stack for play; its addresses are printed and stand in var/stack.json
#   make check     static checks, types, imports, and the pure tests
#   make test      check, the tests on real servers, and the demo in its fast mode
#   make test-all  what takes longer: crash points, restarts, wipes, PostgreSQL 16, the core on the other Pythons that are here
#   make mutants   each planted bug must turn a test red
#   make chaos     the shop sells while all that it stands on is broken, by a schedule: MINUTES=10 SEED=1
#   make bench     how fast it is here, in ratios to what this machine's Postgres can do
#   make lock      write the two locks of Python packages (needs uv)

SHELL := bash
DEMO := compose/bootstrap.sh demo
DEV := compose/bootstrap.sh dev
TEST_WORKERS ?= 2
MINUTES ?= 10
SEED := $(or $(SEED),$(shell echo $$RANDOM))

.PHONY: demo demo-rm45 up down check test test-all mutants chaos bench lock

demo:
	@exec $(DEMO) -m services.demo

demo-rm45:
	@exec $(DEMO) -m services.rm45

up:
	@exec $(DEMO) -m services.play up

down:
	@exec $(DEMO) -m orchestrator.local down --var var

check:
	@$(DEV)
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/python -c "from importlinter.cli import lint_imports_command as lint; lint()" --cache-dir var/import-linter
	.venv/bin/python -m pytest -q -n $(TEST_WORKERS) tests/unit
	@echo "The properties once more, with a random seed: SEED=$(SEED)"
	.venv/bin/python -m pytest -q -n $(TEST_WORKERS) -m hypothesis --hypothesis-profile random --hypothesis-seed $(SEED) tests/unit

test: check
	.venv/bin/python -m tests.run quick

test-all:
	@$(DEV)
	.venv/bin/python -m tests.run slow serial older pythons

mutants:
	@exec $(DEV) -m tests.mutants

# SEED names the schedule; ONLY=cut,swallow leaves the other kinds of faults out.
chaos:
	@exec $(DEMO) -m services.chaos --minutes $(MINUTES) --seed $(SEED) --only "$(ONLY)"

bench:
	@exec $(DEV) -m tests.bench

lock:
	uv pip compile pyproject.toml --extra local --group demo $(LOCK_OPTIONS) -o requirements.lock
	uv pip compile pyproject.toml --extra local --extra api --extra otlp --extra registry --group dev $(LOCK_OPTIONS) -c requirements.lock \
	    -o requirements-dev.lock

LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"
