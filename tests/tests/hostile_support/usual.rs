//! How long the usual things take for those who have nothing to do with an attack.

use std::time::{Duration, Instant};

use rspawn_tests::Start;

use super::attack::Attack;
use super::netd::{Netd, Use};
use super::stage::Stage;

/// How often it is changed between peace and attack, so that what else the machine does
/// is the same to both.
const ROUNDS: usize = 3;
/// How often each thing is done in a round.
const TIMES: usize = 5;
/// How often all of it is tried, if the machine has other work as well.
const ATTEMPTS: usize = 5;
/// What a clock's tick, a queue of the scheduler and the like may add.
const TICK: Duration = Duration::from_millis(5);

/// How many containers are registered during an attack that is tried so often.
pub const REGISTRATIONS: usize = ROUNDS * TIMES;

type Thing = (&'static str, fn(&Stage<'_>));

const THINGS: [Thing; 5] = [
    ("lease", lease),
    ("look-up", look_up),
    ("ping by name", ping),
    ("first packets", first_packets),
    ("registration", register),
];

/// How long each of the things took, each time.
#[derive(Debug, Default)]
struct Times([Vec<Duration>; THINGS.len()]);

impl Times {
    fn measure(&mut self, stage: &Stage<'_>) {
        for _ in 0..TIMES {
            for ((_, thing), times) in THINGS.iter().zip(&mut self.0) {
                let began = Instant::now();
                thing(stage);
                times.push(began.elapsed());
            }
        }
    }

    /// The one in the middle of each.
    fn medians(&self) -> [Duration; THINGS.len()] {
        self.0.each_ref().map(|times| {
            let mut times = times.clone();
            times.sort_unstable();
            times[times.len() / 2]
        })
    }
}

/// The other container's address by DHCP, confirmed.
fn lease(stage: &Stage<'_>) {
    let output = stage
        .host
        .command_in_network(stage.web.network(), "busybox")
        .args([
            "udhcpc", "-i", "host0", "-f", "-q", "-n", "-t", "8", "-T", "1",
        ])
        .args(["-s", "/bin/true"])
        .output();
    let output = output.expect_success();
    assert!(
        output.stderr.contains(&stage.web.ipv4().to_string()),
        "another address: {output}"
    );
}

/// A container that comes, is known, and goes.
fn register(stage: &Stage<'_>) {
    let start = Start::new(stage.host, "fresh", &stage.tree);
    let output = start.args(["-a", "/bin/true"]).output().expect_success();
    assert!(!output.stderr.contains("netd"), "not registered: {output}");
}

fn look_up(stage: &Stage<'_>) {
    let found = stage.host.run("getent ahosts web");
    assert!(found.contains(&stage.web.ipv4().to_string()), "{found}");
}

/// Until the first answer: a packet that is lost is sent again, as everybody does it.
const UNTIL_ANSWERED: &str = "ping -c1 -w5 -i0.2";

fn ping(stage: &Stage<'_>) {
    stage.host.run(&format!("{UNTIL_ANSWERED} web"));
}

/// As after a silence: the host has to find the container's link address anew.
fn first_packets(stage: &Stage<'_>) {
    for v6 in [false, true] {
        let ip = super::stage::address(&stage.web, v6);
        let script = format!("ip neigh flush to {ip} dev ve-web; {UNTIL_ANSWERED} {ip}");
        stage.host.run(&script);
    }
}

/// Tries the usual things without and under an attack. None may take more than twice
/// as long. Gives what netd used during the attack.
#[track_caller]
pub fn stays_usual(stage: &mut Stage<'_>, kind: &str) -> Use {
    let keys = stage.keys();
    let mut slower = Vec::new();
    for _ in 0..ATTEMPTS {
        let (used, found) = compare(stage, kind, &keys);
        slower = found;
        if slower.is_empty() {
            return used;
        }
    }
    panic!("under {kind}: {slower:?}\n{}", stage.netd.stderr());
}

/// What netd used, and what took more than twice as long.
fn compare(stage: &mut Stage<'_>, kind: &str, keys: &[String]) -> (Use, Vec<String>) {
    let (mut peace, mut war) = (Times::default(), Times::default());
    let mut used = Use::default();
    // A container that only computes is what peace is: the processor that an attacker
    // uses up is his.
    let calm = Attack::begin(stage, "spin", keys);
    let attack = Attack::begin(stage, kind, keys);
    for _ in 0..ROUNDS {
        attack.pause();
        calm.go_on();
        peace.measure(stage);
        calm.pause();
        let netd = Netd::now(&stage.netd);
        attack.go_on();
        war.measure(stage);
        used += netd.until(&stage.netd);
    }
    calm.go_on();
    calm.end();
    let done = attack.end();
    let (peace, war) = (peace.medians(), war.medians());
    println!("{done}\n  peace {peace:?}\n  war   {war:?}\n  netd {used}");
    let names = THINGS.iter().map(|(name, _)| name);
    let slower = names
        .zip(peace.into_iter().zip(war))
        .filter(|(_, (peace, war))| *war > *peace * 2 + TICK)
        .map(|(name, (peace, war))| format!("{name}: {peace:?} became {war:?}"))
        .collect();
    (used, slower)
}
