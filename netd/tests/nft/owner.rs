//! Who may change the table, and what becomes of it when its owner ends.

use netd::nft::{self, NftError, Protection, State, Table};

use crate::world::{Netns, end_owner};

/// The table with the handles of all its parts: the same only if nothing was made anew.
fn listing(netns: &Netns) -> String {
    netns.run("nft", &["-s", "-a", "list", "table", "inet", "rspawn"])
}

#[test]
fn others_cannot_flush_change_or_delete_an_owned_table() {
    let netns = Netns::new();
    let mut table = netns.enter(|| Table::install(None).unwrap());
    assert_eq!(
        table.protection(),
        Protection::Owned,
        "this kernel has owner and persist"
    );
    let before = listing(&netns);

    netns.nft("add table ip other");
    netns.nft("flush ruleset");
    assert!(
        !netns.nft("list ruleset").contains("other"),
        "the flush did flush"
    );
    assert_eq!(listing(&netns), before);
    for command in [
        "delete table inet rspawn",
        "flush table inet rspawn",
        "add rule inet rspawn forward accept",
        "add element inet rspawn inbound_open { 1 }",
    ] {
        let (success, text) = netns.try_run("nft", &[command]);
        assert!(
            !success && text.contains("Operation not permitted"),
            "{command}: {text}"
        );
    }
    assert_eq!(listing(&netns), before);
    assert_eq!(table.verify().unwrap(), State::Intact);
}

#[test]
fn the_table_outlives_its_owner_and_is_taken_over_untouched() {
    let netns = Netns::new();
    let table = netns.enter(|| Table::install(None).unwrap());
    let before = listing(&netns);
    end_owner(&netns, table);
    assert_eq!(without_owner(&listing(&netns)), without_owner(&before));

    let mut table = netns.enter(|| Table::install(None).unwrap());
    assert_eq!(listing(&netns), before, "not made anew");
    let (success, _) = netns.try_run("nft", &["delete table inet rspawn"]);
    assert!(!success, "owned again");
    assert_eq!(table.heal().unwrap(), State::Intact);
}

/// A listing without its head, where nft tells of the owner.
fn without_owner(listing: &str) -> Vec<&str> {
    listing
        .lines()
        .skip_while(|line| !line.is_empty())
        .collect()
}

#[test]
fn an_orphan_that_was_changed_is_made_anew() {
    let netns = Netns::new();
    end_owner(&netns, netns.enter(|| Table::install(None).unwrap()));
    netns.nft("insert rule inet rspawn forward accept");
    let mut table = netns.enter(|| Table::install(None).unwrap());
    assert_eq!(table.verify().unwrap(), State::Intact);
    assert_eq!(table.protection(), Protection::Owned);
    assert!(!netns.try_run("nft", &["flush table inet rspawn"]).0);
}

#[test]
fn a_foreign_table_of_our_name_is_replaced() {
    let netns = Netns::new();
    netns.nft("add table inet rspawn { chain x { type nat hook output priority 0; }; }");
    let mut table = netns.enter(|| Table::install(None).unwrap());
    assert_eq!(table.verify().unwrap(), State::Intact);
    assert!(!listing(&netns).contains("chain x"));
}

#[test]
fn a_second_living_owner_is_refused_and_named() {
    let netns = Netns::new();
    let first = netns.enter(|| Table::install(None).unwrap());
    let before = listing(&netns);
    let second = netns.enter(|| Table::install(None)).unwrap_err();
    assert!(
        matches!(second, NftError::Owned { port } if port == first.port()),
        "{second}"
    );
    let removal = netns.enter(nft::remove).unwrap_err();
    assert!(matches!(removal, NftError::Owned { .. }), "{removal}");
    assert_eq!(listing(&netns), before);
}

#[test]
fn a_second_pass_writes_nothing() {
    let netns = Netns::new();
    for protection in [Protection::Owned, Protection::Watched] {
        let mut table = netns.enter(move || Table::install_as(protection, None).unwrap());
        let before = listing(&netns);
        assert_eq!(table.heal().unwrap(), State::Intact);
        assert_eq!(table.heal().unwrap(), State::Intact);
        assert_eq!(listing(&netns), before);
        table.remove().unwrap();
    }
}

#[test]
fn removal_leaves_nothing_and_can_be_repeated() {
    let netns = Netns::new();
    netns.nft("add table ip other");
    let table = netns.enter(|| Table::install(None).unwrap());
    table.remove().unwrap();
    assert_eq!(netns.nft("list tables").trim(), "table ip other");

    end_owner(&netns, netns.enter(|| Table::install(None).unwrap()));
    assert!(
        netns.enter(|| nft::remove().unwrap()),
        "an orphan is removed"
    );
    assert!(!netns.enter(|| nft::remove().unwrap()));
    assert_eq!(netns.nft("list tables").trim(), "table ip other");
}

#[test]
#[allow(unsafe_code)]
fn without_the_capability_the_error_says_so() {
    let netns = Netns::new();
    let error = netns.enter(|| {
        // SAFETY: the plain system call changes the user id of this thread alone, which
        // drops its capabilities; no memory is passed.
        let status = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(status, 0);
        Table::install(None).unwrap_err()
    });
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
}
