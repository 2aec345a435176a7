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
		while IFS="$$(printf '\t')" read -r name text; do printf '%-8s %s\n' "$$name" "$$text"; done

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
	$(TOOL) staticcheck ./...
	$(TOOL) staticcheck -tags failpoints ./...
	go test -count=1 ./internal/house

.PHONY: fmt
fmt: ## format all Go files with gofumpt
	$(TOOL) gofumpt -w .

.PHONY: bench
bench: ## run the benchmarks
	go run ./bench
