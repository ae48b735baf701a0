//! netd: the host daemon of rspawn.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use netd::client::{self, Clients};
use netd::daemon::{Daemon, Places, Query, StartError, load_profiles};
use netd::rtnl::Monitor;
use netd::sysctl::UndoRecord;
use netd::worker::Worker;
use netd::{bus, log, nft, privileges};
use rustix::fs::{FlockOperation, Mode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// For how long it is waited for another netd to end.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// How long apart it is looked whether it has.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Gives the containers of rspawn their addresses, their way out and their names.
///
/// Runs in the foreground, logs to standard error or to the journal, and tells its
/// readiness by sd_notify(3). Stopping it changes nothing for the containers that
/// run.
#[derive(Parser)]
#[command(name = "netd", version)]
struct Arguments {
    /// Say more; twice, say all; three times, let the libraries speak as well
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Take back what netd changed on the host (firewall table, kernel parameters), and exit
    ///
    /// For uninstalling. netd must not run, and containers lose their way out.
    #[arg(long)]
    undo: bool,
    /// Keep all privileges while serving, to find out whether a failure comes from their lack
    ///
    /// Otherwise netd gives up, before it serves, every capability but CAP_NET_ADMIN,
    /// CAP_NET_RAW and CAP_NET_BIND_SERVICE and every system call that it does not use.
    #[arg(long)]
    no_sandbox: bool,
    /// Make /etc/resolv.conf a link to netd's if it is missing and netd is a client here; exit
    ///
    /// For service managers that let netd itself not write there.
    #[arg(long)]
    claim_resolv_conf: bool,
    /// What netd starts for itself where a file says UseHostname=yes
    #[arg(long, hide = true)]
    serve_names: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start(arguments.verbose);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("netd has to be started by root: it changes links, routes and firewall rules");
    }
    // What netd writes is for all to read, and for root to write.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if arguments.claim_resolv_conf {
        return match is_client() {
            true => client::claim().context("cannot make /etc/resolv.conf a link"),
            false => Ok(()),
        };
    }
    if arguments.serve_names {
        return client::serve_names(std::io::stdin().lock()).context("cannot read names");
    }
    let places = Places::default();
    let lock = lock(&places.runtime)?;
    if arguments.undo {
        return undo(&places);
    }
    raise_open_files();
    if let Err(error) = client::start_helper("--serve-names") {
        tracing::warn!("no host name is taken over from DHCP: {error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // All work is done on this one; what a library does elsewhere is little.
        .max_blocking_threads(2)
        .on_thread_start(limit_thread(arguments))
        .build()
        .context("cannot start the event loop")?;
    LocalSet::new().block_on(&runtime, serve(places, lock, arguments))
}

async fn serve(places: Places, lock: File, arguments: &Arguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot take SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot take SIGINT")?;
    let hangup = signal(SignalKind::hangup()).context("cannot take SIGHUP")?;
    let bus_socket = places.runtime.join("bus.sock");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut daemon = match Daemon::start(places.clone()).await {
        Ok(daemon) => daemon,
        Err(error) if is_client() => {
            return serve_alone(places, arguments, (stop, hangup), error).await;
        }
        Err(error) => return Err(error).context("cannot start"),
    };
    if arguments.no_sandbox {
        tracing::warn!("all privileges are kept, as asked for");
    } else {
        privileges::drop_all(&daemon.worker()).context("cannot give up privileges")?;
    }
    tokio::task::spawn_local(reload_on(hangup, daemon.queries()));
    keep_lock(&mut daemon, places.runtime, lock);
    serve_bus(&mut daemon, bus_socket).context("cannot start")?;
    let (machines, links) = daemon.counts();
    tracing::info!(machines, links, "ready");
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    daemon.run(stop).await?;
    daemon.stop_clients().await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tracing::info!("stopping: what runs keeps its network");
    Ok(())
}

/// Whether this is a container that has a link to its host.
fn is_client() -> bool {
    Path::new("/sys/class/net")
        .join(registry::CONTAINER_LINK)
        .exists()
}

/// Serves the links to the host alone, where no containers can be served.
async fn serve_alone(
    places: Places,
    arguments: &Arguments,
    (stop, hangup): (impl Future<Output = ()>, Signal),
    error: StartError,
) -> anyhow::Result<()> {
    tracing::warn!("{}: no containers are served here", log::chain(&error));
    let worker = Worker::start().context("cannot start a thread")?;
    let clients = Clients::new(places.client_leases(), worker.queue());
    let monitor = Monitor::new().context("cannot start")?;
    if !arguments.no_sandbox {
        privileges::drop_all(&worker.queue()).context("cannot give up privileges")?;
    }
    let ready = |clients: &Clients| {
        tracing::info!(links = clients.count(), "ready, as a client alone");
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    };
    let load = || {
        let reloading = Reloading::begin();
        let profiles = load_profiles();
        reloading.end();
        profiles
    };
    Ok(client::serve_alone(clients, monitor, (load, hangup), ready, stop).await?)
}

/// Has the daemon read its files anew at each signal.
async fn reload_on(mut hangup: Signal, daemon: mpsc::Sender<Query>) {
    while hangup.recv().await.is_some() {
        let reloading = Reloading::begin();
        let (sender, answer) = oneshot::channel();
        if daemon.send(Query::Reload(sender)).await.is_err() {
            return;
        }
        // What is to be said of them is in the log.
        let _ = answer.await;
        reloading.end();
    }
}

/// That netd reads its files anew, as its service manager sees it (sd_notify(3)).
struct Reloading;

impl Reloading {
    fn begin() -> Self {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now().ok());
        let _ = sd_notify::notify(&states);
        Self
    }

    fn end(self) {
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }
}

