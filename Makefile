# Tasks of this repository; `.ci/run` uses them, too.

SECONDS ?= 3

.PHONY: help test lint deny fuzz package release bench

help:
	@echo "make test      all tests, or some: make test TESTS='--test docs'"
	@echo "make lint      rustfmt and clippy"
	@echo "make deny      licences, sources and advisories of dependencies"
	@echo "make fuzz      every fuzz target for SECONDS=$(SECONDS) seconds"
	@echo "make package   the Debian packages, built and tried as root"
	@echo "make release   programs for x86_64, aarch64 and armv7, built and tried"
	@echo "make bench     berth beside other servers"

test:
	cargo test --no-fail-fast $(TESTS)

lint:
	cargo fmt --check
	rustfmt --check --edition 2024 fuzz/src/main.rs
	cargo clippy --all-targets -- -D warnings

deny:
	cargo deny --all-features check licenses bans sources
	@if git ls-remote -q https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then \
		cargo deny --all-features check advisories; \
	else echo "advisories are not checked: their database cannot be reached"; fi

fuzz:
	fuzz/run all $(SECONDS)

package:
	conf/package/try --debug

release:
	conf/package/build-release
	conf/package/try-release

bench:
	benches/compare.py
