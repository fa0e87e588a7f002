# SPDX-License-Identifier: BSD-3-Clause
#
# duet: the whole build, in one file.  `make help` lists the targets.
#
#   make check                  plain build, below build/
#   make check SAN=address      ASan, UBSan and LSan, below build-address/
#   make check SAN=thread       TSan, below build-thread/
#   make CC=clang               below build-clang/
#
# Every build folder is complete in itself; build-deps/ is shared by all
# and survives `make clean`.

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

ifeq ($(origin CC),default)
CC := gcc
endif
SAN ?=

# ------------------------------------------------------------- sources

# Pure: no system calls, clock, threads, allocation after start.
# `make tidy` looks at what these objects import.
PURE := \
  replicator/core.c \
  replicator/core-open.c \
  replicator/core-etcd.c \
  replicator/core-lease.c \
  replicator/core-client.c \
  replicator/core-link.c \
  replicator/core-agree.c \
  replicator/core-sync.c \
  replicator/core-target.c \
  replicator/core-pace.c \
  replicator/core-flush.c \
  replicator/core-disk.c \
  replicator/core-admin.c \
  replicator/core-pause.c \
  replicator/core-resize.c \
  replicator/core-news.c \
  replicator/core-verify.c \
  replicator/core-check.c \
  replicator/generation.c \
  replicator/ranges.c \
  replicator/marks.c \
  replicator/marks-regions.c \
  replicator/meta.c \
  replicator/wire.c \
  replicator/exportname.c \
  nbdkit-plugin/route.c \
  nbdkit-plugin/unanswered.c \
  nbdkit-plugin/kept.c

# Shells: they do what the core says.
SHELLS := \
  replicator/engine.c \
  replicator/engine-client.c \
  replicator/engine-key.c \
  replicator/engine-peer.c \
  replicator/engine-status.c \
  replicator/engine-admin.c \
  replicator/engine-events.c \
  replicator/jobs.c \
  replicator/latency.c \
  replicator/store.c \
  replicator/store-open.c \
  replicator/commit.c \
  replicator/fileio.c \
  replicator/metafile.c \
  replicator/link.c \
  replicator/listener.c \
  replicator/connector.c \
  replicator/connector-thread.c \
  replicator/hail.c \
  replicator/address.c \
  replicator/channel.c \
  replicator/tls.c \
  replicator/tls-context.c \
  replicator/sender.c \
  replicator/receiver.c \
  replicator/arbiter.c \
  replicator/etcd.c \
  replicator/etcd-text.c \
  replicator/control.c \
  replicator/http.c \
  replicator/metrics.c \
  replicator/history.c \
  replicator/node-http.c \
  replicator/page.c \
  replicator/commands.c \
  replicator/status.c

# Shells of the proxy.
PROXY := \
  nbdkit-plugin/proxy.c \
  nbdkit-plugin/proxy-session.c \
  nbdkit-plugin/proxy-node.c \
  nbdkit-plugin/proxy-request.c \
  nbdkit-plugin/proxy-kept.c \
  nbdkit-plugin/proxy-status.c \
  nbdkit-plugin/proxy-http.c \
  nbdkit-plugin/proxystate.c \
  nbdkit-plugin/upstream.c

# What becomes a plugin or a program of its own.
DUET := \
  nbdkit-plugin/duet.c \
  nbdkit-plugin/arbiter-options.c \
  nbdkit-plugin/flusher.c \
  nbdkit-plugin/hangup.c \
  nbdkit-plugin/http-options.c \
  nbdkit-plugin/notice.c \
  nbdkit-plugin/ready.c
