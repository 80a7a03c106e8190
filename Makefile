# The targets are thin: what they do is in test/run, test/parts and test/bench.
# Nothing here needs root; `make test REQUIRE_ALL=1` does.

export CGO_ENABLED ?= 0

GO       ?= go
FUZZTIME ?= 10s
BARS     ?=
SIZES    ?= 1000,10000,100000

.DEFAULT_GOAL := help

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The version comes from git through the build's own record (debug.ReadBuildInfo); without git it is (devel).
.PHONY: build
build: ## build bin/bonded: static, no paths of this machine in it
	$(GO) build -buildvcs=auto -trimpath -ldflags '-s -w' -o bin/bonded ./cmd/bonded

# A module of its own: it is linked with the C library and loads that of the token.
.PHONY: pkcs11
pkcs11: ## build bin/sigstore-kms-bonded-pkcs11, which keeps keys in an HSM (needs gcc)
	CGO_ENABLED=1 $(GO) build -C cmd/bonded-pkcs11 -buildvcs=auto -trimpath -ldflags '-s -w' -o $(CURDIR)/bin/sigstore-kms-bonded-pkcs11 .

.PHONY: test
test: ## run linters and all suites that can run here; REQUIRE_ALL=1 installs what is missing and lets none be skipped
	$(GO) run ./test/run test $(if $(filter 1,$(REQUIRE_ALL)),-require-all)

.PHONY: race
race: ## run the tests of our packages with the race detector (needs gcc)
	CGO_ENABLED=1 $(GO) test -race ./api/... ./client/... ./internal/...

.PHONY: lint
lint: ## run the linters alone
	$(GO) run ./test/run lint

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	$(GO) run ./test/run fuzz -time $(FUZZTIME)

.PHONY: bench
bench: build ## measure every bar, write docs/bench.md; BARS=REGEXP chooses, SIZES=1000,2000,4000 makes growth cheaper
	eval "$$(test/parts/peers.sh start)" && $(GO) run ./test/bench -out docs/bench.md -bars '$(BARS)' -sizes '$(SIZES)'

.PHONY: conformance
conformance: ## run the official OCI conformance programs on each storage; REQUIRE_ALL=1 installs what is missing
	$(GO) run ./test/run conformance $(if $(filter 1,$(REQUIRE_ALL)),-require-all)

.PHONY: demo
demo: build ## see it work, step by step; KEEP=1 leaves the server up
	KEEP=$(KEEP) test/demo/demo.sh

.PHONY: generate
generate: ## rewrite what is derived from the code: docs/dependencies.txt and other goldens of the house
	$(GO) test ./test/house -update

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin
