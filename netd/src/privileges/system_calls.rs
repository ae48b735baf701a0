//! The system calls that netd may make (seccomp(2)).
//!
//! Filters of which the strictest answer counts. One ends netd at calls that only
//! an intruder makes: the kernel's log and the service's result (`signal=SYS`) tell.
//! Another answers ENOSYS to whatever is not on the list, as an older kernel would, so
//! that a newer C library takes another way. In a build for debugging that ends netd as
//! well: what the list lacks is found by the tests, and not by users.

use std::collections::BTreeMap;

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// System calls could not be limited.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The filter is wrong.
    #[error("cannot make the filter of system calls")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel does not take it.
    #[error("cannot limit the system calls")]
    Install(#[from] seccompiler::Error),
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that netd never makes, and an intruder would: to start programs, to reach
/// other processes, the file system's structure, the kernel itself.
const NEVER: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_mknodat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Calls that are free, whatever their arguments.
const ALLOWED: &[i64] = &[
    // Files.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_umask,
    libc::SYS_utimensat,
    libc::SYS_fgetxattr,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    // The journal takes what is too long for a datagram so.
    libc::SYS_memfd_create,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Sockets; which, is said below.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // Waiting, and time.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    // Memory; what maps code, is said below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    // Threads and signals of its own.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Who it is and where it runs.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_pidfd_open,
];

/// Calls of the same kinds that only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_link,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_accept,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[libc::SYS_accept];

/// Families of sockets: netd's own, and those by which name services are asked.
const FAMILIES: [i32; 5] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
    libc::AF_PACKET,
];

/// ioctl(2): what the C library and the event loop ask of a descriptor, the names of
/// links, and the namespace of a socket. Numbers that the C library does not name are
/// those of the kernel's sockios.h and termbits.h.
const IOCTLS: [u64; 9] = [
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::FIONREAD,
    libc::TCGETS,
    TCGETS2,
    libc::TIOCGWINSZ,
    libc::SIOCGIFINDEX,
    SIOCGIFNAME,
    SIOCGSKNS,
];
const TCGETS2: u64 = 0x802c_542a;
const SIOCGIFNAME: u64 = 0x8910;
const SIOCGSKNS: u64 = 0x894c;

/// prctl(2): names of threads and mappings, what the C library reads of the process, and
/// what a thread that starts gives up.
const PRCTLS: [u64; 7] = [
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_SET_VMA as u64,
    PR_GET_AUXV,
    libc::PR_SET_NO_NEW_PRIVS as u64,
    libc::PR_CAP_AMBIENT as u64,
    libc::PR_CAPBSET_DROP as u64,
];
const PR_GET_AUXV: u64 = 0x4155_5856;

/// Has the kernel filter the system calls of all threads from now on.
///
/// On an architecture that the filter cannot be made for, netd runs without it and says
/// so.
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
pub(super) fn filter_all_threads() -> Result<(), FilterError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = |rules, else_do, on_match| -> Result<(), FilterError> {
        let filter = SeccompFilter::new(rules, else_do, on_match, architecture)?;
        let program: seccompiler::BpfProgram = filter.try_into()?;
        Ok(seccompiler::apply_filter_all_threads(&program)?)
    };
    let never = NEVER.iter().map(|call| (*call, vec![])).collect();
    filter(never, SeccompAction::Allow, SeccompAction::KillProcess)?;
    let missing = || SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    // It has its flags where no filter can read them: without it the C library uses
    // clone(2).
    let clone3 = Rules::from([(libc::SYS_clone3, vec![])]);
    filter(clone3, SeccompAction::Allow, missing())?;
    let unknown = if cfg!(debug_assertions) {
        SeccompAction::KillProcess
    } else {
        missing()
    };
    filter(allowed()?, unknown, SeccompAction::Allow)
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
pub(super) fn filter_all_threads() -> Result<(), FilterError> {
    tracing::warn!("system calls are not limited on this architecture");
    Ok(())
}

fn allowed() -> Result<Rules, FilterError> {
    let free = ALLOWED.iter().chain(ALLOWED_HERE);
    let mut rules: Rules = free.map(|call| (*call, vec![])).collect();
    let families = FAMILIES.map(|family| u64::from(family.cast_unsigned()));
    rules.insert(libc::SYS_socket, one_of(0, &families)?);
    rules.insert(
        libc::SYS_socketpair,
        one_of(0, &[u64::from(libc::AF_UNIX.cast_unsigned())])?,
    );
    rules.insert(libc::SYS_ioctl, one_of(1, &IOCTLS)?);
    rules.insert(libc::SYS_prctl, one_of(0, &PRCTLS)?);
    // Threads, and no processes; clone3(2) has a filter of its own.
    rules.insert(libc::SYS_clone3, vec![]);
    let thread = masked(0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]);
    // Capabilities are looked at and given up by threads that start; more than it has no
    // thread gets so.
    rules.insert(libc::SYS_capget, vec![]);
    rules.insert(libc::SYS_capset, vec![]);
    // Limits are read alone, and signals go to netd itself: that is how it aborts.
    rules.insert(libc::SYS_prlimit64, one_of_long(2, 0)?);
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, one_of(0, &[own])?);
    // Code comes from files and is never written to.
    let (write, execute) = (libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    let not_both = [0, write, execute]
        .into_iter()
        .map(|bits| SeccompRule::new(vec![masked(2, write | execute, bits)?]))
        .collect::<Result<_, seccompiler::BackendError>>()?;
    rules.insert(libc::SYS_mmap, not_both);
    let not_code = SeccompRule::new(vec![masked(2, execute, 0)?])?;
    rules.insert(libc::SYS_mprotect, vec![not_code]);
    Ok(rules)
}

/// That an argument of 32 bits is one of some values.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |value: &u64| {
        SeccompRule::new(vec![SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            *value,
        )?])
    };
    values.iter().map(rule).collect()
}

/// That an argument of 64 bits is a value.
fn one_of_long(argument: u8, value: u64) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    Ok(vec![SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::Eq,
        value,
    )?])?])
}

/// That some bits of an argument are these.
fn masked(
    argument: u8,
    mask: u64,
    bits: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(mask),
        bits,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_deadly() {
        let allowed = allowed().unwrap();
        for call in NEVER {
            assert!(!allowed.contains_key(call), "call {call}");
        }
        for call in [libc::SYS_kill, libc::SYS_fchownat] {
            assert!(!allowed.contains_key(&call), "call {call}");
        }
    }
}
