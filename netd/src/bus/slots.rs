//! How many connections each user may have.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// How many connections all users have together at the most.
const ALL_MAX: usize = 256;
/// How many of them are kept for root.
const FOR_ROOT: usize = 64;
/// How many one user has, root aside.
const USER_MAX: usize = 32;

/// The connections that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Rc<RefCell<HashMap<u32, usize>>>);

/// One connection's place, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    uid: u32,
}

impl Slots {
    /// A place for one more connection of a user's; `None` if there is none left.
    pub(super) fn take(&self, uid: u32) -> Option<Slot> {
        let mut users = self.0.borrow_mut();
        let all: usize = users.values().sum();
        let own = users.entry(uid).or_default();
        let fits = if uid == 0 {
            all < ALL_MAX
        } else {
            all < ALL_MAX - FOR_ROOT && *own < USER_MAX
        };
        if fits {
            *own += 1;
        } else if *own == 0 {
            users.remove(&uid);
        }
        fits.then(|| Slot {
            slots: self.clone(),
            uid,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut users = self.slots.0.borrow_mut();
        if let Some(own) = users.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_the_others_places_and_all_users_leave_some_for_root() {
        let slots = Slots::default();
        let mut taken: Vec<Slot> = (0..100).filter_map(|_| slots.take(1000)).collect();
        assert_eq!(taken.len(), USER_MAX);
        assert!(slots.take(1001).is_some());
        taken.extend((1001..2000).filter_map(|uid| slots.take(uid)));
        assert_eq!(taken.len(), ALL_MAX - FOR_ROOT);
        let root: Vec<Slot> = (0..1000).filter_map(|_| slots.take(0)).collect();
        assert_eq!(root.len(), FOR_ROOT);
        drop((taken, root));
        assert!(slots.0.borrow().is_empty());
        assert!(slots.take(1000).is_some());
    }
}
