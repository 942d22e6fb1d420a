# The project's vocabulary. `make demo` and `make test` install what they need.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

.PHONY: build demo test e2e lint audit install clean help

help: ## say what there is
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

build: ## the program, as it is shipped
	$(CARGO) build --release --locked -p docker-credential-quayfed

demo: ## show the whole way on this machine, and leave nothing behind
	@scripts/install-packages podman docker-registry jq curl ca-certificates
	$(CARGO) build --release --locked -p docker-credential-quayfed
	$(CARGO) build --locked -p quayfed-sandbox
	@scripts/demo

test: ## pass every test
	@scripts/install-packages strace util-linux ca-certificates
	$(CARGO) test --workspace --locked

e2e: ## play the helper with the programs that its users have
	@scripts/install-packages podman buildah skopeo docker-registry uidmap util-linux ca-certificates
	$(CARGO) test --locked --test e2e $(if $(PARTS),-- $(PARTS))

lint: ## check the source without running it
	@scripts/lint

audit: lint ## check the dependencies against the database of advisories (needs a network)
	.tools/bin/cargo-deny check advisories

install: build ## install what packaging/manifest lists, below DESTDIR and PREFIX
	@scripts/install packaging/manifest '$(DESTDIR)' '$(PREFIX)'

clean: ## remove what was built
	$(CARGO) clean
	rm -rf .tools
