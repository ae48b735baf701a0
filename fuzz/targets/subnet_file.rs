//! The file of a machine's kept subnets: what is read can be a link's, and is written
//! and read as the same.
#![no_main]

use std::cell::RefCell;
use std::path::Path;
use std::time::UNIX_EPOCH;

use libfuzzer_sys::fuzz_target;
use netd::subnets::{Owner, SubnetStore, Subnets, parse_file};

fuzz_target!(|text: &str| {
    let Some(subnets) = parse_file(text) else {
        return;
    };
    for (prefix, (host, container)) in subnets
        .prefixes()
        .zip(subnets.host().zip(subnets.container()))
    {
        assert_eq!(prefix.ip(), prefix.network());
        for address in [host, container] {
            assert!(prefix.contains(address.ip()) && address.prefix() == prefix.prefix());
            assert_ne!(address.ip(), prefix.ip());
        }
    }
    let name = "web".parse().expect("a name");
    STORE.with_borrow_mut(|store| is_kept(store, name, subnets));
});

thread_local! {
    static STORE: RefCell<SubnetStore> = RefCell::new(empty_store());
}

fn empty_store() -> SubnetStore {
    let directory = std::env::temp_dir().join(format!("rspawn-fuzz-{}", std::process::id()));
    let store = SubnetStore::open(&directory, UNIX_EPOCH).expect("a directory can be made");
    std::fs::remove_dir(&directory).expect("nothing is in it");
    store
}

fn is_kept(store: &mut SubnetStore, name: Owner, subnets: Subnets) {
    store.take(name, subnets);
    for prefix in subnets.prefixes() {
        assert_eq!(store.overlapping(prefix), Some(name));
    }
    let (path, written) = store.file(&name, UNIX_EPOCH).expect("it was taken");
    assert!(path.ends_with(Path::new("web")));
    assert_eq!(parse_file(&written), Some(subnets));
    store.release(&name);
    for prefix in subnets.prefixes() {
        assert_eq!(store.overlapping(prefix), None);
    }
}
