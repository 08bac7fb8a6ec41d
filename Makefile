# Targets with a "##" comment are listed by `make help`.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X github.com/speedscale/speedscale/speedctl/command.version=$(VERSION)
AGENTS   := goproxy initproxy forwarder generator responder
FUZZTIME ?= 60s

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- building -------------------------------------------------------------

.PHONY: build
build: bin/speedctl ## build speedctl, the cloud, the operator and the agents into bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cloud ./operator $(AGENTS:%=./agents/cmd/%)

.PHONY: bin/speedctl
bin/speedctl:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/speedctl ./speedctl

.PHONY: demo
demo: bin/speedctl ## the main job: capture, snapshot, replay against two versions of a small shop
	bin/speedctl demo

# ---- testing --------------------------------------------------------------

.PHONY: test
test: test-deps ## everything: vet, unit tests and user stories with the race detector, end-to-end tests
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./speedctl/... ./agents/... ./traffic/... ./cloud/... ./demo/...
	$(GO) test -race -timeout 20m ./...
	$(GO) test ./agents/nonblock ./agents/goproxy

# The servers and clients that tests talk to come from Debian and npm. On other
# systems install them yourself; tests say loudly what they skip without them.
DEBS := curl nginx-light redis-server redis-tools nghttp2-client nghttp2-server nftables iproute2 haproxy wrk netcat-openbsd openssl socat python3 gcc node=nodejs npm=npm

.PHONY: test-deps
test-deps:
	@test/deps.sh $(DEBS)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME each
	@test/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: build test-deps ## ratios against haproxy, nginx and wrk, measured in one run
	$(GO) run ./test/bench

# ---- source ---------------------------------------------------------------

.PHONY: fmt
fmt: ## format
	gofmt -w $$(git ls-files '*.go')

# Its own module would need a go.mod of some 400 lines, so it is run by version.
.PHONY: lint
lint: ## golangci-lint with .golangci.yml (its first build takes minutes)
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run

PROTOC_GO := --plugin=bin/protoc-gen-go --go_out=. --go_opt=module=github.com/speedscale/speedscale
PROTOC_CONNECT := --plugin=bin/protoc-gen-connect-go --connect-go_out=. --connect-go_opt=module=github.com/speedscale/speedscale,simple
PROTOC_GRPC := --plugin=bin/protoc-gen-go-grpc --go-grpc_out=. --go-grpc_opt=module=github.com/speedscale/speedscale

.PHONY: generate
generate: ## regenerate what is made from .proto files (needs protoc, Debian's protobuf-compiler) and from API types
	cd tools && $(GO) build -o ../bin/ google.golang.org/protobuf/cmd/protoc-gen-go \
		connectrpc.com/connect/cmd/protoc-gen-connect-go google.golang.org/grpc/cmd/protoc-gen-go-grpc \
		sigs.k8s.io/controller-tools/cmd/controller-gen
	protoc $(PROTOC_GO) traffic/rrpair.proto
	protoc $(PROTOC_GO) $(PROTOC_CONNECT) cloud/api/v1/cloud.proto
	protoc $(PROTOC_GO) $(PROTOC_GRPC) demo/shop/inventory.proto
	bin/controller-gen object crd paths=./cluster/api/... output:crd:dir=charts/speedscale-operator/templates/crds

.PHONY: verify
verify: generate ## fail when generated code, go.mod or formatting is not up to date
	$(GO) mod tidy -diff
	test -z "$$(gofmt -l $$(git ls-files '*.go'))"
	git diff --exit-code

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
