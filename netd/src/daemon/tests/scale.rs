//! What a step costs does not grow with the number of links.

use super::*;
use crate::operations::{self, Operations};

/// Creates many containers' links at once.
fn make_links(prefix: &str, count: usize) {
    let mut batch = String::new();
    for n in 0..count {
        batch.push_str(&format!(
            "link add ve-{prefix}{n} group {} type veth peer name {prefix}{n}\n",
            registry::LINK_GROUP
        ));
        batch.push_str(&format!("link set {prefix}{n} up\n"));
    }
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut ip.stdin.take().unwrap(), batch.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
}

fn all_confirmed(daemon: &Daemon, count: usize) -> bool {
    daemon.links.len() == count && daemon.links.values().all(|own| own.confirmed)
}

/// Works until nothing more comes of what was done.
async fn settle(rig: &mut Rig) {
    loop {
        let before = operations::done();
        // The kernel looks for a second whether an IPv6 address is somebody else's.
        let pause = tokio::time::sleep(Duration::from_millis(2500));
        rig.daemon.run(pause).await.unwrap();
        if operations::done().netlink_received == before.netlink_received {
            return;
        }
    }
}

/// What one more link costs beside `others`.
async fn cost_of_one_more(rig: &mut Rig, name: &str) -> Operations {
    settle(rig).await;
    let before = operations::done();
    let index = rig.make_link(name);
    rig.work_until(confirmed(index)).await;
    settle(rig).await;
    operations::done().since(&before)
}

#[test]
fn one_more_link_costs_the_same_beside_few_and_beside_many() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        make_links("few", 4);
        rig.work_until(|daemon| all_confirmed(daemon, 4)).await;
        let beside_few = cost_of_one_more(&mut rig, "one").await;
        make_links("many", 300);
        rig.work_until(|daemon| all_confirmed(daemon, 305)).await;
        let beside_many = cost_of_one_more(&mut rig, "two").await;
        assert!(beside_few.writes() > 0);
        let bytes = |done: &Operations| done.netlink_received.take();
        let (few, many) = (bytes(&beside_few), bytes(&beside_many));
        assert!(many <= few + few / 5, "{few} bytes read, then {many}");
        // An event that was under way may have a request made once more.
        let (few, many) = (beside_few.writes(), beside_many.writes());
        assert!(many <= few + 2, "{beside_few:?}, then {beside_many:?}");
        for done in [&beside_few, &beside_many] {
            let read = [&done.sysctl_reads, &done.dumps, &done.scanned];
            assert_eq!(read.map(std::cell::Cell::get), [0; 3], "{done:?}");
        }
    });
}

#[test]
fn many_links_at_once_cost_each_no_more_than_one_alone() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        let alone = cost_of_one_more(&mut rig, "one").await;
        let before = operations::done();
        make_links("many", 300);
        rig.work_until(|daemon| all_confirmed(daemon, 301)).await;
        settle(&mut rig).await;
        let all = operations::done().since(&before);
        let each = |all: &std::cell::Cell<usize>| all.get().div_ceil(300);
        assert!(each(&all.link_changes) <= alone.link_changes.get() + 1);
        assert!(each(&all.sysctl_writes) <= alone.sysctl_writes.get());
        assert!(each(&all.sysctl_reads) <= alone.sysctl_reads.get() + 1);
        // Links that come up together are told of once more each, as their carrier changes.
        let (bytes, one) = (each(&all.netlink_received), alone.netlink_received.get());
        assert!(
            bytes <= one + one / 2,
            "{bytes} bytes a link, {one} for one alone"
        );
        assert_eq!(
            all.dumps.get(),
            0,
            "nothing was lost, so nothing is read anew"
        );
        assert_eq!(all.scanned.get(), 0);
    });
}

#[test]
fn a_second_pass_over_an_unchanged_world_changes_nothing() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        make_links("some", 20);
        rig.work_until(|daemon| all_confirmed(daemon, 20)).await;
        let index = index_of("ve-some7");
        rig.register("some7", Network::Veth { ifindex: index })
            .await;
        rig.configured().await;
        settle(&mut rig).await;
        let before = operations::done();
        rig.daemon.resynchronize().await.unwrap();
        rig.daemon.reconcile().await;
        rig.daemon.firewall.heal(None);
        settle(&mut rig).await;
        let done = operations::done().since(&before);
        assert_eq!(done.writes(), 0, "{done:?}");
        assert!(done.dumps.get() > 0, "it was no pass at all");
        assert!(rig.record("some7").is_some());
    });
}

#[test]
fn what_is_lost_is_read_anew_while_links_come_and_go() {
    in_namespace(|| async {
        let mut rig = Rig::new().await;
        // Room for a handful of events.
        rig.daemon.monitor = Monitor::with_room(4096).unwrap();
        for round in 0..4 {
            make_links(&format!("r{round}x"), 40);
            if round > 0 {
                ip(&format!("link del ve-r{}x7", round - 1));
            }
            let pause = tokio::time::sleep(Duration::from_millis(1));
            rig.daemon.run(pause).await.unwrap();
        }
        rig.work_until(|daemon| all_confirmed(daemon, 4 * 40 - 3))
            .await;
        for index in rig.daemon.links.keys() {
            assert_eq!(rig.addresses(*index).len(), 2);
        }
        assert!(operations::done().dumps.get() > 4, "nothing was lost");
    });
}
