# The verbs of this repository. Each installs what it needs (scripts/setup.sh) and remembers that under target/.

SHELL := /bin/bash
DESIGN ?= default
OUT ?= target/generate/$(basename $(notdir $(DESIGN)))
BOARD ?= ulx3s
TRACE_SKIP ?= 100000
TRACE_TAKE ?= 300000

.DEFAULT_GOAL := help
.PHONY: help demo test test-long verify generate lint check bench engines studies size areas families synth pnr trace traces slurm docs book

help: ## This list
	@echo "Pasidon: a PASID-aware IOMMU and its driver. make VERB, where VERB is one of:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || grep '## ' Makefile

demo: ## Real programs' accesses through bound PASIDs, on simulated hardware (DESIGN=default)
	@scripts/demo.sh $(DESIGN)

test: ## Unit tests, co-simulation, lint of the emitted Verilog
	@scripts/test.sh

test-long: ## The same with more interleavings of the driver (SCHEDULES=2000), lint of every random design and corner (LINT=all), synthesis for every family, a sweep through Slurm, and the long verification: 59 million operations in lockstep, mutants, coverage (hours)
	@SCHEDULES=$${SCHEDULES:-2000} LINT=$${LINT:-all} STOCK="$${STOCK:-tiny default large full}" scripts/test.sh && scripts/families.sh tiny && scripts/slurm.sh && scripts/verify.sh

verify: ## The long verification alone, kept in docs/verification.md: PART="lockstep stress mutation coverage" [SHARE=percent MUTANTS=n]
	@scripts/verify.sh $(PART)

generate: ## Verilog of a design: DESIGN=name or file, OUT=folder
	@scripts/setup.sh core
	@cargo run --quiet --release -p pasidon -- generate --design $(DESIGN) --out $(OUT)

lint: ## Every Verilog tool at hand reads every shipped design
	@scripts/lint.sh

check: ## Formatting, clippy and rustdoc, warnings are errors
	@scripts/check.sh

bench: ## Cycles per translation and speed of the simulation; kept in docs/baseline.md
	@scripts/bench.sh

engines: ## How the fast engine and the RTL agree, and how fast the fast engine is; kept in docs/engines.md (minutes)
	@scripts/engines.sh

studies: ## The studies of studies/ and what is worth building: sweeps, tables and pictures of the book (minutes) [STUDY="gemm nic"]
	@scripts/studies.sh $(STUDY)

size: ## What the driver for C takes in a program without an operating system
	@scripts/size.sh

synth: ## Cells per module on ECP5 for tiny and default; kept in docs/baseline.md
	@scripts/synth.sh $(if $(filter command line,$(origin DESIGN)),$(DESIGN),tiny default)

families: ## Cells on ECP5, iCE40, 7-series and as gates; kept in docs/baseline.md for tiny (DESIGN=name or file; a minute for tiny)
	@scripts/families.sh $(if $(filter command line,$(origin DESIGN)),$(DESIGN),tiny)

areas: ## Cells of every design of a sweep, for the picture of cost and speed in its report: SWEEP=studies/worth.toml (minutes for each)
	@scripts/areas.sh $(SWEEP)

pnr: ## Place and route for a board: BOARD=ulx3s; clock and critical path kept in docs/baseline.md
	@scripts/pnr.sh $(BOARD)

trace: ## Record any program: PROG="gzip -9 -c FILE" [NAME=n TRACE_SKIP=n TRACE_TAKE=n]
	@scripts/trace.sh '$(PROG)' '$(NAME)' $(TRACE_SKIP) $(TRACE_TAKE)

traces: ## Record the traces of traces/ anew
	@scripts/setup.sh core
	@scripts/setup.sh trace
	@scripts/setup.sh traces
	@scripts/shipped-traces.sh

slurm: ## A sweep through a real Slurm of one node on this machine (as root), compared with the same sweep without it
	@scripts/slurm.sh

docs: ## The book's generated pages, and the API documentation in target/doc
	@scripts/docs.sh

book: ## The book (docs/) as a site in target/book
	@scripts/book.sh
