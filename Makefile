# The commands of this repository. CI runs the same.
# Needed: Rust (rustup.rs), Go 1.26 or newer for the tests' Kubernetes, Python 3 with pip or Go for nats-server.

.PHONY: help up up-testbed test test-fast lint bench testbed static

help: ## Show this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-11s %s\n", $$1, $$2 }'

up: ## Start Vitals on your current kubeconfig; without one, a demo on two simulated clusters
	cargo build --release --locked --bins -p vitals
	exec target/release/vitals up

up-testbed: ## Start Vitals on a real Kubernetes that is built for it (8 minutes, once)
	cargo build --release --locked --bins -p vitals -p vitals-tests
	exec target/release/vitals-testbed up -- target/release/vitals up

test: lint testbed static ## Run everything: build, lints, all tests (52 minutes on a fresh machine, 24 once the testbed is built)
	target/debug/vitals-testbed skipped --forget > /dev/null
	cargo test --workspace --locked
	@target/debug/vitals-testbed skipped

test-fast: ## Run the tests that need no cluster
	cargo build --workspace --locked --bins
	target/debug/vitals-testbed skipped --forget > /dev/null
	VITALS_SKIP_CLUSTER_TESTS=1 cargo test --workspace --locked
	@target/debug/vitals-testbed skipped

lint: ## Check formatting, lints and links in docs
	cargo fmt --all --check
	cargo clippy --workspace --locked --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings --allow rustdoc::private_intra_doc_links" cargo doc --workspace --locked --no-deps --document-private-items --quiet

testbed: ## Build the tests' Kubernetes ahead of the tests (8 minutes on two cores, once)
	cargo build --workspace --locked --bins
	@test "$$VITALS_SKIP_CLUSTER_TESTS" = 1 || target/debug/vitals-testbed build

static: ## Build hub and agent as in their images: static, to run in an empty root (3 minutes on two cores, once)
	RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"' cargo build --locked --target "$$(rustc -vV | sed -n 's/^host: //p')" -p vitals-agent -p vitals-hub --bins

bench: ## Measure, beside baselines in the same run (half an hour; PARTS="read core fan-out crowd changes memory first-sync propagation" or some)
	cargo build --release --locked --bins --examples -p vitals -p vitals-hub -p vitals-hub-core -p vitals-tests
	@# By itself, as it is installed: without what only the others ask of the crates that they share.
	cargo build --release --locked -p vitals-agent
	target/release/examples/bench $(PARTS)
