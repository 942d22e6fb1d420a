# The project's vocabulary. `make demo` and `make test` install what they need.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
NEEDED_BY_TESTS = strace util-linux groff-base openssl libcap2-bin time systemd python3-prometheus-client zsh fish \
	ca-certificates

.PHONY: build demo test test-loaded e2e lint audit bench bench-check pictures install uninstall clean \
	help

help: ## say what there is
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## the program, its completions and its manual page, as they are shipped
	$(CARGO) build --release --locked -p docker-credential-quayfed
	@scripts/generate target/release/docker-credential-quayfed target/generated

demo: ## show the whole way on this machine, and leave nothing behind
	@scripts/install-packages podman docker-registry jq curl ca-certificates
	$(CARGO) build --release --locked -p docker-credential-quayfed
	$(CARGO) build --locked -p quayfed-sandbox
	@scripts/demo

test: ## pass every test
	@scripts/install-packages $(NEEDED_BY_TESTS)
	@scripts/install-httpproxy
	$(CARGO) test --workspace --locked
	@scripts/test-as-user
	@$(MAKE) --no-print-directory e2e

test-loaded: ## pass the tests several times beside busy loops (RUNS=5)
	@scripts/install-packages $(NEEDED_BY_TESTS)
	@scripts/install-httpproxy
	@scripts/test-loaded $(RUNS)

e2e: ## play the helper with the programs that its users have
	@scripts/install-packages podman buildah skopeo docker-registry docker.io uidmap util-linux \
		python3-venv curl ca-certificates
	@scripts/install-libraries
	@scripts/install-keycloak || true
	$(CARGO) test --locked --test e2e $(if $(PARTS),-- $(PARTS))

lint: ## check the source without running it
	@scripts/lint

audit: lint ## check the dependencies against the database of advisories (needs a network)
	.tools/bin/cargo-deny check advisories

bench: ## measure everything against floors and peers, and write docs/performance.md (a quarter of an hour)
	@scripts/install-packages musl-tools valgrind strace time ca-certificates curl python3-requests \
		amazon-ecr-credential-helper golang-docker-credential-helpers pass gnupg skopeo docker-registry
	@scripts/bench measure

bench-check: ## hold what does not depend on the machine's mood to its limits
	@scripts/install-packages musl-tools valgrind strace time ca-certificates
	@scripts/bench check

pictures: ## draw the pictures of the documents anew, from the screens that the tests hold
	UPDATE_PICTURES=1 $(CARGO) test --quiet --locked --test it screens::pictures

install: ## after `make build`: install what packaging/manifest lists, below DESTDIR and PREFIX
	@scripts/install packaging/manifest '$(DESTDIR)' '$(PREFIX)'

uninstall: ## remove what `make install` installed, below the same DESTDIR and PREFIX
	@scripts/uninstall packaging/manifest '$(DESTDIR)' '$(PREFIX)'

clean: ## remove what was built
	$(CARGO) clean
	rm -rf .tools
