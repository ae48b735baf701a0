//! One getaddrinfo of a container's name.

use std::net::Ipv4Addr;
use std::time::Duration;

use netns_fixtures::{Host, wait_until};

use crate::Extent;
use crate::measure::Samples;
use crate::peers::{self, SUITE, Systemd};
use crate::report::Section;

/// A name that no machine has.
const NOBODY: &str = "nobody";

/// Names that are there and names that are not, by us, by files, and by systemd's module.
pub fn measure(extent: Extent) {
    peers::fetch_mymachines();
    let mut section = Section::of_times("A look-up of a name")
        .commands(&["getaddrinfo(NAME), SOCK_STREAM, in one process again and again; `hosts: rspawn`, `hosts: files` or `hosts: mymachines`"])
        .notes(&[
            "Records and lines are written for it, without a container behind each; systemd-machined has one \
             container. nss-mymachines asks systemd-machined over the bus for a name that is there. A name that is not is \
             answered by the module alone.",
        ]);
    let times = extent.pick(1000, 5000);
    let theirs = mymachines(times / 10);
    let mut goals = ["15 µs", ""].into_iter();
    for (place, what) in ["a name that is there", "a name that is not"]
        .into_iter()
        .enumerate()
    {
        let goal = goals.next().unwrap_or_default();
        for machines in [1, 1000, 4000] {
            let ours = ours(machines, times);
            let files = files(machines, times);
            let row = |text: &str| format!("{what}, {machines} machines{text}");
            let peer = ("nss-mymachines with 1 machine", &theirs[place]);
            section.times(&row(""), &ours[place], peer, goal);
            section.times(
                &row(""),
                &ours[place],
                ("as many lines in /etc/hosts", &files[place]),
                goal,
            );
        }
    }
}

/// Records are files: so many of them are written.
fn ours(machines: u32, times: usize) -> [Samples; 2] {
    let host = peers::ours();
    host.enter(|| {
        std::fs::create_dir_all("/run/rspawn/machines").unwrap();
        for number in 0..machines {
            let address = address(number);
            let record = format!("VERSION=1\nNAME=m{number}\nCLASS=container\nSERVICE=rspawn\nLEADER=1\nNETWORK=veth\nADDRESS={address}\nEND=1\n");
            std::fs::write(format!("/run/rspawn/machines/m{number}"), record).unwrap();
        }
    });
    [&format!("m{}", machines / 2), NOBODY].map(|name| look_up(&host, name, times))
}

fn files(machines: u32, times: usize) -> [Samples; 2] {
    let host = peers::host_with_names_from("files");
    let lines = (0..machines).map(|number| format!("{} m{number}\n", address(number)));
    host.write("/etc/hosts", lines.collect::<String>());
    [&format!("m{}", machines / 2), NOBODY].map(|name| look_up(&host, name, times))
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0001 + number)
}

fn mymachines(times: usize) -> [Samples; 2] {
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
    ["web", NOBODY].map(|name| look_up(&host, name, times))
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
#include <string.h>
#include <time.h>

int main(int argc, char **argv) {
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
    struct timespec start, end;
    int count = argc > 2 ? atoi(argv[2]) : 0;
    for (int i = -20; i < count; i++) {
        clock_gettime(CLOCK_MONOTONIC, &start);
        int error = getaddrinfo(argv[1], NULL, &hints, &list);
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (error && error != EAI_NONAME && error != EAI_AGAIN) {
            fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(error));
            return 1;
        }
        if ((error == 0) != (strcmp(argv[1], "nobody") != 0)) {
            fprintf(stderr, "%s: wrong answer\n", argv[1]);
            return 1;
        }
        if (!error)
            freeaddrinfo(list);
        if (i >= 0)
            printf("%lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
    }
    return 0;
}
"#;
