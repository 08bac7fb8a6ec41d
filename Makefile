# Targets with a "##" comment are listed by `make help`.

GO       ?= go
ifndef VERSION
VERSION  := $(shell tools/version.sh)
endif
LDFLAGS  := -s -w -X github.com/speedscale/speedscale/speedctl/command.version=$(VERSION)
AGENTS   := goproxy initproxy forwarder generator responder collector inspector
FUZZTIME ?= 60s

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- building -------------------------------------------------------------

# All that is not for the race detector is built alike, so that each dependency is compiled once.
STATIC   := CGO_ENABLED=0 $(GO)

.PHONY: build
build: bin/speedctl ## build speedctl, the cloud, the operator and the agents into bin/
	$(STATIC) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cloud ./operator $(AGENTS:%=./agents/cmd/%)

.PHONY: bin/speedctl
bin/speedctl:
	$(STATIC) build -trimpath -ldflags '$(LDFLAGS)' -o bin/speedctl ./speedctl

# Components that have an image, each built to run as USER_<component> (default 2100, as the charts have it).
IMAGES   := $(AGENTS) cloud operator speedctl
USER_goproxy := 2102:2102
# The usual roots, by which goproxy and the agents verify servers on the internet.
ROOTS    ?= /etc/ssl/certs/ca-certificates.crt

# Images are for this machine's architecture, unless ARCH names another.
ARCH      ?= $(shell $(GO) env GOARCH)
IMAGE_DIR ?= dist/images

# The demo is in Java: a runtime of its own, made by jlink from the JDK that builds it.
DEMO_IMAGES := java-server java-client

.PHONY: images
images: $(IMAGES:%=image/%) $(DEMO_IMAGES:%=image/%) ## write an image archive of each component into dist/images/, without registry or Docker

.PHONY: $(IMAGES:%=image/%)
$(IMAGES:%=image/%): image/%:
	@mkdir -p dist/root/$*-$(ARCH)/etc/ssl/certs $(IMAGE_DIR)
	cp $(ROOTS) dist/root/$*-$(ARCH)/etc/ssl/certs/ca-certificates.crt
	GOOS=linux GOARCH=$(ARCH) $(STATIC) build -trimpath -ldflags '$(LDFLAGS)' -o dist/root/$*-$(ARCH)/$* ./$(if $(filter $*,$(AGENTS)),agents/cmd/)$*
	test/kubenode/kubenode image --arch $(ARCH) --user $(or $(USER_$*),2100:2100) dist/root/$*-$(ARCH) speedscale/$*:$(VERSION) $(IMAGE_DIR)/$*.tar /$*

.PHONY: $(DEMO_IMAGES:%=image/%)
$(DEMO_IMAGES:%=image/%): image/%: dist/root/java-demo
	@mkdir -p dist/images
	test/kubenode/kubenode image --user 2100:2100 $< speedscale/$*:$(VERSION) dist/images/$*.tar /java/bin/java -m demo/demo.Main $*

