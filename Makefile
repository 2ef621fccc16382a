# Two commands are all: `git clone`, then one of these. Each installs what is missing (Debian) first.
CARGO ?= cargo

.PHONY: help demo test lint bench microbench soak chaos model simulation revisions fuzz regress isolation driver-suites setup
.DEFAULT_GOAL := help

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

demo: setup ## The whole story on two servers of its own, in about a minute after building
	$(CARGO) build --quiet --package segue --package harness --bin segue --bin demo
	@$(CARGO) run --quiet --package harness --bin demo

test: ## Units, property tests and tests on real servers with real drivers, and `make lint`
	@tests/setup.sh test
	$(CARGO) test --workspace
	@$(MAKE) --no-print-directory lint

lint: ## Formatting and clippy, with warnings as errors
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings

bench: ## Direct, pgbouncer and Segue, side by side (a quarter of an hour; BENCH="--only select --rounds 5")
	@tests/setup.sh bench
	$(CARGO) build --quiet --release --package segue --package benches
	@$(CARGO) run --quiet --release --package benches -- $(BENCH)

microbench: setup ## The parts of the hot path by themselves
	$(CARGO) bench --quiet --package benches --bench hot_path

soak: setup ## Every kind of load for a while, and the memory of each process (BENCH="--seconds 300")
	$(CARGO) build --quiet --release --package segue --package benches
	@$(CARGO) run --quiet --release --package benches -- soak $(BENCH)

chaos: setup ## kill -9 of everything under load, then the reckoning (SECONDS=.. SEED=..)
	$(CARGO) build --quiet --package segue --package harness --bin segue --bin chaos
	@$(CARGO) run --quiet --package harness --bin chaos -- "$(SECONDS)" "$(SEED)"

model: setup ## The rules in every order of their steps: pairs of features, then chance (SECONDS=.. SEED=..)
	@$(CARGO) run --quiet --package model -- "$(SECONDS)" "$(SEED)"

simulation: setup ## The decisions in a seeded world of a few keys: one seed again (SEED=..)
	SEED="$(SEED)" $(CARGO) test --quiet --package protocol --lib -- simulation::the_seed_of_the_command_line_passes

revisions: setup ## The inequality that both paths rest on, under concurrent writers (SECONDS=.. SEED=..)
	@$(CARGO) run --quiet --package harness --bin revisions -- "$(SECONDS)" "$(SEED)"

# No parser needs 64 MB at once, or ten seconds, for the few kilobytes that libFuzzer gives it. On the
# sanitizer's stand-in stacks PostgreSQL's parser thinks that it is too deep.
fuzz: export ASAN_OPTIONS = detect_stack_use_after_return=0
fuzz: ## libFuzzer on one parser, or on each in turn (TARGET=.. SECONDS=..; with a nightly compiler)
	@tests/setup.sh fuzz
	@$(CARGO) run --quiet --package fuzz-entries --bin seeds -- fuzz/corpus
	@set -e; for target in $(or $(TARGET),$$($(CARGO) +nightly fuzz list)); do \
	  echo "fuzz: $$target"; \
	  $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(or $(SECONDS),60) \
	    -timeout=10 -malloc_limit_mb=64 -print_final_stats=1; done

regress: setup ## PostgreSQL's own regression suite, directly and through the proxy (MIRROR=off|dry|on TESTS=..)
	$(CARGO) build --quiet --package segue --package harness --bin segue --bin suites
	@source=$$(tests/suites/prepare.sh) && $(CARGO) run --quiet --package harness --bin suites -- $@ "$(MIRROR)" "$$source" $(TESTS)

isolation: setup ## PostgreSQL's isolation suite, in the same way
	$(CARGO) build --quiet --package segue --package harness --bin segue --bin suites
	@source=$$(tests/suites/prepare.sh) && $(CARGO) run --quiet --package harness --bin suites -- $@ "$(MIRROR)" "$$source" $(TESTS)

driver-suites: setup ## The test suites of drivers, directly and through the proxy (MIRROR=dry|off SUITES=..)
	@tests/drivers/suites.sh
	$(CARGO) build --quiet --package segue --package harness --bin segue --bin driver_suites
	@$(CARGO) run --quiet --package harness --bin driver_suites -- "$(MIRROR)" $(SUITES)

setup: ## What building and testing needs, installed if missing
	@tests/setup.sh
