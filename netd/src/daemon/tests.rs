//! The daemon in a network namespace of its own: links, events and sysctls are the
//! kernel's, and a test says when they are read.

use ipnetwork::IpNetwork;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Duration;

use registry::LeaderId;
use registry::protocol::{Configured, Network, Registration, ToSupervisor};
use tokio::task::LocalSet;

use super::*;
use crate::rtnl::LinkAddress;
use crate::supervisors::{ConnectionId, Registering, SupervisorEvent};

mod scale;

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test on a thread in a network namespace of its own.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        #[allow(unsafe_code)]
        // SAFETY: the thread is this closure's own and ends with it.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
        ip("link set lo up");
        // The links' other ends are here as well, and are no way out for this host.
        std::fs::write("/proc/sys/net/ipv6/conf/default/accept_ra", "0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, test());
    });
    thread.join().unwrap();
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// A process that a machine may have for its leader.
struct Payload(Child);

impl Payload {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn identity(&self) -> (LeaderId, OwnedFd) {
        let pid = rustix::process::Pid::from_raw(self.0.id() as i32).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        (LeaderId::of(self.0.id(), &pidfd).unwrap(), pidfd)
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Rig {
    daemon: Daemon,
    answers: mpsc::Receiver<ToSupervisor>,
    answer: mpsc::Sender<ToSupervisor>,
    connections: u64,
    directory: tempfile::TempDir,
    payload: Payload,
}

impl Rig {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            runtime: directory.path().join("run"),
            state: directory.path().join("state"),
        };
        let (answer, answers) = mpsc::channel(16);
        Self {
            daemon: Daemon::start(places).await.unwrap(),
            answers,
            answer,
            connections: 0,
            directory,
            payload: Payload::new(),
        }
    }

    fn record(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.directory.path().join("run/machines").join(name)).ok()
    }

    /// The host's end of a container's link, as a supervisor makes it.
    fn make_link(&self, name: &str) -> u32 {
        ip(&format!(
            "link add ve-{name} group {} type veth peer name {name}0",
            registry::LINK_GROUP
        ));
        ip(&format!("link set {name}0 up"));
        index_of(&format!("ve-{name}"))
    }

    async fn register(&mut self, name: &str, network: Network) {
        self.connections += 1;
        let (leader, leader_pidfd) = self.payload.identity();
        let (supervisor, _) = self.payload.identity();
        let registering = Registering {
            connection: ConnectionId::from(self.connections),
            answer: self.answer.clone(),
            registration: Registration {
                name: name.parse().unwrap(),
                service: "rspawn".into(),
                id: None,
                root: "/srv".into(),
                cgroup: String::new(),
                network,
                ephemeral: false,
                running: false,
            },
            leader,
            leader_pidfd,
            supervisor,
            netlink: None,
        };
        let event = SupervisorEvent::Registered(Box::new(registering));
        self.daemon.take(Input::Supervisor(event)).await;
    }

    /// The container's end of the link of the machine that registered last is set.
    async fn configured(&mut self) {
        let event = SupervisorEvent::Configured(
            ConnectionId::from(self.connections),
            Configured::default(),
        );
        self.daemon.take(Input::Supervisor(event)).await;
    }

    /// Reads one batch of the kernel's events, without acting on it.
    async fn read_events(&mut self) {
        let event = tokio::time::timeout(PATIENCE, self.daemon.monitor.next()).await;
        self.daemon
            .take_kernel_events(event.unwrap().unwrap())
            .unwrap();
    }

    /// Works as the daemon does until `done`.
    async fn work_until(&mut self, mut done: impl FnMut(&Daemon) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.daemon) {
            assert!(Instant::now() < deadline, "it does not come to that");
            self.daemon.reconcile().await;
            let pause = tokio::time::sleep(Duration::from_millis(10));
            let _ = self.daemon.run(pause).await;
        }
    }

    fn addresses(&self, index: u32) -> Vec<IpNetwork> {
        let addresses = self.daemon.world.addresses(index).iter();
        addresses.filter(|a| a.ours).map(|a| a.address).collect()
    }
}

fn index_of(link: &str) -> u32 {
    let output = Command::new("ip")
        .args(["-o", "link", "show", link])
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.split(':').next().unwrap().parse().unwrap()
}

fn confirmed(index: u32) -> impl Fn(&Daemon) -> bool {
    move |daemon| daemon.links.get(&index).is_some_and(|own| own.confirmed)
}

