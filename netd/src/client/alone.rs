//! Clients where netd cannot be a container host: in a container whose kernel or manager
//! denies what that takes.

use super::Clients;
use crate::profiles::Profiles;
use crate::rtnl::{Event, Monitor, RtnlError};
use crate::world::World;

/// Runs the clients by themselves until `stop` is done. `ready` is called once they have
/// begun. Must be called within a tokio `LocalSet`.
///
/// # Errors
/// If the kernel does not tell what there is.
pub async fn serve_alone(
    mut clients: Clients,
    profiles: &Profiles,
    mut monitor: Monitor,
    ready: impl FnOnce(&Clients),
    stop: impl Future<Output = ()>,
) -> Result<(), RtnlError> {
    tokio::pin!(stop);
    read_all(&mut clients, profiles, &mut monitor).await?;
    ready(&clients);
    loop {
        tokio::select! {
            () = &mut stop => break,
            told = monitor.next() => match told.map_err(RtnlError::Events)?.0 {
                Event::Overrun => read_all(&mut clients, profiles, &mut monitor).await?,
                event => clients.take(&event, profiles),
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
    monitor.discard()?;
    let mut world = World::default();
    world.reset(monitor.snapshot().await?);
    clients.take_all(&world, profiles);
    Ok(())
}
