# Skerry: `make demo` shows it, `make test` proves it. Both do all the set-up on a fresh Debian 12 machine.
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
LINTED := src tests demo bench soak
APT := runc crun conmon nftables iptables iproute2 iputils-ping wireguard-go wireguard-tools openssh-server openssh-client \
       busybox-static mmdebstrap skopeo nginx-light docker.io ufw systemd dbus python3-venv curl debian-archive-keyring ca-certificates

.PHONY: help setup venv bundle wheel demo test lint fast real e2e bench guest soak sim fuzz clean

help:            ## what can be made
	@grep -E '^[a-z]+: .*##|^[a-z]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

setup: build/.apt venv     ## Debian packages and the virtual environment

build/.apt: Makefile
	@mkdir -p build
	@missing=$$(for p in $(APT); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then echo "installing:" $$missing; \
	  flock /tmp/skerry-apt.lock sh -c "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$(echo $$missing)" >build/apt.log 2>&1 \
	  || { tail -20 build/apt.log; exit 1; }; fi
	@touch $@

venv: .venv/.done          ## .venv with the command .venv/bin/skerry

.venv/.done: requirements.txt pyproject.toml | build/.apt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

bundle: build/bundle/.done ## the agent with its own Python and libc, one file

build/bundle/.done: $(shell find src/skerry -type f -not -name "*.pyc" -not -path "*/cli/*" -not -path "*/lab/*" -not -path "*/sim/*") | venv
	$(BIN)/python -m skerry.client.bundle build/bundle
	@touch $@

wheel: bundle              ## the package with the agent in it, as it is published: build/dist
	@rm -rf build/wheel build/dist && mkdir -p build/wheel
	@cp -r src pyproject.toml README.md LICENSE build/wheel/ && cp build/bundle/skerry-agent-*.tar.gz build/wheel/src/skerry/data/
	$(BIN)/pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w build/dist build/wheel

demo: setup bundle         ## three machines, no centre, a real app, a killed machine, an update
	$(BIN)/python -m demo --json build/demo.json

bench: setup bundle        ## the figures of docs/benchmarks.md; wants a quiet machine for 20 minutes
	$(BIN)/python -m bench --json build/bench.json

test: setup lint fast bundle real e2e  ## everything that CI runs

lint: venv
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: venv       ## pure and in-process tests
	$(BIN)/pytest -m 'not real and not e2e'

real: setup      ## real containers, namespaces, machines
	$(BIN)/pytest -m 'real and not e2e'

# Side by side: both mostly wait for machines. What concerns hosts has labs of its own, the rest shares one.
OF_HOSTS := tests/e2e/test_hosts.py tests/e2e/test_takeover.py tests/e2e/test_lab.py
e2e: setup bundle ## a whole cloud in the lab, and its faults
	@mkdir -p build; set -m; $(BIN)/pytest -m e2e --durations=8 $(OF_HOSTS) >build/e2e-hosts.log 2>&1 & hosts=$$!; \
	trap 'kill -INT $$hosts; wait $$hosts' INT TERM; \
	$(BIN)/pytest -m e2e --durations=8 $(addprefix --ignore=,$(OF_HOSTS)) tests/e2e; rest=$$?; \
	wait $$hosts; of_hosts=$$?; cat build/e2e-hosts.log; exit $$((rest + of_hosts))

guest: setup bundle build/.apt-guest  ## one host is a virtual machine: its own kernel, cgroup v2, kernel WireGuard
	$(BIN)/python -m soak.cgroup2

soak: setup bundle build/.apt-guest  ## the guest, then an hour of random faults and deploys: make soak MINUTES=10 SEED=7
	@guest=0; $(BIN)/python -m soak.cgroup2 || guest=1; \
	$(BIN)/python -m soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) && exit $$guest

MINUTES ?= 60
SEEDS ?= 1000
FIRST ?= 0

sim: venv        ## random clouds in one process on virtual time: make sim SEEDS=5000 FIRST=0
	$(BIN)/python -m skerry.sim.run --seeds $(SEEDS) --first $(FIRST) --faults 8
	$(BIN)/python -m skerry.sim.run --seeds $$(($(SEEDS) / 4)) --first $(FIRST) --faults 8 --whole
	$(BIN)/python -m skerry.sim.run --seeds $$(($(SEEDS) / 20)) --first $(FIRST) --siege

build/.apt-guest: Makefile
	@flock /tmp/skerry-apt.lock sh -c "apt-get install -y -q --no-install-recommends qemu-system-x86 mmdebstrap e2fsprogs" >build/apt-guest.log 2>&1 \
	|| { tail -20 build/apt-guest.log; exit 1; }
	@touch $@

FUZZ_S ?= 60
fuzz: venv       ## coverage-guided fuzzing of everything that reads others' bytes: FUZZ_S seconds for each target
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r tests/fuzz/requirements.txt
	PYTHONPATH=src:tests $(BIN)/python -m fuzz --seconds $(FUZZ_S)

clean:           ## take down what a demo or test may have left, and what was built
	-$(BIN)/skerry lab down --all
	rm -rf build
