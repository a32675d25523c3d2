# The two commands of the README, and what CI runs. Everything here also works by plain cargo, only slower:
# DuckDB is then built from source.
#
#   make demo     build the release binary and run the demo on ./.holdback
#   make test     all tests
#   make ci       what CI runs: fmt, clippy, docs, cargo-deny, make test
#   make bench    the criterion benches (BENCH=log for one)
#   make fuzz     the fuzz targets, SECONDS (60) each; see fuzz/README.md
#   make pictures the pictures in README.md
#   make install  put the binary and its DuckDB library under PREFIX (default ~/.local)

.PHONY: demo build test ci fmt lint docs deny bench fuzz install env pictures clean-demo

# The prebuilt library when it can be had, DuckDB from source otherwise. Asked once per make.
DUCKDB := $(shell scripts/get-duckdb.sh)
ifeq ($(DUCKDB),)
$(warning No prebuilt DuckDB: it will be built from source, which takes tens of minutes on two cores.)
FEATURES :=
else
export DUCKDB_LIB_DIR := $(DUCKDB)
FEATURES := --no-default-features --features linked
endif

TARGET := $(or $(CARGO_TARGET_DIR),target)
HOLDBACK := $(TARGET)/release/holdback
PREFIX ?= $(HOME)/.local

demo: build
	$(HOLDBACK) demo

build:
	cargo build --release --locked $(FEATURES)

# nextest runs tests in parallel across files; cargo test is there on every machine.
test:
	@if command -v cargo-nextest > /dev/null 2>&1; then \
	  cargo nextest run --locked --no-fail-fast $(FEATURES) && cargo test --locked --doc $(FEATURES); \
	else \
	  cargo test --locked --no-fail-fast $(FEATURES); \
	fi

fmt:
	cargo fmt --check

lint:
	cargo clippy --locked $(FEATURES) --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps $(FEATURES)

deny:
	scripts/cargo-deny.sh check bans licenses sources

ci: fmt lint docs deny test

bench:
	cargo bench --locked $(FEATURES) $(if $(BENCH),--bench $(BENCH))

fuzz:
	scripts/fuzz.sh $(or $(SECONDS),60) $(TARGETS)

install: build
	install -d $(PREFIX)/bin
	install -m 755 $(HOLDBACK) $(PREFIX)/bin/holdback
ifneq ($(DUCKDB),)
	install -d $(PREFIX)/lib/holdback
	install -m 644 $(DUCKDB)/libduckdb.* $(PREFIX)/lib/holdback/
endif

# eval "$(make env)" makes plain cargo (and the aliases in .cargo/config.toml) use the prebuilt library.
env:
	@echo "export DUCKDB_LIB_DIR=$(DUCKDB)"

# The pictures in README.md, made from what the commands really print.
pictures: build
	@mkdir -p docs/pictures
	$(HOLDBACK) --store $(TARGET)/picture-store demo --no-eval --color always 2>/dev/null \
	  | sed 's|$(abspath $(HOLDBACK))|holdback|; s|/[^ ]*/demo/demo-[a-z]*|a folder of its own|' | scripts/terminal-svg.py "make demo" > docs/pictures/demo.svg
	@rm -rf $(TARGET)/picture-store
	scripts/page-pictures.sh $(HOLDBACK) docs/pictures

clean-demo:
	rm -rf .holdback