fn host0_of(answer: ToSupervisor) -> Vec<IpNetwork> {
    match answer {
        ToSupervisor::Registered(registered) => registered.host0.unwrap().addresses,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_route_that_appears_between_choice_and_use_leads_to_another_subnet() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        let index = rig.make_link("web");
        while rig.daemon.world.link(index).is_none() {
            rig.read_events().await;
        }
        let web: MachineName = "web".parse().unwrap();
        rig.register("web", Network::Veth { ifindex: index }).await;
        let first = rig
            .daemon
            .choose(&web.into(), index)
            .await
            .unwrap()
            .v4
            .unwrap();
        // The daemon has looked, and has not read of this when it sets the address.
        ip(&format!("route add blackhole {first}"));
        rig.daemon.reconcile().await;
        assert!(!rig.daemon.links[&index].confirmed);
        assert!(rig.answers.try_recv().is_err(), "answered too early");
        rig.work_until(confirmed(index)).await;
        let subnet = rig.daemon.links[&index].subnets.unwrap().v4.unwrap();
        assert_ne!(subnet, first);
        let host0 = host0_of(rig.answers.try_recv().unwrap());
        assert!(host0.iter().all(|address| !first.contains_ip(address.ip())));
        assert!(host0.iter().any(IpNetwork::is_ipv4));
        assert!(rig.answers.try_recv().is_err(), "answered once");
        let set = rig.addresses(index);
        assert_eq!(set.iter().filter(|address| address.is_ipv4()).count(), 1);
        assert!(set.iter().all(|address| !first.contains_ip(address.ip())));
    });
}

trait ContainsIp {
    fn contains_ip(&self, ip: IpAddr) -> bool;
}

impl ContainsIp for ipnetwork::Ipv4Network {
    fn contains_ip(&self, ip: IpAddr) -> bool {
        IpNetwork::V4(*self).contains(ip)
    }
}

#[test]
fn a_link_that_the_kernel_has_yet_to_tell_of_is_not_gone() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        let index = rig.make_link("web");
        rig.register("web", Network::Veth { ifindex: index }).await;
        // While there are very many events, they are let wait.
        rig.daemon.reconcile().await;
        assert!(rig.daemon.world.link(index).is_none());
        assert_eq!(rig.record("web"), None, "its name resolves, to nothing");
        let told = tokio::time::timeout(Duration::from_secs(1), rig.daemon.inputs.recv()).await;
        assert!(told.is_err(), "to be said to have lost its link: {told:?}");
        rig.work_until(confirmed(index)).await;
        assert_eq!(host0_of(rig.answers.try_recv().unwrap()).len(), 2);
    });
}

#[test]
fn the_link_of_a_machine_that_crashed_is_no_port_any_more() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        ip("link add br0 up type bridge");
        let group = registry::LINK_GROUP;
        ip(&format!(
            "link add vb-db master br0 up group {group} type veth peer name db0"
        ));
        let (ifindex, bridge) = (index_of("vb-db"), index_of("br0"));
        rig.register("db", Network::Bridge { ifindex, bridge })
            .await;
        let is_port = |daemon: &Daemon| {
            let link = daemon.world.link(ifindex);
            link.is_some_and(|link| link.controller == Some(bridge))
        };
        rig.work_until(is_port).await;
        rig.daemon.retire_link(ifindex);
        rig.work_until(|daemon| !is_port(daemon)).await;
        let link = rig.daemon.world.link(ifindex).unwrap();
        assert!(link.name.starts_with('x'), "{link:?}");
    });
}

#[test]
fn where_ipv6_is_disabled_a_machine_has_ipv4() {
    in_namespace(|| async {
        for key in ["all", "default"] {
            // Of the calling thread's namespace.
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{key}/disable_ipv6"), "1").unwrap();
        }
        let mut rig = Rig::new().await;
        let index = rig.make_link("web");
        rig.register("web", Network::Veth { ifindex: index }).await;
        rig.work_until(confirmed(index)).await;
        let host0 = host0_of(rig.answers.try_recv().unwrap());
        assert_eq!(host0.len(), 1);
        assert!(host0[0].is_ipv4());
        let link = rig.daemon.world.link(index).unwrap();
        assert!(link.up);
        assert!(rig.daemon.links[&index].dhcp.is_some());
        // It is not tried again and again.
        assert!(rig.daemon.retries.next().is_none());
        assert!(rig.daemon.dirty.is_empty());
        rig.daemon
            .take_supervisor_event(SupervisorEvent::Configured(
                ConnectionId::from(1),
                Configured::default(),
            ))
            .await;
        let record = rig.record("web").unwrap();
        let addresses = record.lines().filter(|line| line.starts_with("ADDRESS="));
        assert_eq!(addresses.count(), 1, "{record}");
    });
}

#[test]
fn what_is_taken_from_a_link_is_restored() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        let index = rig.make_link("web");
        rig.register("web", Network::Veth { ifindex: index }).await;
        rig.work_until(confirmed(index)).await;
        let set = rig.addresses(index);
        assert_eq!(set.len(), 2);
        let has = |daemon: &Daemon, address: IpNetwork| {
            let mut present = daemon.world.addresses(index).iter();
            present.any(|present| present.address == address)
        };
        for address in set {
            ip(&format!("address del {address} dev ve-web"));
            while has(&rig.daemon, address) {
                rig.read_events().await;
            }
            rig.work_until(|daemon| has(daemon, address)).await;
        }
        ip("link set ve-web down");
        while rig.daemon.world.link(index).is_some_and(|link| link.up) {
            rig.read_events().await;
        }
        rig.work_until(|daemon| {
            let up = daemon.world.link(index).is_some_and(|link| link.up);
            up && daemon
                .world
                .addresses(index)
                .iter()
                .filter(|a| a.ours)
                .count()
                == 2
        })
        .await;
    });
}