dist/root/java-demo: demo/java/image.sh $(wildcard demo/java/src/*.java demo/java/src/demo/*.java)
	@test/deps.sh javac=openjdk-17-jdk-headless
	demo/java/image.sh $@
	@touch $@

.PHONY: demo
demo: bin/speedctl ## the main job: capture, snapshot, replay against two versions of a small shop
	bin/speedctl demo

# ---- releasing ------------------------------------------------------------

# Both are built once; their own modules would need go.mod files of some 600 lines.
bin/goreleaser:
	GOBIN=$(CURDIR)/bin $(STATIC) install github.com/goreleaser/goreleaser/v2@v2.16.0

bin/cyclonedx-gomod:
	GOBIN=$(CURDIR)/bin $(STATIC) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

GORELEASER := PATH="$(CURDIR)/bin:$$PATH" VERSION=$(VERSION) bin/goreleaser

.PHONY: release-snapshot
release-snapshot: bin/goreleaser bin/cyclonedx-gomod ## a whole release into dist/release, without publishing or signing it (docs/releasing.md)
	$(GORELEASER) check
	$(GORELEASER) release --snapshot --clean --skip=sign
	@find dist/release -maxdepth 2 -type f \( -path '*homebrew/*' -o -path '*krew/*' -o ! -path 'dist/release/*/*' \) -exec ls -l {} +

ARCHS := amd64 arm64

.PHONY: release-images
release-images: $(ARCHS:%=release-images/%) ## write image archives for each architecture into dist/release-images/ARCH

.PHONY: $(ARCHS:%=release-images/%)
$(ARCHS:%=release-images/%): release-images/%:
	$(MAKE) $(IMAGES:%=image/%) ARCH=$* IMAGE_DIR=dist/release-images/$* VERSION=$(VERSION)

bin/crane:
	GOBIN=$(CURDIR)/bin $(STATIC) install github.com/google/go-containerregistry/cmd/crane@v0.21.6

.PHONY: push
push: bin/crane ## push release-images to REGISTRY, each component as one image of all architectures
	tools/push.sh dist/release-images $(REGISTRY) $(VERSION)

.PHONY: release-test
release-test: ## install what release-snapshot made, as users do, and go through the quick start with it
	@test/deps.sh curl python3 jq
	test/release.sh dist/release $(VERSION)

# ---- testing --------------------------------------------------------------

# The end-to-end tests build what they test, which the cache of results does not see.
.PHONY: test
test: test-deps ## everything: vet, unit tests and user stories with the race detector, end-to-end tests
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./speedctl/... ./agents/... ./traffic/... ./cloud/... ./demo/...
	GOOS=windows $(STATIC) build -trimpath -o /dev/null ./speedctl
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v /test/e2e$$)
	$(GO) test -race -timeout 20m -count 1 ./test/e2e
	$(GO) test ./agents/nonblock ./agents/goproxy

# The servers and clients that tests talk to come from Debian and npm. On other
# systems install them yourself; tests say loudly what they skip without them.
DEBS := curl nginx-light redis-server redis-tools nghttp2-client nghttp2-server nftables iproute2 haproxy wrk netcat-openbsd openssl socat python3 gcc node=nodejs npm=npm

.PHONY: test-deps
test-deps:
	@test/deps.sh $(DEBS)

# The node's programs are built once, which takes minutes, and kept in ~/.cache/kubenode.
.PHONY: cluster-up
cluster-up: ## start a real single-node Kubernetes (Linux, root); prints the kubeconfig to use
	@test/kubenode/kubenode up

.PHONY: cluster-down
cluster-down: ## end it, without a trace
	@test/kubenode/kubenode down

.PHONY: cluster-test
cluster-test: ## test the node itself
	cd test/kubenode && $(GO) vet ./... && $(GO) test -count 1 -timeout 30m -v ./...

# Third-party servers in images, made from Debian's packages, npm and Go modules, and kept beside the node's programs.
.PHONY: test-images
test-images:
	@test/deps.sh debootstrap npm=npm conntrack
	test/kube/servers.sh dist/images
	test/kube/argo.sh dist/images
	GOOS=linux $(STATIC) build -trimpath -o dist/root/goclient/ ./test/kube/goclient
	test/kubenode/kubenode image dist/root/goclient speedscale-test/goclient:1 dist/images/goclient.tar /goclient

.PHONY: cluster-e2e
cluster-e2e: build images test-images ## the end-to-end test in Kubernetes, on a node of its own (Linux, root)
	eval "$$(test/kubenode/kubenode up)" && export PATH="$${KUBENODE_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/kubenode}/bin:$$PATH" && \
	test/kubenode/kubenode load dist/images/*.tar && SPEEDSCALE_E2E_VERSION=$(VERSION) $(STATIC) test -trimpath -count 1 -timeout 40m -parallel 12 -v ./test/kube; \
	status=$$?; test/kubenode/kubenode down; exit $$status

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
	protoc $(PROTOC_GO) $(PROTOC_CONNECT) cloud/api/v1/cloud.proto cloud/api/v1/replay.proto cloud/api/v1/control.proto \
		cloud/api/v1/telemetry.proto
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
