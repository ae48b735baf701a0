//! Kernel parameters in network namespaces of the tests' own. Needs root.
#![allow(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Change, Protocol, Sysctl, SysctlError, UndoRecord};
use super::{Held, act_as_router, correct_link, enable_forwarding, forwarding, guard, let_forward};

/// Runs a test on a thread in a new network namespace, with a directory of its own.
fn in_new_netns(test: impl FnOnce(PathBuf) + Send + 'static) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let thread = std::thread::spawn(move || {
        // SAFETY: a plain system call that changes only this thread.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        ip("link set lo up");
        test(path);
    });
    thread.join().unwrap();
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn get(path: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/{path}"))
        .unwrap()
        .trim()
        .to_owned()
}

fn set(path: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{path}"), value).unwrap();
}

/// All parameters of all links that can be read.
fn snapshot() -> Vec<(PathBuf, String)> {
    let mut values = Vec::new();
    for protocol in ["ipv4", "ipv6"] {
        for link in fs::read_dir(format!("/proc/sys/net/{protocol}/conf")).unwrap() {
            for file in fs::read_dir(link.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                if let Ok(value) = fs::read_to_string(&path) {
                    values.push((path, value));
                }
            }
        }
    }
    values.sort();
    values
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ready() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "",
        ".",
        "..",
        "../all",
        "a/b",
        "all",
        "default",
        "a b",
        "a\n",
        "0123456789abcdef",
    ] {
        let error = Sysctl::ipv4_conf(name, "forwarding").unwrap_err();
        assert!(matches!(error, SysctlError::LinkName { .. }), "{name:?}");
    }
    for name in ["eth0.100", "ve-web", "...", "0123456789abcde", "über0"] {
        let sysctl = Sysctl::ipv6_conf(name, "forwarding").unwrap();
        assert!(
            sysctl
                .path()
                .ends_with(format!("ipv6/conf/{name}/forwarding"))
        );
    }
}

#[test]
fn ensure_writes_only_a_difference() {
    in_new_netns(|_| {
        ip("link add eth0.100 type veth peer name x");
        let sysctl = Sysctl::ipv4_conf("eth0.100", "rp_filter").unwrap();
        set("ipv4/conf/eth0.100/rp_filter", "0");
        assert_eq!(
            sysctl.ensure("2").unwrap(),
            Change::Changed {
                former: "0".to_owned()
            }
        );
        assert_eq!(get("ipv4/conf/eth0.100/rp_filter"), "2");
        assert_eq!(sysctl.ensure("2").unwrap(), Change::Already);
    });
}

#[test]
fn errors_name_the_parameter_and_the_value() {
    in_new_netns(|_| {
        let gone = Sysctl::ipv4_conf("ve-gone", "forwarding")
            .unwrap()
            .ensure("1")
            .unwrap_err();
        assert!(
            gone.to_string()
                .contains("/proc/sys/net/ipv4/conf/ve-gone/forwarding"),
            "{gone}"
        );
        let sysctl = Sysctl::ipv4_conf("lo", "forwarding").unwrap();
        let bad = sysctl.ensure("perhaps").unwrap_err().to_string();
        assert!(
            bad.contains("'perhaps'") && bad.contains("conf/lo/forwarding"),
            "{bad}"
        );
        assert!(matches!(
            guard_link("ve-gone"),
            Err(SysctlError::Missing { .. })
        ));
    });
}

#[test]
fn a_guarded_link_is_safe_before_it_goes_up_and_the_rest_is_untouched() {
    in_new_netns(|_| {
        ip("link add ve-web type veth peer name host0");
        set("ipv4/conf/ve-web/route_localnet", "1");
        let of_link = |(path, _): &(PathBuf, String)| path.iter().any(|part| part == "ve-web");
        let before = snapshot();
        guard_link("ve-web").unwrap();
        for (parameter, value) in [
            ("ipv4/conf/ve-web/accept_redirects", "0"),
            ("ipv4/conf/ve-web/send_redirects", "0"),
            ("ipv4/conf/ve-web/route_localnet", "0"),
            ("ipv4/conf/ve-web/forwarding", "1"),
            ("ipv6/conf/ve-web/accept_ra", "0"),
            ("ipv6/conf/ve-web/autoconf", "0"),
            ("ipv6/conf/ve-web/accept_redirects", "0"),
            ("ipv6/conf/ve-web/force_forwarding", "1"),
            ("ipv6/conf/ve-web/forwarding", "0"),
        ] {
            assert_eq!(get(parameter), value, "{parameter}");
        }
        let others = |all: Vec<(PathBuf, String)>| -> Vec<_> {
            all.into_iter().filter(|entry| !of_link(entry)).collect()
        };
        assert_eq!(others(snapshot()), others(before));
        assert_eq!(
            correct_link("ve-web").unwrap(),
            [],
            "a second pass writes nothing"
        );

        // Its own address is there at once.
        ip("link set host0 up");
        ip("link set ve-web up");
        assert!(ip("-6 addr show dev ve-web").contains("fe80:"));
        assert!(!ip("-6 addr show dev ve-web").contains("tentative"));
    });
}

