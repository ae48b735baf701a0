//! From the start of a container to the first answered ping of its name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use netns_fixtures::{Host, HostCommand, wait_until};

use crate::Extent;
use crate::measure::Samples;
use crate::peers::{self, SUITE, Systemd};
use crate::report::Section;

/// A container with a program in it, and one that boots.
pub fn measure(extent: Extent) {
    let times = extent.pick(3, 15);
    peers::fetch_mymachines();
    let host = peers::ours();
    let netd = host.start_netd();
    let ours = |arguments: &[&str]| {
        repeat(&host, times, |host, tree| {
            host.command("rspawn")
                .args(["-q", "-n", "-M", "web", "-D"])
                .arg(tree)
                .args(arguments)
        })
    };
    let sleeping = ours(&["-a", "/bin/sleep", "1000"]);
    let booting = ours(&["-b", "--console=read-only"]);
    drop(netd);

    let host = peers::host_with_names_from("mymachines");
    let systemd = Systemd::start(&host);
    let theirs = repeat(&host, times, |host, tree| {
        host.command("systemd-nspawn")
            .args([
                "-q",
                "-n",
                "-b",
                "-M",
                "web",
                "--keep-unit",
                "--link-journal=no",
                "--console=read-only",
                "-D",
            ])
            .arg(tree)
    });
    drop(systemd);
    let mut section = Section::of_times("To the first answered ping of a container's name")
        .commands(&[
            "rspawn -q -n -M web -D TREE -b --console=read-only",
            "rspawn -q -n -M web -D TREE -a /bin/sleep 1000",
            "systemd-nspawn -q -n -b -M web --keep-unit --link-journal=no --console=read-only -D TREE",
        ])
        .notes(&[
            "From exec; a program in the host looks the name up and pings it, every half of a millisecond. \
             systemd-machined, systemd-networkd (without udev) and nss-mymachines serve the peer, and its tree boots \
             with systemd-networkd inside, since without a DHCP client it gets no address.",
        ]);
    let peer = (
        "nspawn, machined and networkd, with networkd inside",
        &theirs,
    );
    section.times("a tree that boots", &booting, peer, "50 ms");
    let what = "a program and no DHCP client inside (theirs boots)";
    section.times(what, &sleeping, peer, "50 ms");
}

fn repeat(
    host: &Host,
    times: usize,
    command: impl for<'a> Fn(&'a Host, &Path) -> HostCommand<'a>,
) -> Samples {
    let ping = host.compile("first-ping", FIRST_PING, "");
    Samples::of(times, || {
        let tree = host.tree(SUITE);
        let took = once(host, &ping, |host| command(host, &tree));
        // What names it is gone, too, before the next begins.
        assert!(wait_until(Duration::from_secs(15), || {
            !host.exists("/run/rspawn/machines/web")
                && !host.exists("/run/systemd/machines/web")
                && !host.exists("/sys/class/net/ve-web")
        }));
        host.run(&format!("umount {}", tree.display()));
        took
    })
}

fn once<'a>(
    host: &'a Host,
    ping: &PathBuf,
    command: impl Fn(&'a Host) -> HostCommand<'a>,
) -> Duration {
    // The one that waits starts the clock by writing a line, then it asks all the time.
    let mut waiting = host.command(ping).arg("web").spawn("ping");
    waiting.wait_for_output("ready", Duration::from_secs(5));
    let start = monotonic();
    let mut container = command(host).cgroup("web.service").spawn("web");
    let reached = wait_until(Duration::from_secs(30), || waiting.ended().is_some());
    assert!(
        reached,
        "web is never reached:\n{}\n{}\n{}",
        container.stdout(),
        container.stderr(),
        host.run("ip address; cat /run/rspawn/machines/* /run/systemd/machines/* /tmp/*netd.err /tmp/*networkd.err /tmp/*machined.err 2>/dev/null || true")
    );
    let output = waiting.stdout();
    let answered: u64 = output
        .lines()
        .last()
        .and_then(|line| line.parse().ok())
        .expect("a time");
    // Stopped in order: a boot that has only begun ends by the second request.
    container.signal(libc::SIGTERM);
    if !wait_until(Duration::from_secs(10), || container.ended().is_some()) {
        container.signal(libc::SIGTERM);
        container.wait(Duration::from_secs(10));
    }
    Duration::from_nanos(answered.saturating_sub(start))
}

/// Nanoseconds of CLOCK_MONOTONIC, which is the same in every process.
#[allow(unsafe_code)]
fn monotonic() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid for writing.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Looks a name up and pings its first address, until there is an answer; then
/// writes the time. A new process for each try, as `ping` is one, would measure that.
const FIRST_PING: &str = r#"
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int answered(const struct sockaddr *to, socklen_t length) {
    struct icmphdr echo = { .type = ICMP_ECHO, .un.echo.id = 0x7273 };
    unsigned char reply[1500];
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP), found = 0;
    /* The checksum (RFC 1071) is taken with its own field 0. */
    unsigned short *words = (unsigned short *)&echo;
    unsigned sum = 0;
    for (unsigned i = 0; i < sizeof echo / 2; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    echo.checksum = (unsigned short)~sum;
    if (sendto(fd, &echo, sizeof echo, 0, to, length) == (long)sizeof echo) {
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        while (!found && poll(&wait, 1, 20) > 0) {
            long got = recv(fd, reply, sizeof reply, 0);
            const struct icmphdr *icmp = (void *)(reply + (reply[0] & 15) * 4);
            found = got >= 28 && icmp->type == ICMP_ECHOREPLY && icmp->un.echo.id == 0x7273;
        }
    }
    close(fd);
    return found;
}

int main(int argc, char **argv) {
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *list;
    struct timespec now, pause = { 0, 500000 };
    if (argc < 2)
        return 2;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        if (getaddrinfo(argv[1], NULL, &hints, &list) == 0) {
            int found = answered(list->ai_addr, list->ai_addrlen);
            freeaddrinfo(list);
            if (found)
                break;
        }
        nanosleep(&pause, NULL);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    return 0;
}
"#;
