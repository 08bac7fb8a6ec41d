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

# A compiler that collects garbage less often takes a sixth less time, and some hundred MB more.
COMPILE  := GOGC=400
# All that is not for the race detector is built alike, so that each dependency is compiled once.
STATIC   := $(COMPILE) CGO_ENABLED=0 $(GO)

.PHONY: build
build: bin/speedctl ## build speedctl, the cloud, the operator and the agents into bin/
	$(STATIC) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cloud ./operator $(AGENTS:%=./agents/cmd/%)

.PHONY: bin/speedctl
bin/speedctl:
	$(STATIC) build -trimpath -ldflags '$(LDFLAGS)' -o bin/speedctl ./speedctl
	ln -sf speedctl bin/kubectl-speedscale
	cp completions/kubectl_complete-speedscale bin/

PREFIX ?= /usr/local
.PHONY: install
install: bin/speedctl ## install speedctl, the plugin of kubectl, and completions below PREFIX (/usr/local); DESTDIR is before it
	install -Dm755 bin/speedctl $(DESTDIR)$(PREFIX)/bin/speedctl
	ln -sf speedctl $(DESTDIR)$(PREFIX)/bin/kubectl-speedscale
	install -m755 completions/kubectl_complete-speedscale $(DESTDIR)$(PREFIX)/bin/
	install -Dm644 completions/speedctl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/speedctl
	install -Dm644 completions/speedctl.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_speedctl
	install -Dm644 completions/speedctl.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/speedctl.fish

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
$(DEMO_IMAGES:%=image/%): image/%: dist/root/java-demo-$(ARCH)
	@mkdir -p $(IMAGE_DIR)
	test/kubenode/kubenode image --arch $(ARCH) --user 2100:2100 $< speedscale/$*:$(VERSION) $(IMAGE_DIR)/$*.tar /java/bin/java -m demo/demo.Main $*