#[test]
fn forwarding_is_turned_on_once_and_undone() {
    in_new_netns(|directory| {
        for link in ["up0", "lan0", "router0"] {
            ip(&format!("link add {link} type veth peer name p-{link}"));
        }
        // This one forwarded before, as others set it up.
        set("ipv4/conf/router0/forwarding", "1");
        let before = snapshot();
        let undo = UndoRecord::at(directory.join("state/sysctl-undo"));

        // The global switch, and IPv6 on the uplink.
        assert_eq!(
            enable_forwarding(&["up0", "gone0"], &undo).unwrap().len(),
            2
        );
        assert_eq!(get("ipv4/ip_forward"), "1");
        assert_eq!(get("ipv4/conf/up0/forwarding"), "1");
        assert_eq!(
            get("ipv6/conf/all/forwarding"),
            "0",
            "the host stays no router"
        );
        assert_eq!(get("ipv6/conf/up0/force_forwarding"), "1");
        assert_eq!(get("ipv6/conf/lan0/force_forwarding"), "0");

        let (after, record) = (snapshot(), directory.join("state/sysctl-undo"));
        let text = fs::read_to_string(&record).unwrap();
        assert_eq!(
            enable_forwarding(&["up0", "gone0"], &undo).unwrap().len(),
            0
        );
        assert_eq!(snapshot(), after);
        assert_eq!(fs::read_to_string(&record).unwrap(), text);

        let undone = undo.undo().unwrap();
        assert!(
            undone.failed.is_empty() && undone.left.is_empty(),
            "{undone:?}"
        );
        assert_eq!(snapshot(), before);
        assert!(!record.exists());
        assert!(undo.undo().unwrap().restored.is_empty(), "can be repeated");
    });
}

#[test]
fn what_was_on_before_is_not_recorded() {
    in_new_netns(|directory| {
        set("ipv4/ip_forward", "1");
        set("ipv6/conf/all/forwarding", "1");
        let before = snapshot();
        let undo = UndoRecord::at(directory.join("undo"));
        assert_eq!(enable_forwarding(&["lo"], &undo).unwrap().len(), 0);
        assert_eq!(snapshot(), before);
        assert!(!directory.join("undo").exists());
    });
}

#[test]
fn what_others_changed_since_is_left_alone() {
    in_new_netns(|directory| {
        ip("link add up0 type veth peer name p0");
        let undo = UndoRecord::at(directory.join("undo"));
        enable_forwarding(&["up0"], &undo).unwrap();
        set("ipv6/conf/up0/force_forwarding", "0");
        let undone = undo.undo().unwrap();
        assert_eq!(
            undone.left,
            [PathBuf::from(
                "/proc/sys/net/ipv6/conf/up0/force_forwarding"
            )]
        );
        assert_eq!(get("ipv4/ip_forward"), "0");
    });
}

#[test]
fn a_record_that_is_none_is_refused_with_its_line() {
    in_new_netns(|directory| {
        let path = directory.join("undo");
        let good = "/proc/sys/net/ipv4/conf/lo/forwarding 0 1\n";
        for bad in [
            "/proc/sys/kernel/core_pattern 0 1",
            "/proc/sys/net/../kernel/core_pattern 0 1",
            "/proc/sys/net/ipv4/ip_forward 0",
            "/proc/sys/net/ipv4/ip_forward 0 1 2",
            "",
        ] {
            fs::write(&path, format!("{good}{bad}\n")).unwrap();
            set("ipv4/conf/lo/forwarding", "1");
            let error = UndoRecord::at(&path).undo().unwrap_err();
            assert!(
                matches!(error, SysctlError::BadRecord { line: 2, .. }),
                "{bad}: {error}"
            );
            assert_eq!(get("ipv4/conf/lo/forwarding"), "1", "nothing undone");
        }
    });
}

