# surgegate. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := $(CURDIR)/build/bin
export PATH := $(BIN):$(PATH)

# Tools are built from the module proxy at fixed versions, into build/bin.
CYCLONEDX_VERSION := v1.10.0
BUF_VERSION := v1.75.0
GOLANGCI_VERSION := v2.15.0
PROTOC_GEN_GO_VERSION := v1.36.12
PROTOC_GEN_GO_GRPC_VERSION := v1.6.2
GOVULNCHECK_VERSION := v1.9.0
GHZ_VERSION := v0.93.0
K6_VERSION := v1.8.1
GRPCURL_VERSION := v1.9.4
PROMETHEUS_VERSION := v0.316.0

RULES = $(filter-out %_test.yml,$(wildcard dashboards/prometheus/*.yml))
GO_FILES := $(wildcard $(shell git ls-files -co --exclude-standard '*.go' 2>/dev/null))
PACKAGES := . ./cmd/... ./deploy/... ./internal/... ./pkg/... ./loadtest/... ./proto/... ./dashboards/...
# Virtual time on one goroutine: nothing to race, and the detector makes minutes of seconds.
VIRTUAL     = ./loadtest/control ./loadtest/simulate
CONCURRENT  = $$(go list $(PACKAGES) | grep -vE 'loadtest/(control|simulate)$$')

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: $(BIN)/surgegate $(BIN)/surgectl $(BIN)/storm ## Build the programs into build/bin

$(BIN)/surgegate $(BIN)/surgectl $(BIN)/storm: $(BIN)/%: $(GO_FILES) go.mod go.sum build/version
	$(GO_BUILD) -o $@ ./cmd/$*

# Static programs, which know their version in a Git worktree and without a repository too.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || echo devel)
COMMIT ?= $(shell c=$$(git rev-parse --short=12 HEAD 2>/dev/null) && git diff --quiet HEAD && echo $$c || echo $${c:+$$c-dirty})
GO_BUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X $(VERSION_PACKAGE).linkedVersion=$(VERSION) -X $(VERSION_PACKAGE).linkedCommit=$(COMMIT)'
VERSION_PACKAGE = github.com/surgegate/surgegate/pkg/version

# Changes only when the version does: then the programs are linked again.
build/version: FORCE
	@mkdir -p build; echo '$(VERSION) $(COMMIT)' | cmp -s - $@ || echo '$(VERSION) $(COMMIT)' > $@

.PHONY: release
release: $(BIN)/cyclonedx-gomod ## Release archives of VERSION with completions and man pages, checksums and SBOMs, into build/release
	OUT=$(or $(OUT),$(CURDIR)/build/release) VERSION=$(VERSION) COMMIT=$(COMMIT) PLATFORMS='$(PLATFORMS)' \
	  SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) SBOM_TOOL=$(BIN)/cyclonedx-gomod deploy/release
PLATFORMS ?= linux/amd64 linux/arm64
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: image
image: build podman ## Container image surgegate:VERSION, built with podman
	deploy/image build/image $(BIN)
	podman build --tag surgegate:$(VERSION) build/image

.PHONY: demo
demo: build ## Replay one reset storm twice: straight at a store that falls over, then through surgegate
	$(BIN)/storm demo --surgegate $(BIN)/surgegate --out build/demo

.PHONY: test
test: build gcc chromium postgresql tmux systemd podman rules $(BIN)/cyclonedx-gomod $(BIN)/grpcurl $(BIN)/ghz $(BIN)/prometheus ## All tests with the race detector: unit, conformance, crash, canary, rules
	go test -race -run '^$$' $(CONCURRENT) >/dev/null # builds with all cores; the tests then run one package at a time,
	go test -race -p 1 -timeout 10m $(CONCURRENT)      # because some of them measure time
	go test -p 1 -timeout 10m $(VIRTUAL)
	cd dashboards/gen && go test -race ./...
	cd deploy/kubecheck && go test ./...

.PHONY: rules
rules: $(BIN)/promtool ## Prometheus rules: lint, then every alert shown to fire and to resolve
	$(BIN)/promtool check rules --lint=all --lint-fatal $(RULES)
	cd dashboards/prometheus && $(BIN)/promtool test rules *_test.yml

.PHONY: grpcurl
grpcurl: $(BIN)/grpcurl ## Build grpcurl into build/bin, to call the API by hand

.PHONY: race
race: ## Only the packages in PKG, with the race detector, twice
	go test -race -count 2 $(or $(PKG),$(PACKAGES))

.PHONY: lint
lint: $(BIN)/golangci-lint ## golangci-lint: layers (depguard), the clock rule, style
	$(BIN)/golangci-lint run --timeout 15m

.PHONY: generate
generate: $(BIN)/buf $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc ## Generate the Go code of the protos
	cd proto && $(BIN)/buf generate

.PHONY: example
example: ## The conformance suite against the JavaScript backend of proto/examples/node (Node.js 20 and npm)
	cd proto/examples/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	go test -count 1 -tags node ./proto/examples/node

.PHONY: dashboards
dashboards: dashboards-json build $(BIN)/prometheus ## Generate the Grafana dashboards and start what is needed to look at them
	dashboards/look

.PHONY: dashboards-json
dashboards-json:
	cd dashboards/gen && go run . ../grafana

.PHONY: dashboards-types
dashboards-types: dashboards-json ## Check the dashboards against the types of Grafana's own schema (npm, 60 MB)
	dashboards/types/check build/types dashboards/grafana/*.json

.PHONY: verify
verify: lint generate dashboards-json ## Lint, layers, buf, generated files fresh, known vulnerabilities
	@test -z "$$(gofmt -l $(GO_FILES))" || { echo "gofmt would change: $$(gofmt -l $(GO_FILES))"; exit 1; }
	go mod tidy -diff
	cd proto && $(BIN)/buf lint
	@tag=$$(git describe --tags --abbrev=0 2>/dev/null || true); if [ -n "$$tag" ]; then cd proto && $(BIN)/buf breaking --against "../.git#tag=$$tag,subdir=proto"; else echo "buf breaking: no release tag yet, nothing to compare with"; fi
	for m in dashboards/gen deploy/kubecheck; do (cd $$m && go mod tidy -diff && $(BIN)/golangci-lint run --timeout 15m); done
	@test -z "$$(git status --porcelain -- dashboards/grafana)" || { echo "dashboards are stale: commit what 'make dashboards-json' has made"; exit 1; }
	@test -z "$$(git status --porcelain -- proto)" || { echo "generated code is stale: run 'make generate' and commit proto/"; git status --porcelain -- proto; exit 1; }
	@$(MAKE) --no-print-directory vulncheck

.PHONY: vulncheck
vulncheck: $(BIN)/govulncheck
	@out=$$($(BIN)/govulncheck ./... 2>&1) && echo "$$out" | tail -n 1 || { \
	  if grep -qE 'vuln\.go\.dev|fetching vulnerabilities|dial tcp|no such host' <<<"$$out"; then echo "govulncheck did not run: its database cannot be reached from here"; \
	  else echo "$$out"; exit 1; fi; }

.PHONY: bench
bench: build postgresql bench-tools ## Benchmarks with their reference in the same run; writes build/bench/summary.json
	$(BIN)/storm bench --out build/bench

.PHONY: faults
faults: build $(BIN)/prometheus ## Does surgectl status tell the truth? Every fault, on a quiet and on a busy machine (25 minutes)
	$(BIN)/storm bench --out build/faults --only diagnosis,starved

.PHONY: rehearsals
rehearsals: build ## The README's demo and rehearsals beside four busy loops, N (default 5) times each (10 minutes for each N)
	$(BIN)/storm bench --out build/rehearsals --only rehearsals --rounds $(or $(N),5)

.PHONY: bench-tools
bench-tools: $(BIN)/ghz $(BIN)/k6 $(BIN)/prometheus ## The load generators and the Prometheus that storm bench runs, into build/bin

.PHONY: fuzz
fuzz: ## Fuzz every parser and opener, FUZZTIME (default 1m) each
	@for pkg in $$(go list $(PACKAGES)); do for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	  echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),1m) $$pkg; done; done

.PHONY: crash
crash: ## N (default 100) rounds of kill -9 and power cuts under load, on the engine and on the program
	SURGEGATE_CRASH_ROUNDS=$(or $(N),100) go test -run 'Kill|Conformance/.*/power' -timeout 6h -v ./pkg/queue/embedded ./pkg/app

.PHONY: clean
clean: ## Remove build/
	rm -rf build

.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  if $(APT); then $(INSTALL) chromium >/dev/null; \
	  elif [ -n "$${CI:-}" ]; then echo "the report test needs Chromium: apt-get install chromium"; exit 1; \
	  else echo "the report test will not run: it needs Chromium (apt-get install chromium)"; fi; }

.PHONY: tmux
tmux:
	@command -v tmux >/dev/null || { \
	  if $(APT); then $(INSTALL) tmux >/dev/null; \
	  elif [ -n "$${CI:-}" ]; then echo "the live view's test needs tmux: apt-get install tmux"; exit 1; \
	  else echo "the live view's test will not run: it needs tmux (apt-get install tmux)"; fi; }

.PHONY: postgresql
postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  if $(APT); then $(INSTALL) postgresql >/dev/null; \
	  elif [ -n "$${CI:-}" ]; then echo "the tests of the PostgreSQL store need a server: apt-get install postgresql"; exit 1; \
	  else echo "the tests of the PostgreSQL store will not run: they need a server (apt-get install postgresql)"; fi; }

