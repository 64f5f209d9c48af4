# The whole project by a dozen targets; `make` lists them. Needs Python ≥ 3.11 and a Rust toolchain; installs
# everything else into .venv and proxy/target. No system packages, no Docker.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
CLUSTER ?= local
# The node image for CLUSTER=kind; empty: kind's own.
export BALANCE_LAB_KIND_IMAGE := $(KIND_IMAGE)
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps

.PHONY: help lab-up lab-down test lint test-rust test-python static conformance test-kind fuzz bench lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

lab-up: $(STAMPS)/lab ## pinned → even on the embedded cluster (the main job)
	@$(BIN)/lab up --on $(CLUSTER)

lab-down: ## end the lab and remove its state
	@if [ -x $(BIN)/lab ]; then $(BIN)/lab down --on $(CLUSTER); else echo "nothing is installed, so nothing runs"; fi

test: lint test-rust static test-python ## everything that must hold

lint: $(STAMPS)/dev ## formatting, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proxy && cargo fmt --check && cargo clippy --locked --all-targets --quiet -- -D warnings

test-rust: $(STAMPS)/tools ## the proxy's own tests
	cd proxy && cargo test --locked --release --quiet

test-python: $(STAMPS)/dev ## unit and local tiers
	$(BIN)/pytest

static: $(STAMPS)/tools ## build/static/ewma-proxy, one file for any Linux of this architecture
	./scripts/static-binary

test-kind: $(STAMPS)/dev ## the lab on a real cluster in docker (wants docker and kind; KIND_IMAGE=… as above)
	$(BIN)/pytest -m kind tests/kind

conformance: $(STAMPS)/dev ## other people's suites and clients, and the faults that take minutes
	./scripts/conformance-tools || echo "make: some tools are missing; their tests are skipped"
	$(BIN)/pytest -m 'long or not long' tests/conformance tests/proxy

# Coverage-guided, each target for so many seconds; new inputs stay in build/fuzz, a failing one is named and kept.
FUZZ := frames hpack connection_server connection_client relay detect http1
SECONDS ?= 600
fuzz: $(STAMPS)/tools ## every fuzz target for SECONDS=600 each (wants nightly; `make test` runs them on stable)
	@cargo +nightly --version >/dev/null 2>&1 || { echo "make: no nightly Rust, which cargo-fuzz wants; rustup toolchain install nightly"; exit 3; }
	@./scripts/conformance-tools --only-fuzz
	@for t in $(FUZZ); do \
		mkdir -p build/fuzz/$$t; \
		echo "fuzzing $$t for $(SECONDS) s …"; \
		(cd proxy && PATH="$$PATH:$(CURDIR)/build/tools/bin" CARGO_TARGET_DIR=$(CURDIR)/build/fuzz-target \
			cargo +nightly fuzz run --sanitizer none $$t $(CURDIR)/build/fuzz/$$t fuzz/seeds/$$t -- \
			-max_total_time=$(SECONDS) -max_len=2048 -timeout=10 -rss_limit_mb=1000 -verbosity=0 -print_final_stats=1) || exit 1; \
	done

bench: $(STAMPS)/dev ## beside the peers, 9 quiet minutes → docs/performance.md (BENCH=--quick for a look)
	@$(BIN)/python -m bench $(BENCH)

lock: ## pin the newest versions that pyproject.toml allows (wants `uv`)
	./scripts/lock

clean: lab-down ## remove all that was built or installed
	rm -rf $(VENV) build proxy/target *.egg-info

# What a new machine lacks is said in one line, before anything is built.
$(STAMPS)/tools:
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON); install Python 3.11 or newer"; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $$($(PYTHON) --version) is too old; install Python 3.11 or newer, then: make PYTHON=python3.12 …"; exit 3; }
	@command -v cargo >/dev/null || { echo "make: no cargo; install Rust with rustup (https://rustup.rs) or your distribution's cargo (1.85 or newer)"; exit 3; }
	@command -v cc >/dev/null || { echo "make: no C compiler, which Rust links with; install gcc or clang"; exit 3; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; install python3-venv"; exit 3; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/wheels: requirements.lock | $(STAMPS)/tools
	@echo "installing Python packages into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# One build for both languages: setup.py generates the protos, setuptools-rust compiles the proxy into .venv/bin.
SOURCES := pyproject.toml setup.py proxy/Cargo.toml proxy/Cargo.lock \
	$(shell find proxy/src demo_app/proto -name '*.rs' -o -name '*.proto')
$(STAMPS)/lab: $(SOURCES) $(STAMPS)/wheels
	@echo "building lab and ewma-proxy (the first time about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: requirements-dev.lock $(STAMPS)/lab
	@echo "installing test tools into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
