# House tooling. `make` alone lists the targets.
#
# build, demo and test need Go, git and make: no C compiler, no other package.
# check and fmt fetch staticcheck and gofumpt, pinned in tools/go.mod; race needs a C compiler.

VERSION := $(or $(shell git describe --always --dirty 2>/dev/null),dev)
TOOL    := go tool -modfile=tools/go.mod

# Packages whose tests need the fail points compiled in; those that do not exist are left out.
FAULTY := $(patsubst %,./%/...,$(wildcard internal/fault internal/crash))

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
		while IFS="$$(printf '\t')" read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

.PHONY: build
build: ## build bin/jobcontrol, a static binary
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/jobcontrol ./cmd/jobcontrol

.PHONY: demo
demo: build ## build, then run the movie-night example
	./examples/movie-night/demo.sh

.PHONY: test
test: ## run all tests, those of the fail points included
	CGO_ENABLED=0 go test -count=1 -timeout 9m ./...
	CGO_ENABLED=0 go test -count=1 -timeout 9m -tags failpoints $(FAULTY)

.PHONY: race
race: ## run all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -count=1 -timeout 20m ./...
	CGO_ENABLED=1 go test -race -count=1 -timeout 20m -tags failpoints $(FAULTY)

.PHONY: check
check: ## check formatting, go vet, staticcheck and the rules of the house
	@files=$$($(TOOL) gofumpt -l .) || exit 1; \
	if [ -n "$$files" ]; then printf 'not formatted, run make fmt:\n%s\n' "$$files"; exit 1; fi
	go vet ./...
	go vet -tags failpoints ./...
	go vet -C tools ./...
	$(TOOL) staticcheck ./...
	$(TOOL) staticcheck -tags failpoints ./...
	go test -count=1 ./internal/house

.PHONY: fmt
fmt: ## format all Go files with gofumpt
	$(TOOL) gofumpt -w .

.PHONY: screenshots
screenshots: build ## record the pictures of the documentation anew
	go run -C tools ./screenshots -program $(CURDIR)/bin/jobcontrol -o $(CURDIR)/docs/pictures

.PHONY: postgres
postgres: ## start an empty PostgreSQL server to try things with, until it is interrupted
	go run ./internal/pgtest/serve

.PHONY: bench
bench: ## run the benchmarks
	go run ./bench

.PHONY: bench-queue
bench-queue: ## run other queues and ours side by side (ARGS='-only drain -rounds 1 -scale 0.05' for a short one)
	go run -C bench/peers . $(ARGS)

FUZZTIME ?= 60s
.PHONY: fuzz
fuzz: ## fuzz every target, each for FUZZTIME
	tools/fuzz.sh $(FUZZTIME)

.PHONY: chaos
chaos: ## break the queue in every way and check its promises (root for some; up to 45 minutes; SEED=1)
	CGO_ENABLED=0 go test -count=1 -v -timeout 60m -tags failpoints -run 'TestChaos|TestTakeover' ./internal/chaos -chaos.minutes=45 -chaos.seed=$(or $(SEED),1)

.PHONY: faults
faults: ## do to files, jobs, disks and logs what happens to them in the end; prints a table (root for some; 15 minutes; SEED=1 ONLY=F22,disk SCALE=1)
	CGO_ENABLED=0 go test -count=1 -v -timeout 60m -run TestFaults ./internal/faults -faults.scale=$(or $(SCALE),1) -faults.seed=$(or $(SEED),1) -faults.only=$(ONLY)

.PHONY: soak
soak: ## an hour of busy workers, in which no lease may end
	CGO_ENABLED=0 go test -count=1 -v -timeout 90m -run TestChaos ./internal/chaos -chaos.soak=1h
