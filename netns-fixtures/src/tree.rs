//! Trees to boot, each test's own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::host::Host;

/// Where the Debian trees are that `tests/setup/tree.sh` has made.
#[must_use]
pub fn tree_cache() -> PathBuf {
    env::var_os("RSPAWN_TREE_CACHE").map_or_else(|| "/var/cache/rspawn-trees".into(), PathBuf::from)
}

impl Host {
    /// A Debian tree that can be written to: `bookworm` or `trixie`. Its root has
    /// the host's ssh key. Gives its path in the host.
    ///
    /// # Panics
    /// When the cached tree is missing or cannot be mounted.
    pub fn tree(&self, suite: &str) -> PathBuf {
        let lower = tree_cache().join(suite);
        assert!(
            lower.join("usr").exists(),
            "{} is missing: run tests/setup/tree.sh {suite}",
            lower.display()
        );
        let tree = self.overlay(&lower, suite);
        self.authorize(&tree);
        tree
    }

    /// Any directory of the machine under an overlay of the host's own. Gives its
    /// path in the host.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn overlay(&self, lower: &Path, name: &str) -> PathBuf {
        let name = format!("{name}-{}", self.next());
        let tree = PathBuf::from("/trees").join(&name);
        self.run(&format!(
            "mkdir -p /trees/.{name}/upper /trees/.{name}/work {tree}
             chmod 755 /trees/.{name}/upper
             mount -t overlay overlay -o index=off,metacopy=off,lowerdir={lower},upperdir=/trees/.{name}/upper,workdir=/trees/.{name}/work {tree}",
            tree = tree.display(),
            lower = lower.display(),
        ));
        tree
    }

    /// Puts the public half of the host's ssh key (made once a host) into a tree.
    ///
    /// # Panics
    /// When that fails.
    pub fn authorize(&self, tree: &Path) {
        self.run(&format!(
            "[ -e /root/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -C test -f /root/.ssh/id_ed25519
             mkdir -p -m 700 {tree}/root/.ssh
             cp /root/.ssh/id_ed25519.pub {tree}/root/.ssh/authorized_keys",
            tree = tree.display()
        ));
    }

    /// An empty tree of the host's own. Gives its path in the host.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn empty_tree(&self, name: &str) -> PathBuf {
        let tree = PathBuf::from("/trees").join(format!("{name}-{}", self.next()));
        self.run(&format!("mkdir -p {}", tree.display()));
        tree
    }

    /// A tree of busybox alone, with its applets, udhcpc's script among them, and an
    /// os-release. Gives its path in the host.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn busybox_tree(&self) -> PathBuf {
        let tree = self.empty_tree("busybox");
        self.run(&format!(
            "cd {}
             mkdir -p bin etc root etc/udhcpc
             cp /bin/busybox bin/busybox
             for applet in $(bin/busybox --list); do [ $applet = busybox ] || ln -s busybox bin/$applet; done
             ln -s bin sbin
             echo 'ID=busybox' >etc/os-release
             echo 'root::0:0:root:/root:/bin/sh' >etc/passwd
             echo 'root:x:0:' >etc/group",
            tree.display()
        ));
        self.write_program(tree.join("etc/udhcpc/default.script"), UDHCPC_SCRIPT);
        tree
    }

    /// A tree that holds nothing but one static program, `/init`, which prints the
    /// addresses of its links as its very first act and ends. Gives its path in the host.
    ///
    /// # Panics
    /// When it cannot be compiled.
    pub fn static_binary_tree(&self) -> PathBuf {
        let tree = self.empty_tree("static");
        self.write("/tmp/init.c", PRINT_ADDRESSES);
        self.run(&format!(
            "gcc -static -O1 -o {}/init /tmp/init.c",
            tree.display()
        ));
        tree
    }

    /// Compiles a C program of the machine's own kind and gives its path in the host.
    ///
    /// # Panics
    /// When it cannot be compiled.
    pub fn compile(&self, name: &str, source: &str, options: &str) -> PathBuf {
        self.write(format!("/tmp/{name}.c"), source);
        self.run(&format!(
            "gcc -O2 -Wall -o /tmp/{name} /tmp/{name}.c {options}"
        ));
        PathBuf::from(format!("/tmp/{name}"))
    }

    /// Whether a path of the host is there.
    #[must_use]
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        // A link is judged by itself: its target is read in the host, not here.
        fs::symlink_metadata(self.path(path)).is_ok()
    }
}

/// What udhcpc runs at each event: the lease becomes the link's configuration, and
/// everything it was told is kept in /lease.
const UDHCPC_SCRIPT: &str = r#"#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip address replace "$ip/$mask" dev "$interface"
[ -z "$router" ] || ip route replace default via "$router" dev "$interface"
{ echo "event=$1"; set; } >/lease.new
mv /lease.new /lease
"#;

const PRINT_ADDRESSES: &str = r#"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <netinet/in.h>

int main(void) {
    struct ifaddrs *list;
    char text[64];
    if (getifaddrs(&list) < 0)
        return 1;
    for (struct ifaddrs *a = list; a; a = a->ifa_next) {
        if (!a->ifa_addr)
            continue;
        const void *bytes = a->ifa_addr->sa_family == AF_INET
            ? (void *)&((struct sockaddr_in *)a->ifa_addr)->sin_addr
            : a->ifa_addr->sa_family == AF_INET6
            ? (void *)&((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr : NULL;
        if (bytes && inet_ntop(a->ifa_addr->sa_family, bytes, text, sizeof text))
            printf("%s %s\n", a->ifa_name, text);
    }
    return 0;
}
"#;