dist/root/java-demo-$(ARCH): demo/java/image.sh $(wildcard demo/java/src/*.java demo/java/src/demo/*.java) | cluster-deps
	demo/java/image.sh $@ $(ARCH)
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

GORELEASER := $(COMPILE) PATH="$(CURDIR)/bin:$$PATH" VERSION=$(VERSION) bin/goreleaser

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
	$(MAKE) images ARCH=$* IMAGE_DIR=dist/release-images/$* VERSION=$(VERSION)

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

# Where the tests in a cluster run: node (a node of this machine's own), kind, kubeconfig (the cluster of KUBECONFIG) or none.
E2E ?= $(if $(filter Linux0,$(shell uname -s)$(shell id -u)),node,none)

# The tests in a cluster wait more than they work, so that they run beside the others. What each prints comes when it has ended.
.PHONY: test
test: test-deps $(if $(filter none,$(E2E)),,cluster-deps) ## everything: vet, unit tests and user stories with the race detector, end-to-end tests, here and in a cluster
	@$(MAKE) --no-print-directory -j2 --output-sync=line test-here $(if $(filter none,$(E2E)),,cluster-e2e)
ifeq ($(E2E),none)
	@echo 'SKIPPED: the tests in a cluster: they need root on Linux for a node of their own, or E2E=kind or E2E=kubeconfig (test/kube/run.sh)' >&2
endif

# Packages are looked at once, and what is compiled serves at any path. The end-to-end tests build what they test, which
# the cache of results does not see.
RACE := $(GO) test -race -trimpath -vet=off -timeout 20m
.PHONY: test-here
test-here: test-deps ## what needs no cluster
	$(STATIC) vet -trimpath ./...
	$(COMPILE) $(GO) build -race -trimpath ./...
	$(RACE) $$($(GO) list ./... | grep -v /test/e2e$$)
	$(RACE) -count 1 ./test/e2e
	CGO_ENABLED=0 $(GO) test -trimpath ./agents/nonblock ./agents/goproxy

# Each compiles all dependencies once more, which is why tests do without.
.PHONY: cross
cross: ## build and vet what other systems run
	GOOS=darwin $(STATIC) vet -trimpath ./speedctl/... ./agents/... ./traffic/... ./cloud/... ./demo/...
	GOOS=windows $(STATIC) build -trimpath -o /dev/null ./speedctl

# The servers and clients that tests talk to come from Debian and npm. On other
# systems install them yourself; tests say loudly what they skip without them.
DEBS := bash-completion zsh=zsh fish=fish curl nginx-light redis-server redis-tools nghttp2-client nghttp2-server nftables iproute2 haproxy wrk netcat-openbsd openssl socat python3 gcc tmux node=nodejs npm=npm

.PHONY: test-deps
test-deps:
	@test/deps.sh $(DEBS)

# What images, the node and its tests need: installed here at once, since nobody else can install meanwhile.
.PHONY: cluster-deps
cluster-deps:
	@test/deps.sh debootstrap npm=npm conntrack javac=openjdk-17-jdk-headless runc iptables nftables containernetworking-plugins openssl curl gcc libc6-dev

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
test-images: cluster-deps
	test/kube/servers.sh dist/images
	test/kube/argo.sh dist/images
	GOOS=linux $(STATIC) build -trimpath -o dist/root/goclient/ ./test/kube/goclient
	test/kubenode/kubenode image dist/root/goclient speedscale-test/goclient:1 dist/images/goclient.tar /goclient

.PHONY: cluster-e2e
cluster-e2e: build images test-images ## the end-to-end test in Kubernetes, where E2E says
	GO='$(GO)' test/kube/run.sh $(if $(filter none,$(E2E)),node,$(E2E)) $(VERSION)

.PHONY: cluster-guides
cluster-guides: build images test-images ## what docs/ shows for a cluster, run as it is written, where E2E says
	SPEEDSCALE_E2E_GUIDES=1 GO='$(GO)' test/kube/run.sh $(if $(filter none,$(E2E)),node,$(E2E)) $(VERSION) -run TestGuides

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME each
	@test/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: build test-deps ## ratios against haproxy, nginx and wrk, measured in one run
	$(GO) run ./test/bench

.PHONY: startup
startup: bin/speedctl ## how long speedctl version takes, beside kubectl, and what its packages initialise
	@test/startup.sh bin/speedctl

.PHONY: screens
screens: bin/speedctl ## capture the screens of speedctl in docs/screens (needs tmux)
	docs/screens.sh

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
generate: ## regenerate what is made from .proto files (needs protoc, Debian's protobuf-compiler), from API types, docs/reference and completions
	cd tools && $(GO) build -o ../bin/ google.golang.org/protobuf/cmd/protoc-gen-go \
		connectrpc.com/connect/cmd/protoc-gen-connect-go google.golang.org/grpc/cmd/protoc-gen-go-grpc \
		sigs.k8s.io/controller-tools/cmd/controller-gen
	protoc $(PROTOC_GO) traffic/rrpair.proto
	protoc $(PROTOC_GO) $(PROTOC_CONNECT) cloud/api/v1/cloud.proto cloud/api/v1/replay.proto cloud/api/v1/control.proto \
		cloud/api/v1/telemetry.proto
	protoc $(PROTOC_GO) $(PROTOC_GRPC) demo/shop/inventory.proto
	bin/controller-gen object crd paths=./cluster/api/... output:crd:dir=charts/speedscale-operator/templates/crds
	$(GO) test -count 1 ./charts -run 'TestReadme$$' -update
	$(GO) test -count 1 ./test/docs/reference -update
	$(GO) test -count 1 ./speedctl/command -run TestReference -update-reference
	$(STATIC) build -o bin/speedctl ./speedctl
	bin/speedctl completion bash >completions/speedctl.bash
	bin/speedctl completion zsh >completions/speedctl.zsh
	bin/speedctl completion fish >completions/speedctl.fish
	bin/speedctl completion powershell >completions/speedctl.ps1

.PHONY: verify
verify: generate cross ## fail when generated code, go.mod or formatting is not up to date
	$(GO) mod tidy -diff
	test -z "$$(gofmt -l $$(git ls-files '*.go'))"
	git diff --exit-code

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
