//! Changes are heard, with who made them; the table heals by them.

use netd::nft::{Change, Event, Monitor, Protection, State, Table};

use crate::world::{Netns, PATIENCE};

/// Runs a test inside a namespace with a runtime of its own.
fn with_monitor<F>(netns: &Netns, test: impl FnOnce(Monitor) -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    netns.enter(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { test(Monitor::open().unwrap()).await });
    });
}

async fn next(monitor: &mut Monitor) -> Event {
    tokio::time::timeout(PATIENCE, monitor.next())
        .await
        .expect("an event")
        .unwrap()
}

/// Runs nft in the namespace of this thread.
fn nft(words: &str) {
    let status = std::process::Command::new("nft")
        .arg(words)
        .status()
        .unwrap();
    assert!(status.success(), "nft {words}");
}

fn change_by(event: Event) -> (Change, String) {
    match event {
        Event::Table { change, by } => (change, by.name.expect("a name")),
        Event::Overrun => panic!("overrun"),
    }
}

#[test]
fn a_flush_is_heard_and_healed() {
    with_monitor(&Netns::new(), |mut monitor| async move {
        let mut table = Table::install_as(Protection::Watched, None).unwrap();
        let Event::Table { change, by } = next(&mut monitor).await else {
            panic!("overrun")
        };
        assert_eq!(
            (change, by.port),
            (Change::Changed, table.port()),
            "our own writing"
        );

        nft("flush ruleset");
        assert_eq!(
            change_by(next(&mut monitor).await),
            (Change::Deleted, "nft".to_owned())
        );
        assert_eq!(table.heal().unwrap(), State::Missing);
        let Event::Table { change, by } = next(&mut monitor).await else {
            panic!("overrun")
        };
        assert_eq!((change, by.port), (Change::Changed, table.port()));
        assert_eq!(table.verify().unwrap(), State::Intact);
    });
}

#[test]
fn only_changes_of_our_table_are_told() {
    with_monitor(&Netns::new(), |mut monitor| async move {
        let mut table = Table::install_as(Protection::Watched, None).unwrap();
        next(&mut monitor).await;
        nft("add table ip rspawn { chain a { type filter hook input priority 0; }; }");
        nft("add table inet other { set s { type ipv4_addr; elements = { 192.0.2.1 }; }; }");
        nft("flush table ip rspawn");
        nft("add rule inet rspawn forward accept");
        assert_eq!(
            change_by(next(&mut monitor).await),
            (Change::Changed, "nft".to_owned())
        );
        assert_eq!(table.heal().unwrap(), State::Altered);
        next(&mut monitor).await;
        nft("add element inet rspawn inbound_open { 9 }");
        assert_eq!(change_by(next(&mut monitor).await).0, Change::Changed);
        nft("delete table inet rspawn");
        assert_eq!(change_by(next(&mut monitor).await).0, Change::Deleted);
    });
}

#[test]
fn lost_messages_are_an_event() {
    with_monitor(&Netns::new(), |mut monitor| async move {
        let mut table = Table::install_as(Protection::Watched, None).unwrap();
        next(&mut monitor).await;
        let elements: Vec<String> = (0..60_000)
            .map(|n| format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255))
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        let elements = elements.join(", ");
        let rules = format!(
            "flush ruleset; table ip big {{ set s {{ type ipv4_addr; elements = {{ {elements} }}; }}; }}"
        );
        std::fs::write(file.path(), rules).unwrap();
        let status = std::process::Command::new("nft")
            .arg("-f")
            .arg(file.path())
            .status();
        assert!(status.unwrap().success());
        loop {
            if next(&mut monitor).await == Event::Overrun {
                break;
            }
        }
        assert_eq!(table.heal().unwrap(), State::Missing);
        // And it goes on hearing.
        nft("delete table inet rspawn");
        while change_by(next(&mut monitor).await).0 != Change::Deleted {}
    });
}