#[test]
fn a_clash_is_told_for_as_long_as_it_lasts() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        let index = rig.make_link("web");
        rig.register("web", Network::Veth { ifindex: index }).await;
        rig.work_until(confirmed(index)).await;
        let subnets = rig.daemon.links[&index].subnets.unwrap();
        assert_eq!(rig.daemon.clash_with(&subnets), None);
        let subnet = subnets.v4.unwrap();
        ip(&format!("route add blackhole {subnet} table 100"));
        rig.work_until(|daemon| daemon.clash_with(&subnets) == Some(subnet.into()))
            .await;
        ip(&format!("route del blackhole {subnet} table 100"));
        rig.work_until(|daemon| daemon.clash_with(&subnets).is_none())
            .await;
        assert_eq!(rig.daemon.links[&index].subnets, Some(subnets));
    });
}

#[test]
fn a_name_on_a_bridge_follows_what_the_host_and_others_have() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        let network = Network::Bridge {
            ifindex: 900,
            bridge: 901,
        };
        let claims = |name: &str, leader: &LeaderId, ip: &[&str]| {
            let addresses = ip.iter().map(|ip| LinkAddress {
                index: 2,
                address: ip.parse().unwrap(),
                ours: false,
                usable: true,
            });
            Input::Addresses(name.parse().unwrap(), leader.clone(), addresses.collect())
        };
        let has = |name: &'static str, expected: &'static [&'static str]| {
            move |daemon: &Daemon| {
                let machine = &daemon.machines[&name.parse().unwrap()].machine;
                let ips: Vec<String> = machine.ips().iter().map(ToString::to_string).collect();
                ips == expected
            }
        };
        rig.register("a", network.clone()).await;
        rig.register("b", network).await;
        let (leader, _pidfd) = rig.payload.identity();
        let both = ["10.9.0.5/24", "10.9.0.6/24"];
        rig.daemon.take(claims("a", &leader, &both[..1])).await;
        rig.daemon.take(claims("b", &leader, &both)).await;
        rig.work_until(has("a", &["10.9.0.5"])).await;
        rig.work_until(has("b", &["10.9.0.6"])).await;
        // The host takes one: it is b's no more; then not the host's any longer.
        ip("link add br0 type bridge");
        ip("address add 10.9.0.6/24 dev br0");
        rig.work_until(has("b", &[])).await;
        assert!(!rig.record("b").unwrap().contains("10.9.0.6"));
        ip("link del br0");
        rig.work_until(has("b", &["10.9.0.6"])).await;
        // The other lets go.
        rig.daemon.take(claims("a", &leader, &[])).await;
        rig.work_until(has("b", &["10.9.0.5", "10.9.0.6"])).await;
        let link = rig.directory.path().join("run/addresses/10.9.0.5");
        let target = std::fs::read_link(link).unwrap();
        assert_eq!(target.to_str(), Some("../machines/b"));
        // It wants it back, and waits until the one that holds it has ended.
        rig.daemon.take(claims("a", &leader, &both)).await;
        rig.work_until(|daemon| daemon.to_publish.is_empty()).await;
        assert!(has("a", &[])(&rig.daemon));
        rig.daemon.forget("b".parse().unwrap());
        rig.work_until(has("a", &["10.9.0.5", "10.9.0.6"])).await;
    });
}

#[test]
fn a_record_is_not_written_at_the_pace_of_a_container() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        let network = Network::Bridge {
            ifindex: 900,
            bridge: 901,
        };
        rig.register("a", network).await;
        let (leader, _pidfd) = rig.payload.identity();
        let a: MachineName = "a".parse().unwrap();
        let (began, mut writes, mut last) = (Instant::now(), 0, None);
        for n in 0..200_u8 {
            let address = LinkAddress {
                index: 2,
                address: format!("10.9.0.{n}/24").parse().unwrap(),
                ours: false,
                usable: true,
            };
            rig.daemon.take_addresses(a, &leader, &[address]);
            rig.daemon.publish_bridged();
            let written = rig.daemon.machines[&a].written;
            writes += u32::from(written != last);
            last = written;
        }
        let allowed = 1 + began.elapsed().as_millis() / 50;
        assert!(u128::from(writes) <= allowed, "{writes} of {allowed}");
        rig.work_until(|daemon| daemon.to_publish.is_empty()).await;
        assert!(rig.record("a").unwrap().contains("ADDRESS=10.9.0.199"));
    });
}