/// Serves on the bus socket, and anew when somebody removes it.
fn serve_bus(daemon: &mut Daemon, path: PathBuf) -> Result<(), bus::BusError> {
    let queries = daemon.queries();
    let mut serving = bus::serve(&path, queries.clone())?;
    let socket = path.clone();
    let again = move || {
        serving.abort();
        serving = bus::serve(&socket, queries.clone()).map_err(|error| log::chain(&error))?;
        Ok(())
    };
    daemon.keep(path, Box::new(again));
    Ok(())
}

/// Keeps the lock by which there is one netd, also when somebody removes its file.
fn keep_lock(daemon: &mut Daemon, runtime: PathBuf, held: File) {
    let path = lock_file(&runtime);
    let mut held = Some(held);
    let again = move || {
        let new = lock(&runtime).map_err(|error| format!("{error:#}"))?;
        drop(held.replace(new));
        Ok(())
    };
    daemon.keep(path, Box::new(again));
}

/// What each thread of the event loop does first. It serves no container's start, so
/// that it needs no more than the others will have.
fn limit_thread(arguments: &Arguments) -> impl Fn() + Send + Sync + use<> {
    let sandbox = !arguments.no_sandbox;
    move || {
        if sandbox && let Err(error) = privileges::limit_thread() {
            tracing::error!("a thread has to do without: {}", log::chain(&error));
            std::process::abort();
        }
    }
}

fn undo(places: &Places) -> anyhow::Result<()> {
    if nft::remove().context("cannot remove the firewall table")? {
        tracing::info!("table inet rspawn removed");
    }
    let undone = UndoRecord::at(places.sysctl_undo())
        .undo()
        .context("cannot give kernel parameters their former values")?;
    tracing::debug!(?undone, "kernel parameters");
    Ok(())
}

/// Has as many open files as the system lets netd have: each container takes a few.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("no more than {:?} open files: {error}", limit.current);
    }
}

fn lock_file(runtime: &Path) -> PathBuf {
    runtime.join("netd.lock")
}

/// Sees to it that there is one netd.
fn lock(runtime: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(runtime)
        .with_context(|| format!("cannot make {}", runtime.display()))?;
    let path = lock_file(runtime);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // One that was killed takes the kernel a moment to put away.
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("netd runs already ({} is locked)", path.display())
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
}
