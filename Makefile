# The commands of Hoga. On a fresh Debian machine with Rust, `make run` and `make test` set up
# whatever else they need.

.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-bids bench-fanout bench-memory flood openapi setup

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Set up what is missing and start the exchange on its embedded default
	@scripts/setup
	@[ -x "$${CARGO_TARGET_DIR:-target}/quick/hoga" ] || echo "make run: compiling Hoga and the libraries that it uses. The first time takes about 5 minutes on two cores, and the last crate, hoga itself, longest; later starts take seconds."
	@scripts/run

test: ## Set up what is missing and pass every test, on a private Postgres
	@scripts/setup test
	scripts/test

check: ## Formatting, lints, docs, the API document, dependencies
	@scripts/setup test
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet
	scripts/check-openapi
	scripts/check-contract
	scripts/check-dependencies

bench: bench-bids bench-fanout bench-memory ## Every benchmark

bench-bids: ## Bids a second against row locks, PL/pgSQL and the HTTP ceiling
	@scripts/setup test
	cargo bench --bench bids

bench-fanout: ## Events to 10,000 viewers against nginx with nchan, and beside bidders
	@scripts/setup bench
	cargo bench --bench fanout -- $(ARGS)

bench-memory: ## Memory of 100,000 live auctions
	@scripts/setup test
	cargo bench --bench memory

flood: ## 22,000 slow forms against the server, while others bid and ask after its health
	@scripts/setup test
	cargo bench --profile dev --bench flood -- $(ARGS)

openapi: ## Write openapi/openapi.json
	cargo run --quiet -- openapi > openapi/openapi.json

setup: ## Install what is missing
	@scripts/setup test
