//! The connections that have said nothing yet.
//!
//! They are fewer than those of supervisors may be, and the one that has been silent for
//! longest makes room for a new one: whoever has something to say says it at once, and
//! never finds the places taken by others that do not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::ConnectionId;

/// How many may be silent at once.
const SILENT_MAX: usize = 512;

/// The places for connections that have said nothing yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Rc<RefCell<BTreeMap<ConnectionId, oneshot::Sender<()>>>>);

/// One such place, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    waiting: Waiting,
    id: ConnectionId,
    needed: oneshot::Receiver<()>,
}

impl Waiting {
    /// A place for a new connection. Ids grow.
    pub(super) fn join(&self, id: ConnectionId) -> Place {
        let (sender, needed) = oneshot::channel();
        let mut places = self.0.borrow_mut();
        if places.len() >= SILENT_MAX
            && let Some((_, oldest)) = places.pop_first()
        {
            let _ = oldest.send(());
        }
        places.insert(id, sender);
        Place {
            waiting: self.clone(),
            id,
            needed,
        }
    }
}

impl Place {
    /// Waits until another one needs the place.
    pub(super) async fn needed(&mut self) {
        let _ = (&mut self.needed).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.0.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn the_longest_silent_makes_room_and_no_other() {
        let waiting = Waiting::default();
        let join = |ids: std::ops::Range<u64>| -> Vec<Place> {
            ids.map(|id| waiting.join(ConnectionId(id))).collect()
        };
        let mut places = join(0..512);
        // One that speaks leaves its place.
        drop(places.remove(7));
        let mut more = join(512..513);
        assert!(
            places
                .iter_mut()
                .all(|p| p.needed().now_or_never().is_none())
        );
        more.extend(join(513..515));
        let needed: Vec<u64> = places
            .iter_mut()
            .filter_map(|p| p.needed().now_or_never().map(|()| p.id.0))
            .collect();
        assert_eq!(needed, [0, 1]);
        assert!(more.iter_mut().all(|p| p.needed().now_or_never().is_none()));
        drop((places, more));
        assert!(waiting.0.borrow().is_empty());
    }
}
