# vsnat: build, test, measure. Needs Go and make, nothing else.

export CGO_ENABLED = 0
GO ?= go
BIN = bin/vsnat
PREFIX ?= /usr/local

.PHONY: build install run test test-race fuzz e2e bench microbench profile docs lint clean

build: ## bin/vsnat, and links to it by the names of ipvsadm
	$(GO) build -trimpath -o $(BIN) ./cmd/vsnat
	for name in ipvsadm ipvsadm-save ipvsadm-restore; do ln -sf vsnat bin/$$name; done

install: build ## under $(DESTDIR)$(PREFIX): the program, its names, man pages, completion
	install -D $(BIN) $(DESTDIR)$(PREFIX)/sbin/vsnat
	for name in ipvsadm ipvsadm-save ipvsadm-restore; do ln -sf vsnat $(DESTDIR)$(PREFIX)/sbin/$$name; done
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/man/*.1
	for shell in bash/bash-completion/completions/vsnat zsh/zsh/site-functions/_vsnat fish/fish/vendor_completions.d/vsnat.fish; do \
	  mkdir -p $(DESTDIR)$(PREFIX)/share/$$(dirname $${shell#*/}) && \
	  $(BIN) completion $${shell%%/*} > $(DESTDIR)$(PREFIX)/share/$${shell#*/} || exit 1; done

run: build ## the paper's experiment, in network namespaces on this machine
	$(BIN) bench paper $(ARGS)

test: build lint ## everything
	./.ci/test

bench: build ## vsnat beside the kernel, the engine in memory, and how its cost grows; bench-*.json get the raw figures
	$(BIN) bench engine --out bench-engine.json
	$(BIN) bench path --out bench-path.json
	$(BIN) bench scale --path bench-path.json --out bench-scale.json

microbench: ## benchmarks of single packages
	$(GO) test -run '^$$' -bench . -benchtime 200ms ./nat/... ./sched/... ./conntrack/... ./nic/neigh ./nic/merge ./cmd/vsnat/internal/daemon

profile: ## cmd/vsnat/default.pgo, by which the compiler chooses what to inline; after larger changes of the engine
	$(GO) test -trimpath -o bin/profile.test -run '^$$' -bench 'Forward|Connect|Methods' -benchtime 300ms -cpuprofile cmd/vsnat/default.pgo ./nat

docs: ## man pages and the API's description, of the program's verbs and types
	$(GO) test ./cmd/vsnat -run UpToDate -count 1 -update

lint: ## vet, staticcheck, gofumpt
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@out=$$($(GO) tool gofumpt -l cmd nat sched conntrack nic bench); \
	  if [ -n "$$out" ]; then echo "gofumpt would change: $$out"; exit 1; fi

clean:
	rm -rf bin
