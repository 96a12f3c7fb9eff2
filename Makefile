# Each recipe is one script that also works on its own; what it does and why is written there.
# On a fresh machine `make demo` and `make test` need Python 3.11 or newer, git and make, and set up the rest.

FUZZ_SECONDS ?= 60

.PHONY: help setup check test soak demo accuracy fuzz bench bench-gateway bench-duels docs clean
.NOTPARALLEL:

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

setup: ## Make .venv with all that development needs
	@scripts/setup dev

check: setup ## Lint, format, types, walls between the rooms, house rules
	@scripts/check

test: setup ## Install what the tests run against, check, run every test, hold the coverage
	@scripts/setup clients
	@scripts/debian-packages
	@scripts/check
	@scripts/test

soak: ## The long tests whole: gigabytes, thousands of clients, 100,000 mutated requests; well over an hour
	@scripts/setup dev
	@scripts/debian-packages
	@scripts/soak

demo: ## Local APIs, the gateway, its dashboard and a workload, until Ctrl-C; DEMO_SECONDS=20 ends it with a table
	@scripts/setup gateway
	@.venv/bin/egressor demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

bench: ## Measure against the peers, side by side
	@scripts/setup bench
	@.venv/bin/python -m bench

bench-gateway: ## Measure the gateway against nginx, a bare aiohttp proxy and LiteLLM's proxy
	@scripts/setup bench
	@scripts/setup litellm
	@.venv/bin/python -m bench.gateway

bench-duels: ## Our client and gateway beside LiteLLM's Router and proxy, case by case against one upstream
	@scripts/setup bench
	@scripts/setup litellm
	@.venv/bin/python -m bench.duels

accuracy: setup ## Measure the classifier on the labelled cases; the confusions of the half that its rules were not written on
	@.venv/bin/python scripts/accuracy.py

fuzz: ## Look for inputs that break the readers of answers and exceptions, for a minute; FUZZ_SECONDS=600 looks longer
	@scripts/setup fuzz
	@.venv/bin/python scripts/fuzz.py --seconds $(FUZZ_SECONDS)

docs: setup ## Build the pages into docs/_build/html; a broken reference fails
	@.venv/bin/python -m sphinx -W -n --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean: ## Remove .venv, caches and built things
	@scripts/clean
