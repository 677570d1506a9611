# MemGuard for OpenTelemetry. `make help` lists the targets.

SHELL   := /bin/bash
GO      ?= go
TOOL    := $(GO) tool -modfile=internal/tools/go.mod
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-unknown)
LDFLAGS := -s -w
CMDPKG  := main.version=$(VERSION)
GOFILES := $(shell git ls-files --cached --others --exclude-standard '*.go' 'go.mod' 'go.sum' 2>/dev/null)
COMPONENTS := receiver/memguardreceiver processor/leakdetectprocessor connector/leakeventconnector extension/autofixextension

.DEFAULT_GOAL := help
.PHONY: help build build-testbed run demo test e2e bench generate lint tidy validate vuln ci clean

help: ## list the targets
	@awk 'BEGIN{FS=":.*## "} /^[a-z0-9-]+:.*## /{printf "  %-14s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

build: bin/otelcol-memguard bin/memguard ## build the collector and the command line into bin/

bin/otelcol-memguard: builder-config.yaml $(GOFILES)
	@mkdir -p bin build
	env 'dist.version=$(VERSION)' $(TOOL) builder --config=builder-config.yaml --ldflags='$(LDFLAGS)'
	@install -m 0755 build/otelcol-memguard/otelcol-memguard $@
	@ls -l $@ | awk '{printf "%s: %.1f MB\n","$@",$$5/1e6}'

bin/memguard: $(GOFILES)
	@mkdir -p bin build
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS) -X $(CMDPKG)' -o $@ ./cmd/memguard

build-testbed: ## build the test distribution (with host_metrics and prometheus receivers) into build/
	@mkdir -p build
	env 'dist.version=$(VERSION)' $(TOOL) builder --config=testbed/builder-config.yaml --ldflags='$(LDFLAGS)'

run: build ## run the collector on this host in dry_run with examples/host/config.yaml
	@scripts/run-host.sh

demo: build ## show a real leak found, explained, reported and repaired (under two minutes)
	$(GO) run ./testbed/demo

test: ## unit and integration tests, race detector on
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /testbed/e2e)

e2e: build ## end-to-end tests of the built binary
	$(GO) test -timeout 20m -count=1 -v ./testbed/e2e/...

bench: ## benchmarks of all packages
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 1s ./internal/... ./receiver/... ./processor/... ./connector/... ./extension/...

generate: ## run mdatagen over every component
	@for c in $(COMPONENTS); do echo "mdatagen $$c"; (cd $$c && $(GO) tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml) || exit 1; done
	@gofmt -l $(COMPONENTS)

lint: ## golangci-lint with the strict list
	$(TOOL) golangci-lint run ./...

tidy: ## go mod tidy, the tools module too
	$(GO) mod tidy
	cd internal/tools && $(GO) mod tidy

validate: build ## validate every YAML in examples/ and start each for two seconds
	@scripts/validate-examples.sh

vuln: ## known vulnerabilities in what we call
	$(TOOL) govulncheck ./...

ci: ## what CI runs: no diff after generate and tidy, lint, race tests, build, validate, e2e
	@scripts/ci.sh

clean: ## remove what was built
	rm -rf bin build
