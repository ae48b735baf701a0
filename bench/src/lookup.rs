//! One getaddrinfo of a container's name.

use std::time::Duration;

use netns_fixtures::{Host, wait_until};

use crate::measure::{Row, Samples};
use crate::peers::{self, SUITE, Systemd};

/// With 1 and with 1,000 machines, against a line of a file and systemd's module.
pub fn rows() -> Vec<Row> {
    eprintln!("one getaddrinfo of a container's name");
    peers::fetch_mymachines();
    let one = ours(1);
    let thousand = ours(1000);
    let files = {
        let host = peers::host_with_names_from("files");
        host.run("echo 192.0.2.1 m0 >>/etc/hosts");
        look_up(&host, "m0", crate::LOOKUPS)
    };
    let theirs = mymachines();
    let row = |what: &str, ours: &Samples, peer: &str, theirs: &Samples| Row {
        what: format!("getaddrinfo(NAME), {what}"),
        ours: ours.clone(),
        peer: (peer.into(), theirs.clone()),
        goal: "at most 15 µs",
    };
    vec![
        row("1 machine", &one, "nss-mymachines", &theirs),
        row(
            "1,000 machines",
            &thousand,
            "nss-mymachines with 1",
            &theirs,
        ),
        row("1 machine", &one, "a line in /etc/hosts", &files),
    ]
}

/// Records are files: so many of them are written, without a container behind them.
fn ours(machines: u32) -> Samples {
    let host = peers::ours();
    host.enter(|| {
        std::fs::create_dir_all("/run/rspawn/machines").unwrap();
        for number in 0..machines {
            let address = std::net::Ipv4Addr::from(0x0a00_0001 + number);
            let record = format!("VERSION=1\nNAME=m{number}\nCLASS=container\nSERVICE=rspawn\nLEADER=1\nNETWORK=veth\nADDRESS={address}\nEND=1\n");
            std::fs::write(format!("/run/rspawn/machines/m{number}"), record).unwrap();
        }
    });
    look_up(&host, &format!("m{}", machines / 2), crate::LOOKUPS)
}

fn mymachines() -> Samples {
    let host = peers::host_with_names_from("mymachines");
    let _systemd = Systemd::start(&host);
    let tree = host.tree(SUITE);
    let _container = host
        .command("systemd-nspawn")
        .args([
            "-q",
            "-n",
            "-M",
            "web",
            "-a",
            "--keep-unit",
            "--link-journal=no",
            "-D",
        ])
        .arg(tree)
        .args(["/bin/sleep", "1000"])
        .cgroup("web.service")
        .spawn("web");
    assert!(wait_until(Duration::from_secs(15), || host
        .exists("/run/systemd/machines/web")));
    // One address, as ours has.
    let leader = host.run("grep LEADER= /run/systemd/machines/web | cut -d= -f2");
    host.run(&format!("nsenter -t {leader} -n sh -c 'sysctl -qw net.ipv6.conf.host0.disable_ipv6=1; ip address add 10.0.0.2/28 dev host0; ip link set host0 up'"));
    look_up(&host, "web", crate::LOOKUPS / 10)
}

fn look_up(host: &Host, name: &str, count: usize) -> Samples {
    let program = host.compile("look-up", LOOK_UP, "");
    let output = host
        .command(program)
        .arg(name)
        .arg(count.to_string())
        .output()
        .expect_success();
    let nanos = output
        .stdout
        .lines()
        .map(|line| Duration::from_nanos(line.parse().unwrap()));
    Samples::new(nanos.collect())
}

/// Looks a name up again and again in one process and writes how many nanoseconds
/// each took, but for the first ones, which load the module.
const LOOK_UP: &str = r#"
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
    struct timespec start, end;
    int count = argc > 2 ? atoi(argv[2]) : 0;
    for (int i = -20; i < count; i++) {
        clock_gettime(CLOCK_MONOTONIC, &start);
        int error = getaddrinfo(argv[1], NULL, &hints, &list);
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (error) {
            fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(error));
            return 1;
        }
        freeaddrinfo(list);
        if (i >= 0)
            printf("%lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
    }
    return 0;
}
"#;