/// Sends a router advertisement to all nodes by a link, RFC 4861 section 4.2.
fn advertise(link: &str) {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    let index: u32 = ip(&format!("-o link show {link}"))
        .split(':')
        .next()
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let mut message: Vec<u8> = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08];
    message.extend([0; 8]);
    // SAFETY: a new descriptor, owned from here on; then plain values, each with its size.
    unsafe {
        let fd = libc::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6);
        assert!(fd >= 0);
        let socket = OwnedFd::from_raw_fd(fd);
        let hops: libc::c_int = 255;
        let size = size_of_val(&hops) as u32;
        let value = (&raw const hops).cast();
        let option = libc::IPV6_MULTICAST_HOPS;
        assert_eq!(
            libc::setsockopt(fd, libc::IPPROTO_IPV6, option, value, size),
            0
        );
        let mut to: libc::sockaddr_in6 = std::mem::zeroed();
        to.sin6_family = libc::AF_INET6 as u16;
        to.sin6_addr.s6_addr = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
        to.sin6_scope_id = index;
        let size = size_of_val(&to) as u32;
        let to = (&raw const to).cast();
        let fd = socket.as_raw_fd();
        let sent = libc::sendto(fd, message.as_ptr().cast(), message.len(), 0, to, size);
        assert_eq!(usize::try_from(sent).ok(), Some(message.len()));
    }
}

/// A host with an uplink on which it has a default route from a router advertisement,
/// and a link of ours.
fn host_with_a_learnt_route() {
    ip("link add up0 type veth peer name router0");
    ip("link add ve-web type veth peer name host0");
    set("ipv6/conf/router0/accept_dad", "0");
    for link in ["up0", "router0", "ve-web", "host0"] {
        ip(&format!("link set {link} up"));
    }
    // The router lives in this namespace, too, so its advertisements are of our own.
    set("ipv6/conf/up0/accept_ra_from_local", "1");
    for link in ["up0", "router0"] {
        wait_for("the link", || {
            let addresses = ip(&format!("-6 addr show dev {link}"));
            addresses.contains("fe80:") && !addresses.contains("tentative")
        });
    }
    advertise("router0");
    advertise("router0");
    wait_for("the route", learnt);
}

fn learnt() -> bool {
    ip("-6 route show default").contains("dev up0 proto ra")
}

#[test]
fn the_trap_is_there() {
    in_new_netns(|_| {
        host_with_a_learnt_route();
        set("ipv6/conf/ve-web/forwarding", "1");
        assert!(
            !learnt(),
            "the kernel no longer drops the host's routes: simplify"
        );
    });
}

#[test]
fn the_host_keeps_the_default_route_that_it_learnt() {
    in_new_netns(|directory| {
        host_with_a_learnt_route();
        let undo = UndoRecord::at(directory.join("undo"));
        guard_link("ve-web").unwrap();
        enable_forwarding(&["up0"], &undo).unwrap();
        assert!(learnt());
        assert_eq!(get("ipv6/conf/up0/accept_ra"), "1");

        assert_eq!(
            act_as_router("ve-web", &["up0", "router0", "gone0"], &undo)
                .unwrap()
                .len(),
            3
        );
        assert_eq!(get("ipv6/conf/ve-web/forwarding"), "1");
        assert_eq!(get("ipv6/conf/up0/accept_ra"), "2");
        assert!(learnt());
        assert_eq!(act_as_router("ve-web", &["up0"], &undo).unwrap().len(), 0);

        undo.undo().unwrap();
        assert_eq!(get("ipv6/conf/up0/accept_ra"), "1");
        assert!(learnt());
    });
}

#[test]
fn without_force_forwarding_the_global_switch_keeps_the_learnt_route() {
    in_new_netns(|directory| {
        host_with_a_learnt_route();
        set("ipv6/conf/host0/accept_ra", "0");
        let before = snapshot();
        let undo = UndoRecord::at(directory.join("undo"));
        assert!(!forwarding::enable_ipv6_globally(&undo).unwrap().is_empty());
        assert_eq!(get("ipv6/conf/all/forwarding"), "1");
        assert_eq!(get("ipv6/conf/up0/accept_ra"), "2");
        assert_eq!(get("ipv6/conf/host0/accept_ra"), "0", "off stays off");
        assert_eq!(
            get("ipv6/conf/default/accept_ra"),
            "2",
            "for links that come later"
        );
        assert!(learnt());
        assert_eq!(forwarding::enable_ipv6_globally(&undo).unwrap().len(), 0);

        let undone = undo.undo().unwrap();
        assert!(
            undone.failed.is_empty() && undone.left.is_empty(),
            "{undone:?}"
        );
        assert_eq!(snapshot(), before);
        assert!(learnt());
        assert!(Protocol::V6.present());
    });
}

fn guard_link(link: &str) -> Result<(), SysctlError> {
    guard(link, Protocol::V4, Held::default())?;
    guard(link, Protocol::V6, Held::default())?;
    let_forward(link, Held::default())
}