.PHONY: systemd
systemd:
	@command -v systemd-analyze >/dev/null || { \
	  if $(APT); then $(INSTALL) systemd >/dev/null; \
	  elif [ -n "$${CI:-}" ]; then echo "the test of the unit needs systemd-analyze: apt-get install systemd"; exit 1; \
	  else echo "the test of the unit will not run: it needs systemd-analyze (apt-get install systemd)"; fi; }

.PHONY: podman
podman:
	@{ command -v podman && command -v buildah && command -v runc && ls /etc/ssl/certs/ca-certificates.crt; } >/dev/null 2>&1 || { \
	  if $(APT); then $(INSTALL) --no-install-recommends podman buildah runc ca-certificates >/dev/null; \
	  elif [ -n "$${CI:-}" ]; then echo "the test of the image needs podman: apt-get install podman buildah runc ca-certificates"; exit 1; \
	  else echo "the test of the image will not run: it needs podman (apt-get install podman buildah runc ca-certificates)"; fi; }

.PHONY: gcc
gcc:
	@command -v gcc >/dev/null || { if $(APT); then $(INSTALL) gcc libc6-dev >/dev/null; \
	  else echo "the race detector needs a C compiler: apt-get install gcc libc6-dev"; exit 1; fi; }

# Debian packages are installed only by root on Debian; elsewhere they are named.
APT = [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null
INSTALL = apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq

$(BIN)/buf:
	GOBIN=$(BIN) go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
$(BIN)/golangci-lint:
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
$(BIN)/cyclonedx-gomod:
	GOBIN=$(BIN) go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
$(BIN)/protoc-gen-go:
	GOBIN=$(BIN) go install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO_VERSION)
$(BIN)/protoc-gen-go-grpc:
	GOBIN=$(BIN) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC_VERSION)
$(BIN)/govulncheck:
	GOBIN=$(BIN) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
$(BIN)/grpcurl:
	GOBIN=$(BIN) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL_VERSION)
$(BIN)/ghz:
	GOBIN=$(BIN) go install github.com/bojand/ghz/cmd/ghz@$(GHZ_VERSION)
$(BIN)/k6:
	GOBIN=$(BIN) go install go.k6.io/k6@$(K6_VERSION)
# Without service discovery: its clouds' libraries are most of the build, and nothing here is discovered.
$(BIN)/prometheus $(BIN)/promtool: $(BIN)/%:
	GOBIN=$(BIN) go install -tags remove_all_sd github.com/prometheus/prometheus/cmd/$*@$(PROMETHEUS_VERSION)

# The same by their short names, as the tests' messages have them.
build/bin/%: FORCE
	@$(MAKE) --no-print-directory $(BIN)/$*
FORCE:
