# Skerry: `make demo` shows it, `make test` proves it. Both do all the set-up on a fresh Debian 12 machine.
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
LINTED := src tests demo bench soak
APT := runc crun conmon nftables iptables iproute2 iputils-ping wireguard-go wireguard-tools openssh-server openssh-client \
       busybox-static mmdebstrap skopeo systemd dbus python3-venv curl debian-archive-keyring ca-certificates
APT_E2E := nginx-light docker.io ufw  # what hosts are found with: for tests alone, a demo changes nothing of this machine
APT_REAL := docker-registry docker.io buildah strace uidmap procps gdb tcpdump bpftrace linux-perf chromium \
            libvirt-clients libvirt-daemon qemu-utils libxml2-utils libarchive-tools sudo  # what images are handed to and watched with, libvirt's test driver: for tests alone
APT_ELASTIC := wrk  # makes the load
APT_NODE := $(if $(shell command -v npm),,nodejs npm)  # whoever has another node keeps it
APT_LEASES := etcd-server etcd-client  # to be compared with
APT_SWARM := docker.io  # to be compared with
APT_GUEST := qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients e2fsprogs

unexport PYTHONDONTWRITEBYTECODE  # each module is compiled once, not by every lot and every command that a test starts
export SKERRY_ALL_TESTS := 1  # all that tests call is installed here: none may be left out for want of it

.PHONY: help setup venv bundle wheel demo demo-elastic test timed lint fast images real e2e rules bench bench-images bench-elastic bench-leases bench-swarm guest guests soak sim seeds mutations fuzz clean

help:            ## what can be made
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

setup: build/.apt venv     ## Debian packages and the virtual environment

define install
	@mkdir -p build
	@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then echo "installing:" $$missing; \
	  flock /tmp/skerry-apt.lock sh -c "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$(echo $$missing)" >build/apt.log 2>&1 \
	  || { tail -20 build/apt.log; exit 1; }; fi
	@touch $@
endef

build/.apt: Makefile
	$(call install,$(APT))

build/.apt-e2e: Makefile
	$(call install,$(APT_E2E))

build/.apt-real: Makefile
	$(call install,$(APT_REAL) $(APT_NODE))

build/.apt-elastic: Makefile
	$(call install,$(APT_ELASTIC))

build/.apt-leases: Makefile
	$(call install,$(APT_LEASES))

build/.apt-swarm: Makefile
	$(call install,$(APT_SWARM))

build/.apt-guest: Makefile
	$(call install,$(APT_GUEST))

venv: .venv/.done          ## .venv with the command .venv/bin/skerry

.venv/.done: requirements.txt tests/library/requirements.txt tests/api/requirements.txt tests/machines/requirements.txt tests/sim/requirements.txt tests/ui/requirements.txt tests/observe/requirements.txt tests/runtime/requirements.txt pyproject.toml | build/.apt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r tests/library/requirements.txt -r tests/api/requirements.txt -r tests/machines/requirements.txt -r tests/sim/requirements.txt -r tests/ui/requirements.txt -r tests/observe/requirements.txt -r tests/runtime/requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

bundle: build/bundle/.done ## the agent with its own Python and libc, one file

build/bundle/.done: $(shell find src/skerry -type f -not -name "*.pyc" -not -path "*/cli/*" -not -path "*/lab/*" -not -path "*/sim/*") | venv
	SKERRY_HOME=build $(BIN)/python -m skerry.client.bundling build/bundle
	@touch $@

wheel: bundle              ## the package with the agent in it, as it is published: build/dist
	@rm -rf build/wheel build/dist && mkdir -p build/wheel
	@cp -r src pyproject.toml README.md LICENSE build/wheel/ && cp build/bundle/skerry-agent-*.tar.gz build/wheel/src/skerry/data/
	$(BIN)/pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w build/dist build/wheel

demo: setup bundle         ## three machines, no centre, a real app, a killed machine, an update
	$(BIN)/python -m demo --json build/demo.json

demo-elastic: setup bundle build/.apt-elastic  ## load rises: replicas, rented machines; load falls: all given back, to zero, woken
	$(BIN)/python -m demo.elastic --json build/demo-elastic.json

bench: setup bundle        ## the figures of docs/benchmarks.md; wants a quiet machine for 20 minutes
	$(BIN)/python -m bench --json build/bench.json

bench-images: setup build/.apt-real  ## the figures of images in docs/benchmarks.md; 20 minutes or less
	$(BIN)/python -m bench.images --json build/bench-images.json

bench-elastic: venv       ## what growing and shrinking costs on loads, beside Kubernetes and others; 3 minutes
	$(BIN)/python -m bench.elastic --json build/bench-elastic.json

bench-leases: setup bundle build/.apt-leases  ## leases beside etcd's on three lab hosts; 3 minutes
	$(BIN)/python -m bench.leases --json build/bench-leases.json

bench-swarm: setup bundle build/.apt-swarm  ## beside Docker Swarm on three lab hosts; 8 minutes
	$(BIN)/python -m bench.swarm --json build/bench-swarm.json

test: setup build/.apt-real build/.apt-e2e  ## everything that CI runs
	@$(MAKE) --no-print-directory --jobs --output-sync=target lint fast images bundle timed

# Tests that watch the time, one room after the other; what only calculates has the processors that these leave idle. One run tells of
# all that is broken.
timed:
	@failed=0; for room in real e2e rules; do $(MAKE) --no-print-directory $$room || failed=1; done; exit $$failed

IDLY := nice -n 19

lint: venv
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(IDLY) $(BIN)/mypy
	$(BIN)/lint-imports

