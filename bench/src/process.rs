//! What a process costs, by /proc (proc(5)).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use netns_fixtures::{Host, wait_until};

/// A process on the machine.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// What is in memory of it.
    pub rss: u64,
    /// The same, with each page that it shares divided among those that share it.
    pub pss: u64,
    /// What is nobody else's.
    pub private: u64,
}

impl std::ops::Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            private: self.private + other.private,
        }
    }
}

/// How often a process gave up the processor.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// Each thread's name, and how often it slept.
    pub threads: Vec<(String, u64)>,
}

impl Switches {
    /// How often any thread slept.
    pub fn total(&self) -> u64 {
        self.threads.iter().map(|(_, count)| count).sum()
    }

    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let threads = self
            .threads
            .iter()
            .enumerate()
            .map(|(place, (name, count))| {
                let before = before.threads.get(place).map_or(0, |(_, count)| *count);
                (name.clone(), count - before)
            });
        Self {
            threads: threads.collect(),
        }
    }
}

impl Process {
    fn path(self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.0))
    }

    fn threads(self) -> Vec<PathBuf> {
        let tasks = fs::read_dir(self.path().join("task")).expect("the process runs");
        let mut tasks: Vec<PathBuf> = tasks.flatten().map(|task| task.path()).collect();
        tasks.sort();
        tasks
    }

    /// The processor's time that all its threads have had, in user space and in the kernel.
    pub fn processor(self) -> Duration {
        let of_thread = |thread: PathBuf| {
            let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            let first = text.split(' ').next().and_then(|word| word.parse().ok());
            Duration::from_nanos(first.unwrap_or(0))
        };
        self.threads().into_iter().map(of_thread).sum()
    }

    /// Waits until it does nothing.
    pub fn settle(self) {
        let mut before = self.processor();
        let mut quiet = 0;
        let settled = wait_until(Duration::from_secs(120), || {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.processor();
            quiet = if now - before < Duration::from_micros(200) {
                quiet + 1
            } else {
                0
            };
            before = now;
            quiet >= 4
        });
        assert!(settled, "process {} never rests", self.0);
    }

    /// Its memory.
    pub fn memory(self) -> Memory {
        let text = fs::read_to_string(self.path().join("smaps_rollup")).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Memory {
            rss: field("Rss:"),
            pss: field("Pss:"),
            private: field("Private_Clean:") + field("Private_Dirty:"),
        }
    }

    /// How often each of its threads slept so far.
    pub fn switches(self) -> Switches {
        let of_thread = |thread: PathBuf| {
            let text = fs::read_to_string(thread.join("status")).unwrap_or_default();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            let count = field("voluntary_ctxt_switches:").parse().unwrap_or(0);
            (field("Name:"), count)
        };
        Switches {
            threads: self.threads().into_iter().map(of_thread).collect(),
        }
    }
}

/// The processes of a host that run this program.
pub fn running(host: &Host, program: &str) -> Vec<Process> {
    let all = host.processes_in("").into_iter();
    let runs = |pid: &u32| {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path.ends_with(program))
    };
    all.filter(runs).map(Process).collect()
}

/// Has it told what a process said last, and how many descriptors it has open, when a
/// measurement fails.
pub fn tell_of_at_failure(pid: u32) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return;
        };
        eprintln!("process {pid} has {} descriptors", descriptors.count());
        let said = fs::read(format!("/proc/{pid}/fd/2")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().rev().take(10).collect();
        for line in lines.iter().rev() {
            eprintln!("{line}");
        }
    }));
}