DUETPROXY := \
  nbdkit-plugin/duetproxy.c \
  nbdkit-plugin/flusher.c \
  nbdkit-plugin/hangup.c \
  nbdkit-plugin/http-options.c \
  nbdkit-plugin/notice.c \
  nbdkit-plugin/ready.c \
  nbdkit-plugin/proxy.c \
  nbdkit-plugin/proxy-session.c \
  nbdkit-plugin/proxy-node.c \
  nbdkit-plugin/proxy-request.c \
  nbdkit-plugin/proxy-kept.c \
  nbdkit-plugin/proxy-status.c \
  nbdkit-plugin/proxy-http.c \
  nbdkit-plugin/proxystate.c \
  nbdkit-plugin/upstream.c
DUETCTL := \
  replicator/duetctl.c \
  replicator/duetctl-ask.c \
  replicator/duetctl-text.c \
  replicator/duetctl-status.c \
  replicator/duetctl-events.c \
  replicator/duetctl-verify.c \
  replicator/duetctl-resize.c \
  replicator/duetctl-meta.c

# Tests are found by name: check-NAME.c is a unit test program, sim*.c
# together are the simulator, story*.c on the same parts tell the stories,
# explore*.c the explorer, tool-NAME.c is a program that end-to-end tests
# call, test-NAME.sh is an end-to-end test, fuzz-NAME.c is a fuzz target,
# which becomes a test program with fuzz-main.c, linear*.c judge the
# histories of tool-history.
UNIT_SRC := $(sort $(wildcard tests/check-*.c))
SIM_SRC := $(sort $(wildcard tests/sim*.c))
STORY_SRC := $(sort $(wildcard tests/story*.c))
# The world without the simulator's own front.
WORLD_SRC := $(filter-out tests/sim.c tests/sim-runner.c,$(SIM_SRC))
EXPLORE_SRC := $(sort $(wildcard tests/explore*.c))
LINEAR_SRC := $(sort $(wildcard tests/linear*.c))
TOOL_SRC := $(sort $(wildcard tests/tool-*.c))
# What `make bench` measures with.
BENCH_SRC := bench/load.c bench/floor.c
FUZZ_MAIN_SRC := tests/fuzz-main.c
FUZZ_SRC := $(filter-out $(FUZZ_MAIN_SRC),$(sort $(wildcard tests/fuzz-*.c)))
MAN_SRC := $(sort $(wildcard docs/*.pod))

# Preloaded into nbdkit by tests of sanitizer builds.
SAN_FIRST_SRC := tests/sanitizer-first.c
# Preloaded by tests of broken disks.
PRELOAD_SRC := $(sort $(wildcard tests/preload-*.c))

LIBRARY := $(PURE) $(SHELLS) $(PROXY)
SOURCES := $(LIBRARY) $(DUET) $(DUETPROXY) $(DUETCTL) \
  $(UNIT_SRC) $(SIM_SRC) $(STORY_SRC) $(EXPLORE_SRC) $(LINEAR_SRC) \
  $(TOOL_SRC) $(FUZZ_SRC) $(FUZZ_MAIN_SRC) $(PRELOAD_SRC) $(SAN_FIRST_SRC) \
  $(BENCH_SRC) bench/samples.c

# --------------------------------------------------------------- flags

ifneq ($(filter-out address thread,$(SAN)),)
$(error SAN must be address or thread)
endif

is_clang := $(findstring clang,$(notdir $(CC)))
BUILD := build$(if $(is_clang),-clang)$(if $(SAN),-$(SAN))
CACHE := build-deps/nbdkit

CFLAGS ?= -O2 -g
CPPFLAGS_ALL = -D_GNU_SOURCE -Iinclude -Ireplicator -Inbdkit-plugin $(CPPFLAGS)
CFLAGS_ALL = -std=c11 $(CFLAGS) -fPIC -fvisibility=hidden -pthread \
  -Wall -Wextra -Wshadow -Wvla -Wconversion -Wstrict-prototypes -Werror
LDFLAGS_ALL = -pthread -Wl,--as-needed $(LDFLAGS)
# Plugins find nbdkit_* in the server that loads them.
LDFLAGS_PLUGIN = -shared -Wl,-z,relro,-z,now

ifeq ($(SAN),address)
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
else ifeq ($(SAN),thread)
SAN_FLAGS := -fsanitize=thread
endif
ifneq ($(SAN),)
ifneq ($(is_clang),)
$(error SAN needs gcc: an nbdkit that is not sanitized has to preload the \
  runtime as a shared library)
endif
CFLAGS_ALL += $(SAN_FLAGS) -fno-omit-frame-pointer
LDFLAGS_ALL += $(SAN_FLAGS)
# A leak is reported after nbdkit has closed the plugin: keep it mapped,
# or the report has no names.
LDFLAGS_PLUGIN += -Wl,-z,nodelete
CPPFLAGS_ALL += -DDUET_CHECK=1
endif

# `make fuzz` calls make with FUZZ=1 and CC=clang: everything is
# sanitized, and libFuzzer stands instead of fuzz-main.c.
FUZZ ?=
ifneq ($(FUZZ),)
FUZZ_FLAGS := -fsanitize=fuzzer-no-link,address,undefined \
  -fno-sanitize-recover=undefined -fno-omit-frame-pointer \
  -fsanitize-ignorelist=tests/fuzz-ignore.txt \
  -fsanitize-coverage-ignorelist=tests/fuzz-ignore.txt
CFLAGS_ALL += $(FUZZ_FLAGS)
CPPFLAGS_ALL += -DFUZZ_MUTATOR=1
LDFLAGS_FUZZ := -fsanitize=fuzzer
endif

# Asked when first needed and then remembered, so that `make deps` and
# `make clean` work where nothing is installed.
pkg_once = $(eval $(1) := $$(shell pkg-config $(2)))$($(1))
CORE_PC := liburcu-bp liburcu-cds libisal libxxhash jansson libcurl gnutls \
  libmicrohttpd
CFLAGS_PC = $(call pkg_once,CFLAGS_PC,--cflags $(CORE_PC) libnbd nbdkit check)
LIBS_CORE = $(call pkg_once,LIBS_CORE,--libs $(CORE_PC))
LIBS_NBD = $(call pkg_once,LIBS_NBD,--libs libnbd)
LIBS_CHECK = $(call pkg_once,LIBS_CHECK,--libs check)

# Short lines unless V=1.
ifeq ($(V),)
Q := @
say = @printf '  %-4s %s\n' $(1) $@
endif

# ------------------------------------------------------------- outputs

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
checkobj = $(patsubst %.c,$(BUILD)/obj-check/%.o,$(1))

PLUGINS := $(BUILD)/nbdkit-duet-plugin.so $(BUILD)/nbdkit-duetproxy-plugin.so
UNIT := $(UNIT_SRC:tests/%.c=$(BUILD)/tests/%)
SIM := $(if $(SIM_SRC),$(BUILD)/sim)
STORY := $(BUILD)/story
EXPLORE := $(BUILD)/explore
TOOLS := $(TOOL_SRC:tests/%.c=$(BUILD)/tests/%)
FUZZERS := $(FUZZ_SRC:tests/%.c=$(BUILD)/tests/%)
BENCHES := $(BENCH_SRC:bench/%.c=$(BUILD)/bench/%)
PRELOAD := $(PRELOAD_SRC:tests/%.c=$(BUILD)/tests/%.so)
SAN_FIRST := $(if $(SAN),$(BUILD)/sanitizer-first.so)
MAN := $(MAN_SRC:docs/%.pod=$(BUILD)/man/%.1)
# In a virtual machine; make check runs only the short one.
KERNEL := $(sort $(wildcard tests/test-kernel-*.sh))
# Planted bugs are caught or not, with sanitizers or without.
E2E := $(filter-out $(if $(SAN),tests/test-sim-mutants.sh) \
  $(filter-out $(if $(SAN),,tests/test-kernel-short.sh),$(KERNEL)),\
  $(sort $(wildcard tests/test-*.sh)))
# Programs of one thread, which TSan has nothing to say about.
ONE_THREAD := $(STORY) $(SIM) $(EXPLORE) $(FUZZERS)

.PHONY: all
all: $(PLUGINS) $(BUILD)/duetctl $(BUILD)/nbdkit $(MAN)

.PHONY: tests
tests: $(UNIT) $(SIM) $(STORY) $(EXPLORE) $(FUZZERS) $(TOOLS) $(PRELOAD) \
  $(SAN_FIRST) $(BENCHES)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_PC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# The page, as page.c includes it.
$(BUILD)/gen/page.inc: replicator/page.pl replicator/page.html
	@mkdir -p $(@D)
	$(call say,PAGE)
	$(Q)perl $^ > $@

$(call obj,replicator/page.c) $(call checkobj,replicator/page.c): \
  $(BUILD)/gen/page.inc
$(call obj,replicator/page.c) $(call checkobj,replicator/page.c): \
  CPPFLAGS_ALL += -I$(BUILD)/gen

# The same with the core's invariants checked after each step.
$(BUILD)/obj-check/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS_ALL) -DDUET_CHECK=1 $(CFLAGS_PC) $(CFLAGS_ALL) \
	  -MMD -MP -c -o $@ $<

$(BUILD)/libduet.a: $(call obj,$(LIBRARY))
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/libduet-check.a: $(call checkobj,$(LIBRARY))
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/nbdkit-duet-plugin.so: $(call obj,$(DUET)) $(BUILD)/libduet.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_PLUGIN) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CORE)

$(BUILD)/nbdkit-duetproxy-plugin.so: $(call obj,$(DUETPROXY)) \
    $(BUILD)/libduet.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_PLUGIN) $(LDFLAGS_ALL) -o $@ $^ \
	  $(LIBS_NBD) $(LIBS_CORE)

$(BUILD)/duetctl: $(call obj,$(DUETCTL)) $(BUILD)/libduet.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CORE)

$(UNIT): $(BUILD)/tests/%: $(BUILD)/obj-check/tests/%.o \
    $(BUILD)/libduet-check.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CHECK) \
	  $(LIBS_NBD) $(LIBS_CORE)

$(BUILD)/sim: $(call checkobj,$(SIM_SRC)) $(BUILD)/libduet-check.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CORE)

$(STORY): $(call checkobj,$(STORY_SRC) $(WORLD_SRC)) \
    $(BUILD)/libduet-check.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CORE)

$(FUZZERS): $(BUILD)/tests/%: $(BUILD)/obj-check/tests/%.o \
    $(if $(FUZZ),,$(call checkobj,$(FUZZ_MAIN_SRC))) \
    $(BUILD)/libduet-check.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDFLAGS_FUZZ) -o $@ $^ \
	  $(LIBS_NBD) $(LIBS_CORE)

# The cores' memory lies where the explorer can copy it.
$(EXPLORE): $(call checkobj,$(EXPLORE_SRC)) $(BUILD)/libduet-check.a
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -Wl,--wrap=calloc,--wrap=free \
	  -o $@ $^ $(LIBS_CORE)

$(BUILD)/tests/check-linear $(BUILD)/tests/check-linear-random: \
    $(call checkobj,$(LINEAR_SRC))
$(BUILD)/tests/tool-history: $(call obj,$(LINEAR_SRC))

$(TOOLS): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libduet.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_NBD) $(LIBS_CORE)

$(call obj,$(BENCH_SRC)): CPPFLAGS_ALL += -Itests
$(BENCHES): $(BUILD)/bench/%: $(BUILD)/obj/bench/%.o \
    $(BUILD)/obj/bench/samples.o
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_NBD)

$(PRELOAD): $(BUILD)/tests/%.so: $(BUILD)/obj/tests/%.o
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) -shared $(LDFLAGS_ALL) -o $@ $^

$(BUILD)/sanitizer-first.so: $(call obj,$(SAN_FIRST_SRC))
	$(call say,LD)
	$(Q)$(CC) -shared -Wl,-z,initfirst $(LDFLAGS_ALL) -o $@ $^

$(BUILD)/man/%.1: docs/%.pod
	@mkdir -p $(@D)
	$(call say,MAN)
	$(Q)pod2man --section=1 --center=duet --release=duet \
	  --name=$(shell echo $* | tr a-z A-Z) $< $@

# A sound nbdkit to run everything under: the system's, or one built from
# Debian 13's source.  The script decides, and builds only once.
$(BUILD)/nbdkit: nbdkit-plugin/build-nbdkit.sh
	@nbdkit-plugin/build-nbdkit.sh $(CACHE) $@

# Kept, or make deletes them as intermediate files.
.SECONDARY:

# ---------------------------------------------------------------- deps

# To build, check and demo.
DEPS := gcc make pkg-config nbdkit nbdkit-plugin-dev libnbd-dev libnbd-bin \
  liburcu-dev libisal-dev libxxhash-dev libjansson-dev check \
  gnutls-bin qemu-utils fio jq perl python3-libnbd e2fsprogs iproute2 socat \
  dpkg-dev libgnutls28-dev debian-archive-keyring \
  libcurl4-gnutls-dev libmicrohttpd-dev etcd-server etcd-client nftables \
  util-linux build-essential debhelper lintian curl python3-prometheus-client
# For `make tidy`, CC=clang and `make fuzz`.
DEPS_DEV := $(DEPS) clang clang-format llvm libclang-rt-dev
# For `make bench`: plots, qemu-storage-daemon the contestant, counts.
DEPS_BENCH := $(DEPS) gnuplot-nox qemu-system-common strace
# For `make check-kernel`.  What runs inside is fetched, not installed:
# tests/kernel-build.sh.
DEPS_KERNEL := $(DEPS) qemu-system-x86
# For the page's test: big.
DEPS_PAGE := $(DEPS) chromium

KEYRINGS := /usr/share/keyrings

# Which of $(1) are missing.  The keyring of a Debian 12 that was never
# updated does not know Debian 13's key, and then counts as missing.
missing = $(filter-out $(shell \
  dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(1) 2> /dev/null | \
  sed -n 's/ installed$$//p'),$(1)) \
  $(if $(wildcard $(KEYRINGS)/debian-archive-trixie-stable.gpg),, \
  debian-archive-keyring)

.PHONY: deps deps-dev deps-bench deps-kernel deps-page
deps: WANTED := $(DEPS)
deps-dev: WANTED := $(DEPS_DEV)
deps-bench: WANTED := $(DEPS_BENCH)
deps-kernel: WANTED := $(DEPS_KERNEL)
deps-page: WANTED := $(DEPS_PAGE)
deps deps-dev deps-bench deps-kernel deps-page:
	@missing="$(strip $(call missing,$(WANTED)))"; \
	[ -z "$$missing" ] && exit 0; \
	get="apt-get install -y -q --no-install-recommends $$missing"; \
	if [ "$$(id -u)" = 0 ]; then sudo=env; \
	elif sudo -n true 2> /dev/null; then sudo='sudo env'; \
	else echo "run as root: apt-get update && $$get" >&2; exit 1; fi; \
	echo "installing $$missing"; \
	$$sudo apt-get -q update < /dev/null && \
	$$sudo DEBIAN_FRONTEND=noninteractive $$get < /dev/null

# --------------------------------------------------------------- tests

# make reads this file before deps are there; what needs them is made by
# a second make.
# Without what the kernel test, or the page's, or those of metrics need they
# are skipped, and say why.
.PHONY: check
check: deps
	@$(if $(filter $(KERNEL),$(E2E)),\
	  $(MAKE) --no-print-directory deps-kernel || true)
	@$(if $(filter tests/test-page.sh,$(E2E)),\
	  $(MAKE) --no-print-directory deps-page || true)
	@$(if $(filter tests/test-metrics.sh tests/test-alerts.sh,$(E2E)),\
	  tests/promtool-fetch.sh build-deps/promtool || true)
	@$(MAKE) --no-print-directory check-built

.PHONY: check-built
check-built: all tests
	@$(if $(filter $(KERNEL),$(E2E)),\
	  tests/kernel-build.sh build-deps/kernel $(BUILD) || true)
	@BUILD=$(BUILD) SAN=$(SAN) CC='$(CC)' \
	  tests/run.sh $(UNIT) \
	  $(if $(filter thread,$(SAN)),,$(ONE_THREAD)) $(E2E)

# /dev/nbd0 and QEMU for real, in a virtual machine; minutes.
.PHONY: check-kernel
check-kernel: deps-kernel
	@$(MAKE) --no-print-directory check-kernel-built

.PHONY: check-kernel-built guest
check-kernel-built: guest
	@BUILD=$(BUILD) tests/run.sh $(KERNEL)

guest: all $(TOOLS)
	@tests/kernel-build.sh build-deps/kernel $(BUILD)

# Rewrite the traces of the stories; look at the difference before commit.
.PHONY: stories-update
stories-update: $(STORY)
	@$(STORY) --update

# Seeds are shared evenly by the modes.
SEEDS ?= 20000
SIM_FLAGS ?=

.PHONY: sim
sim: deps
	@$(MAKE) --no-print-directory sim-built

.PHONY: sim-built
sim-built: $(BUILD)/sim
	$(BUILD)/sim --seeds $(SEEDS) --seed $(or $(SEED),1) $(SIM_FLAGS)

# Planted bugs that the simulator must catch; MUTANTS: only these.
MUTANTS ?=
mutants_env = BUILD=$(BUILD) OBJECTS='$(call checkobj,$(SIM_SRC))' \
  SOURCES='$(PURE)' LIBS='$(BUILD)/libduet-check.a $(LIBS_CORE)' \
  COMPILE='$(CC) $(CPPFLAGS_ALL) -DDUET_CHECK=1 $(CFLAGS_PC) $(CFLAGS_ALL)' \
  LINK='$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL)'

.PHONY: sim-mutants
sim-mutants: deps
	@$(MAKE) --no-print-directory sim-mutants-built

.PHONY: sim-mutants-built
sim-mutants-built: $(BUILD)/sim
	@$(mutants_env) tests/sim-mutants.sh $(MUTANTS)

GCOV ?= $(if $(is_clang),llvm-cov gcov,gcov)
COVERAGE_SEEDS ?= 5000

.PHONY: sim-coverage
sim-coverage: deps
	@BUILD=$(BUILD) GCOV='$(GCOV)' SEEDS=$(COVERAGE_SEEDS) \
	  SOURCES='$(filter-out %/core-check.c %/meta.c %/exportname.c,$(PURE))' \
	  COMPILE='$(CC) $(CPPFLAGS_ALL) $(CFLAGS_PC) $(CFLAGS_ALL)' \
	  SIM_SOURCES='$(SIM_SRC) replicator/core-check.c' LIBS='$(LIBS_CORE)' \
	  tests/sim-coverage.sh

# Each target for SECONDS, from tests/corpus/NAME; TARGETS= chooses some.
TARGETS ?= $(FUZZ_SRC:tests/fuzz-%.c=%)
make_fuzzers = $(MAKE) --no-print-directory CC=clang BUILD=build-fuzz FUZZ=1 \
  fuzzers
.PHONY: fuzz fuzz-corpus fuzzers
fuzz: deps-dev
	@$(make_fuzzers)
	@tests/fuzz.sh run build-fuzz $(or $(SECONDS),60) $(TARGETS)

# Make tests/corpus anew: from real sessions, from what is there, and from
# what `make fuzz` has found.
fuzz-corpus: deps-dev all $(BUILD)/tests/tool-record
	@$(make_fuzzers)
	@rm -rf build-fuzz/recorded
	@BUILD=$(BUILD) tests/record-corpus.sh build-fuzz/recorded
	@tests/fuzz.sh merge build-fuzz 8192 $(TARGETS)

fuzzers: $(FUZZERS)

# Every order of events within bounds; minutes.
.PHONY: explore
explore: deps
	@$(MAKE) --no-print-directory $(EXPLORE)
	$(EXPLORE) --all

# Random faults for SECONDS, from SEED on.
.PHONY: linear
linear: deps
	@$(MAKE) --no-print-directory linear-built

.PHONY: linear-built
linear-built: all tests
	@BUILD=$(BUILD) SAN=$(SAN) CC='$(CC)' \
	  tests/linear.sh $(or $(SECONDS),600) $(SEED)

# Measure; bench/run.py tells what BENCH, DIR, OUT and PARTS are.
BENCH ?= full
.PHONY: bench
bench: deps-bench
	@$(MAKE) --no-print-directory bench-built

.PHONY: bench-built
bench-built: all $(BENCHES)
	@BUILD=$(BUILD) BENCH='$(BENCH)' DIR='$(DIR)' OUT='$(OUT)' \
	  PARTS='$(PARTS)' bench/run.py

.PHONY: demo
demo: deps
	@$(MAKE) --no-print-directory demo-built

.PHONY: demo-built
demo-built: all $(TOOLS)
	@BUILD=$(BUILD) tests/demo.sh

.PHONY: tidy
tidy: deps-dev $(call obj,$(PURE))
	@SOURCES='$(SOURCES)' PURE='$(call obj,$(PURE))' tests/tidy.sh

# ------------------------------------------------- install, clean, help

prefix ?= /usr/local
bindir ?= $(prefix)/bin
libexecdir ?= $(prefix)/libexec
mandir ?= $(prefix)/share/man
docdir ?= $(prefix)/share/doc/duet
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
completiondir ?= $(prefix)/share/bash-completion/completions
# nbdkit finds plugins by short name in this folder only.
plugindir ?= $(call pkg_once,plugindir,--variable=plugindir nbdkit)

PACKAGING := docs/packaging
EXAMPLES := $(wildcard $(PACKAGING)/examples/*)

# All that is installed.
.PHONY: installed
installed: $(PLUGINS) $(BUILD)/duetctl $(MAN)

.PHONY: install
install: installed
	install -d $(addprefix $(DESTDIR),$(plugindir) $(bindir) \
	  $(libexecdir)/duet $(mandir)/man1 $(unitdir) $(sysusersdir) \
	  $(tmpfilesdir) $(completiondir) $(docdir)/examples)
	install -m 755 $(PLUGINS) $(DESTDIR)$(plugindir)
	install -m 755 $(BUILD)/duetctl $(DESTDIR)$(bindir)
	install -m 755 nbdkit-plugin/duet-start.sh \
	  $(DESTDIR)$(libexecdir)/duet/duet-start
	install -m 644 $(MAN) $(DESTDIR)$(mandir)/man1
	for unit in duet duetproxy; do \
	  sed 's|@libexecdir@|$(libexecdir)|' $(PACKAGING)/$$unit@.service.in \
	    > $(DESTDIR)$(unitdir)/$$unit@.service || exit 1; \
	done
	install -m 644 $(PACKAGING)/duetproxy@.socket $(DESTDIR)$(unitdir)
	install -m 644 $(PACKAGING)/duet.sysusers $(DESTDIR)$(sysusersdir)/duet.conf
	install -m 644 $(PACKAGING)/duet.tmpfiles $(DESTDIR)$(tmpfilesdir)/duet.conf
	install -m 644 $(PACKAGING)/duetctl.bash-completion \
	  $(DESTDIR)$(completiondir)/duetctl
	install -m 644 $(EXAMPLES) $(DESTDIR)$(docdir)/examples

# Debian packages, from a copy of the sources with debian/ where Debian's
# tools look for it; into $(BUILD)/deb.
DEB := $(BUILD)/deb

.PHONY: deb
deb: deps
	@$(MAKE) --no-print-directory deb-built

.PHONY: deb-built
deb-built:
	rm -rf $(DEB)
	mkdir -p $(DEB)/duet
	cp -a Makefile LICENSE README.md nbdkit-plugin replicator include docs \
	  tests $(DEB)/duet
	cp -a $(PACKAGING)/debian $(DEB)/duet
	sed 's/^$$/./; s/^/ /' LICENSE >> $(DEB)/duet/debian/copyright
	cd $(DEB)/duet && env -u MAKEFLAGS -u MAKELEVEL -u BUILD -u CC \
	  dpkg-buildpackage -b -us -uc

.PHONY: clean distclean
clean:
	rm -rf build build-address build-thread build-clang build-fuzz

distclean: clean
	rm -rf build-deps

.PHONY: help
help:
	@echo 'make all            plugins, duetctl, build/nbdkit, man pages'
	@echo 'make deps           install what is missing (apt-get, as root)'
	@echo 'make deps-page      also a browser, for the test of the page'
	@echo 'make deps-dev       also what tidy and CC=clang need'
	@echo 'make demo           deps, all, then the show'
	@echo 'make check          deps, all, then unit and end-to-end tests'
	@echo '  SAN=address       the same under ASan, UBSan and LSan'
	@echo '  SAN=thread        the same under TSan'
	@echo '  E2E=tests/test-x.sh, E2E= , UNIT=   run only those, or none'
	@echo '  JOBS=2 KEEP=1     tests at a time; keep their folders'
	@echo 'make check-kernel   /dev/nbd0 and QEMU, in a virtual machine'
	@echo '  KERNEL=tests/test-kernel-x.sh   run only those; JOBS=2'
	@echo 'make sim            the simulator, all modes, on all processors'
	@echo '  SEEDS=20000 SEED=1  runs in all; the first seed'
	@echo '  SIM_FLAGS=...     more: build/sim --help'
	@echo 'make sim-mutants    does the simulator catch planted bugs?'
	@echo '  MUTANTS=NAME...   only these of tests/mutants.txt; JOBS=2'
	@echo 'make sim-coverage   branches of the core that it never takes'
	@echo '  COVERAGE_SEEDS=5000, GCOV='
	@echo 'make fuzz           clang, libFuzzer: look for inputs that break it'
	@echo '  SECONDS=60        for each target'
	@echo '  TARGETS="core"    only these'
	@echo 'make fuzz-corpus    tests/corpus anew, from real sessions and finds'
	@echo 'make explore        all orders of events within bounds, minutes'
	@echo 'make linear         random faults under load, histories judged'
	@echo '  SECONDS=600 SEED= how long; where to begin'
	@echo 'make bench          tables, plots and results.json in bench/out'
	@echo '  BENCH=full        twelve minutes; quick: two; smoke: seconds'
	@echo '  DIR=build         folder of the data, on the disk that is meant'
	@echo '  PARTS="jobs pauses figures growth counts"  OUT=bench/out'
	@echo 'V=1                 show the commands'
	@echo 'make stories-update rewrite the traces in tests/stories'
	@echo 'make tidy           layout, lengths, imports of the pure objects'
	@echo 'make install        DESTDIR= prefix= plugindir= unitdir='
	@echo '                    completiondir='
	@echo 'make deb            Debian packages, below build/deb'
	@echo 'make clean          all but build-deps/; distclean: that too'

-include $(patsubst %.c,$(BUILD)/obj/%.d,$(SOURCES))
-include $(patsubst %.c,$(BUILD)/obj-check/%.d,$(SOURCES))