# Lots of tests side by side, as most of them wait: $(1) the marker, $(2) lots that run beside the rest, each with a log of its own,
# $(3) the rest; $(4) how it gives way where that does nothing but calculate. Who calculates gives way to who watches the time.
define side_by_side
	@mkdir -p build; set -m; beside=(); \
	$(foreach lot,$(2),$(if $(filter $(lot),$(BUSY)),$(IDLY) )$(BIN)/pytest -m '$(1)' --durations=8 $($(lot)) >build/$@-$(lot).log 2>&1 & beside+=($$!);) \
	trap 'kill -INT $${beside[*]}; wait $${beside[*]}' INT TERM; \
	$(4) $(BIN)/pytest -m '$(1)' --durations=8 $(3) $(foreach lot,$(2),$(addprefix --ignore=,$($(lot)))); failed=$$?; \
	for lot in $${beside[*]}; do wait $$lot || failed=1; done; \
	cat $(foreach lot,$(2),build/$@-$(lot).log); exit $$failed
endef
AGENTS := tests/agent
CLIENTS := tests/client
LINKS := tests/attacks tests/mesh
PROGRAMS := tests/api tests/sdk tests/cli/top
SCREENS := tests/ui tests/machines
IMAGES := tests/image
LIBRARY := tests/library
BUSY := LIBRARY
KILLS := tests/e2e/test_kills.py tests/e2e/test_network.py tests/e2e/test_lint.py tests/e2e/test_disks.py \
         tests/e2e/test_image_budget.py tests/e2e/test_api_app.py
HOSTS := tests/e2e/test_hosts.py
LABS := tests/e2e/test_takeover.py tests/e2e/test_lab.py
LOADS := tests/e2e/test_waking.py tests/e2e/test_scale.py tests/e2e/test_rented.py tests/e2e/test_attacks.py \
         tests/e2e/test_databases.py
RULES := tests/e2e/test_exclusive.py tests/e2e/test_captured.py
PLACES := tests/e2e/test_rollouts.py tests/e2e/test_isolated.py tests/e2e/test_election.py tests/e2e/test_placement.py  # the first three share a cloud

fast: venv       ## pure and in-process tests
	$(call side_by_side,not real and not e2e,AGENTS CLIENTS LINKS PROGRAMS,tests,$(IDLY))

prism: build/prism/.done   ## a second opinion on what is asked of DigitalOcean: for tests alone

build/prism/.done: tests/machines/prism/package-lock.json | build/.apt-real
	@rm -rf build/prism && mkdir -p build/prism && cp tests/machines/prism/package*.json build/prism/
	npm ci --prefix build/prism --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

images: setup build/.apt-real  ## real images, built and run
	$(call side_by_side,real and not e2e,LIBRARY,$(IMAGES),$(IDLY))

real: setup build/.apt-real prism  ## real containers, namespaces, machines
	$(call side_by_side,real and not e2e,AGENTS SCREENS,tests $(addprefix --ignore=,$(IMAGES) $(LIBRARY)))

e2e: setup bundle build/.apt-e2e ## whole clouds in the lab, and their faults
	$(call side_by_side,e2e,HOSTS LABS KILLS LOADS,tests/e2e $(addprefix --ignore=,$(RULES) $(PLACES)))

rules: setup bundle build/.apt-e2e ## whole clouds again: leases, captured hosts, rollouts, placement, apps kept apart
	$(call side_by_side,e2e,PLACES,$(RULES))

guest: setup bundle build/.apt-guest  ## one host is a virtual machine: its own kernel, cgroup v2, kernel WireGuard
	$(BIN)/python -m soak.cgroup2

guests: setup bundle build/.apt-guest  ## libvirt and QEMU: a guest of one's own hypervisor joins a cloud and runs a container; 10 minutes
	$(BIN)/python -m soak.guests

soak: setup bundle build/.apt-guest  ## the guest, guests by libvirt, the situations of docs/debugging.md, then an hour of random faults and deploys: make soak MINUTES=10 SEED=7
	@guest=0; $(BIN)/python -m soak.cgroup2 || guest=1; \
	$(BIN)/python -m soak.guests || guest=1; \
	$(BIN)/python -m soak.debugging || guest=1; \
	$(BIN)/python -m soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) && exit $$guest

MINUTES ?= 60
SEEDS ?= 1000
FIRST ?= 0

sim: venv        ## random lives of clouds, and keepers with every fault of a provider, on virtual time: make sim SEEDS=5000 FIRST=0
	$(BIN)/python -m skerry.sim.run --seeds $(SEEDS) --from $(FIRST)
	$(BIN)/python -m skerry.sim.faults --random $(SEEDS) --first $(FIRST) --json build/faults.json

seeds: venv      ## lives, on and on, with a running count in build/seeds.json: make seeds HOURS=8
	$(IDLY) $(BIN)/python -m soak.seeds --hours $(HOURS)

HOURS ?= 1

mutations: venv   ## each rule of the design broken on purpose, one at a time, and the tests that notice: build/mutations.json
	$(IDLY) $(BIN)/python -m soak.mutations --json build/mutations.json

FUZZ_S ?= 60
fuzz: venv       ## coverage-guided fuzzing of everything that reads others' bytes, FUZZ_S seconds for each target: make fuzz FUZZ_S=600 UNTIL=10000000
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r tests/fuzz/requirements.txt
	PYTHONPATH=src:tests $(IDLY) $(BIN)/python -m fuzz --seconds $(FUZZ_S) $(if $(UNTIL),--until $(UNTIL))

clean:           ## take down what a demo or test may have left, and what was built
	-$(BIN)/skerry lab down --all
	rm -rf build
