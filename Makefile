# rspawn: building, trying and installing it.
#
#   make demo                   the whole of it at work, in namespaces of its own
#   make test                   everything that can be checked by itself
#   make bench                  side by side with its peers
#   make fuzz SECONDS=60        every fuzz target for so long (nightly, cargo-fuzz)
#   make build                  the programs and the NSS module
#   make install                to PREFIX=/usr, and the names are switched on
#   make install DESTDIR=/pkg   for a package: nothing else is touched
#   make uninstall              takes it all away again

SHELL = /bin/sh
.DELETE_ON_ERROR:
.PHONY: build demo test bench fuzz install uninstall setup switch-on switch-off clean

CARGO ?= cargo
PREFIX ?= /usr
# Where the built programs are.
BIN_DIR ?= $(or $(CARGO_TARGET_DIR),target)/release

# Of the C library's modules; on Debian /usr/lib/x86_64-linux-gnu and the like.
LIBDIR ?= $(shell packaging/libdir.sh $(PREFIX))
UNITDIR ?= $(PREFIX)/lib/systemd/system
NETWORKDIR ?= $(PREFIX)/lib/systemd/network
UDEVDIR ?= $(PREFIX)/lib/udev/rules.d
# dbus-daemon reads below /usr and /etc alone.
DBUSDIR ?= $(if $(filter /usr,$(PREFIX)),/usr/share,/etc)/dbus-1/system.d
INITDIR ?= /etc/init.d
# Whether to install scripts for OpenRC: where OpenRC is.
OPENRC ?= $(if $(wildcard /sbin/openrc-run /usr/sbin/openrc-run),yes,no)

BUILT = $(addprefix $(BIN_DIR)/,rspawn rspawnctl netd libnss_rspawn.so)
# Every file and link that install makes.
INSTALLED = \
    $(PREFIX)/bin/rspawn \
    $(PREFIX)/bin/rspawnctl \
    $(PREFIX)/lib/rspawn/netd \
    $(PREFIX)/sbin/netd \
    $(LIBDIR)/libnss_rspawn.so.2 \
    $(UNITDIR)/netd.service \
    $(UNITDIR)/rspawn@.service \
    $(NETWORKDIR)/00-rspawn.network \
    $(UDEVDIR)/80-rspawn.rules \
    $(DBUSDIR)/org.rspawn.Netd1.conf \
    $(if $(filter yes,$(OPENRC)),$(INITDIR)/netd)

# A file that names the place of the programs.
template = sed 's|@PREFIX@|$(PREFIX)|g' $(1) >'$(DESTDIR)$(2)' && chmod $(3) '$(DESTDIR)$(2)'

build:
	$(CARGO) build --release --package rspawn --package rspawn-netd --package rspawn-ctl --package rspawn-nss

# Only what is missing is built here: installing as root is no time to compile.
$(BUILT):
	$(MAKE) build

install: $(BUILT)
	mkdir -p $(addprefix '$(DESTDIR),$(addsuffix ',$(sort $(dir $(INSTALLED)))))
	install -m 755 '$(BIN_DIR)/rspawn' '$(BIN_DIR)/rspawnctl' '$(DESTDIR)$(PREFIX)/bin/'
	install -m 755 '$(BIN_DIR)/netd' '$(DESTDIR)$(PREFIX)/lib/rspawn/netd'
	ln -sf ../lib/rspawn/netd '$(DESTDIR)$(PREFIX)/sbin/netd'
# Programs have the old module mapped: it is replaced, never written to.
	install -m 644 '$(BIN_DIR)/libnss_rspawn.so' '$(DESTDIR)$(LIBDIR)/.libnss_rspawn.so.2.new'
	mv -f '$(DESTDIR)$(LIBDIR)/.libnss_rspawn.so.2.new' '$(DESTDIR)$(LIBDIR)/libnss_rspawn.so.2'
	$(call template,packaging/systemd/netd.service,$(UNITDIR)/netd.service,644)
	$(call template,packaging/systemd/rspawn@.service,$(UNITDIR)/rspawn@.service,644)
	install -m 644 packaging/networkd/00-rspawn.network '$(DESTDIR)$(NETWORKDIR)/'
	install -m 644 packaging/udev/80-rspawn.rules '$(DESTDIR)$(UDEVDIR)/'
	install -m 644 packaging/dbus/org.rspawn.Netd1.conf '$(DESTDIR)$(DBUSDIR)/'
ifeq ($(OPENRC),yes)
	$(call template,packaging/openrc/netd,$(INITDIR)/netd,755)
endif
ifeq ($(DESTDIR),)
	ldconfig
	'$(PREFIX)/bin/rspawnctl' nss enable
	@packaging/reload.sh
	@echo "installed; start netd: systemctl enable --now netd, rc-service netd start, or $(PREFIX)/sbin/netd"
endif

uninstall:
ifeq ($(DESTDIR),)
	@packaging/stop.sh
# What netd changed on the host, taken back; not while somebody has started it by hand.
	-if [ -x '$(PREFIX)/lib/rspawn/netd' ]; then '$(PREFIX)/lib/rspawn/netd' --undo; fi
	if [ -x '$(PREFIX)/bin/rspawnctl' ]; then '$(PREFIX)/bin/rspawnctl' nss disable; fi
endif
	rm -f $(addprefix '$(DESTDIR),$(addsuffix ',$(INSTALLED)))
	if [ -d '$(DESTDIR)$(PREFIX)/lib/rspawn' ]; then rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(PREFIX)/lib/rspawn'; fi
ifeq ($(DESTDIR),)
	ldconfig
	@packaging/reload.sh
else
# A package's directory has no others in it than those that install has made.
	if cd '$(DESTDIR)' 2>/dev/null; then \
	    for directory in $(patsubst /%,%,$(sort $(dir $(INSTALLED)))); do \
	        if [ -d "$$directory" ]; then rmdir -p --ignore-fail-on-non-empty "$$directory"; fi; \
	    done; \
	fi
endif

# What tests and demo run against: Debian's packages and trees.
setup:
	tests/setup/packages.sh

test: setup
	tests/setup/tree.sh bookworm
	tests/setup/tree.sh trixie
	tests/setup/openrc.sh
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build --workspace
	$(CARGO) build --release --package rspawn-nss
	$(CARGO) test --workspace --doc --quiet
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run --workspace --no-fail-fast; \
	else \
	    $(CARGO) test --workspace --no-fail-fast --lib --bins --tests; \
	fi

# TREE: a suite of Debian, or the path of a tree of your own.
demo: TREE ?= bookworm
demo: setup
	case '$(TREE)' in */*) ;; *) tests/setup/tree.sh '$(TREE)' ;; esac
	$(CARGO) build --release --workspace --quiet
	'$(BIN_DIR)/netns-host' --install --tree '$(TREE)' -- demo/demo.sh

# SUBJECTS: some of them only (rspawn-bench --help), shown and not written down.
bench: setup
	tests/setup/tree.sh bookworm
	$(CARGO) build --release --workspace --quiet
	'$(BIN_DIR)/rspawn-bench' $(or $(SUBJECTS),--output bench/RESULTS.md)

fuzz: SECONDS ?= 60
fuzz:
	fuzz/run.sh '$(SECONDS)' $(TARGETS)

clean:
	$(CARGO) clean
