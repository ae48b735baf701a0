//! What a process can no longer do once it has given up what netd does not need.
//!
//! Each attempt is made by a process of its own that has no thread but the test's.
// A broken preparation is a failed test.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use netd::privileges;
use netd::worker::Worker;

const HAS_FAILED: i32 = 7;
const HAS_WORKED: i32 = 8;

/// Calls by number, with arguments that do nothing should they be let through.
const DEADLY: [(&str, i64); 22] = [
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("setns", libc::SYS_setns),
    ("unshare", libc::SYS_unshare),
    ("mount", libc::SYS_mount),
    ("umount2", libc::SYS_umount2),
    ("open_tree", libc::SYS_open_tree),
    ("fsopen", libc::SYS_fsopen),
    ("chroot", libc::SYS_chroot),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("bpf", libc::SYS_bpf),
    ("init_module", libc::SYS_init_module),
    ("finit_module", libc::SYS_finit_module),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("add_key", libc::SYS_add_key),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("perf_event_open", libc::SYS_perf_event_open),
];

/// Calls that an older kernel would not have. In a build for debugging they are deadly.
const MISSING: [(&str, [i64; 4]); 8] = [
    ("a process", [libc::SYS_clone, libc::SIGCHLD as i64, 0, 0]),
    (
        "a namespace",
        [libc::SYS_clone, libc::CLONE_NEWUSER as i64, 0, 0],
    ),
    ("a signal", [libc::SYS_kill, 1, 0, 0]),
    (
        "a socket",
        [
            libc::SYS_socket,
            libc::AF_VSOCK as i64,
            libc::SOCK_STREAM as i64,
            0,
        ],
    ),
    ("code", [libc::SYS_mprotect, 0, 0, libc::PROT_EXEC as i64]),
    ("a user", [libc::SYS_setresuid, 1, 1, 1]),
    ("an ioctl", [libc::SYS_ioctl, 0, libc::TIOCSTI as i64, 0]),
    (
        "a dump",
        [libc::SYS_prctl, libc::PR_SET_DUMPABLE as i64, 1, 0],
    ),
];

/// What becomes of a process that has given up its privileges and makes a call.
fn outcome(call: &str) -> ExitStatus {
    // SAFETY: the child is this thread alone. The C library keeps its allocator usable
    // in it, and it ends without coming back.
    match unsafe { libc::fork() } {
        0 => {
            let code = if attempt(call) {
                HAS_WORKED
            } else {
                HAS_FAILED
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the status is written to a variable of its type.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            ExitStatus::from_raw(status)
        }
    }
}

/// Gives up the privileges and makes the call. Whether it works.
fn attempt(call: &str) -> bool {
    // No dump of what is killed on purpose.
    rustix::process::setrlimit(
        rustix::process::Resource::Core,
        rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .unwrap();
    let worker = Worker::start().unwrap();
    privileges::drop_all(&worker.queue()).unwrap();
    match call {
        "threads" => std::thread::spawn(|| std::fs::read("/etc/hosts").is_ok())
            .join()
            .unwrap(),
        "files" => tempfile::tempdir().is_ok_and(|dir| {
            let path = dir.path().join("file");
            std::fs::write(&path, "text").is_ok() && std::fs::remove_file(path).is_ok()
        }),
        "capabilities" => {
            let all = rustix::thread::CapabilitySet::from_bits_retain(u64::MAX >> 23);
            let sets = rustix::thread::CapabilitySets {
                effective: all,
                permitted: all,
                inheritable: all,
            };
            rustix::thread::set_capabilities(None, sets).is_err()
        }
        call => {
            let deadly = DEADLY.iter().find(|(name, _)| *name == call);
            let missing = MISSING.iter().find(|(name, _)| *name == call);
            let [number, first, second, third] = match (deadly, missing) {
                (Some((_, number)), _) => [*number, -1, 0, 0],
                (_, Some((_, call))) => *call,
                _ => panic!("no call {call}"),
            };
            // SAFETY: the arguments name no memory of this process.
            let result = unsafe { libc::syscall(number, first, second, third, 0, 0) };
            result >= 0
        }
    }
}

#[test]
fn what_netd_needs_works_on() {
    for call in ["threads", "files", "capabilities"] {
        assert_eq!(outcome(call).code(), Some(HAS_WORKED), "{call}");
    }
}

#[test]
fn calls_that_only_an_intruder_makes_end_the_process() {
    for (name, _) in DEADLY {
        let outcome = outcome(name);
        assert_eq!(outcome.signal(), Some(libc::SIGSYS), "{name}: {outcome}");
    }
}

#[test]
fn other_calls_are_not_there() {
    for (name, _) in MISSING {
        let outcome = outcome(name);
        if cfg!(debug_assertions) {
            assert_eq!(outcome.signal(), Some(libc::SIGSYS), "{name}: {outcome}");
        } else {
            assert_eq!(outcome.code(), Some(HAS_FAILED), "{name}: {outcome}");
        }
    }
}
