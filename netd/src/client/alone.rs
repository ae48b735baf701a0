//! Clients where netd cannot be a container host: in a container whose kernel or manager
//! denies what that takes.

use super::Clients;
use crate::profiles::Profiles;
use crate::rtnl::{Event, Monitor, RtnlError};
use crate::world::World;
use tokio::signal::unix::Signal;

/// Runs the clients by themselves until `stop` is done, by what `load` reads; it is read
/// anew at each signal. `ready` is called once they have begun. Must be called within a
/// tokio `LocalSet`.
///
/// # Errors
/// If the kernel does not tell what there is.
pub async fn serve_alone(
    mut clients: Clients,
    mut monitor: Monitor,
    (load, mut hangup): (impl Fn() -> Profiles, Signal),
    ready: impl FnOnce(&Clients),
    stop: impl Future<Output = ()>,
) -> Result<(), RtnlError> {
    tokio::pin!(stop);
    let mut profiles = load();
    read_all(&mut clients, &profiles, &mut monitor).await?;
    ready(&clients);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(()) = hangup.recv() => {
                profiles = load();
                let world = read(&mut monitor).await?;
                clients.take_all(&world, &profiles);
                clients.reload(&world, &profiles);
            }
            told = monitor.next() => match told.map_err(RtnlError::Events)?.0 {
                Event::Overrun => read_all(&mut clients, &profiles, &mut monitor).await?,
                event => clients.take(&event, &profiles),
            },
        }
        tokio::task::yield_now().await;
    }
    clients.stop().await;
    Ok(())
}

async fn read_all(
    clients: &mut Clients,
    profiles: &Profiles,
    monitor: &mut Monitor,
) -> Result<(), RtnlError> {
    clients.take_all(&read(monitor).await?, profiles);
    Ok(())
}

/// All that there is.
async fn read(monitor: &mut Monitor) -> Result<World, RtnlError> {
    monitor.discard()?;
    let mut world = World::default();
    world.reset(monitor.snapshot().await?);
    Ok(world)
}
