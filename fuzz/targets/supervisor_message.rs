//! Messages between supervisors and netd, in both directions: what is read is written
//! and read as the same, and what it makes of a record is a record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netd::machines::Machine;
use registry::protocol::{
    FromSupervisor, MESSAGE_MAX, ProtocolError, Registration, ToSupervisor, decode, encode,
};
use registry::{LeaderId, Record};
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|bytes: &[u8]| {
    if let Some(FromSupervisor::Register(registration)) = reads_back(bytes) {
        its_record_is_one(registration);
    }
    reads_back::<ToSupervisor>(bytes);
});

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
) -> Option<T> {
    let message: T = decode(bytes).ok()?;
    match encode(&message) {
        Ok(written) => {
            assert!(written.len() <= MESSAGE_MAX);
            assert_eq!(decode::<T>(&written).expect("reads back"), message);
        }
        Err(error) => assert!(matches!(error, ProtocolError::TooLong(_))),
    }
    Some(message)
}

/// No value of a registration can add a line of its own to the record.
fn its_record_is_one(registration: Registration) {
    let process = |pid| LeaderId {
        pid,
        start_time: 1,
        pidfd_id: 2,
    };
    let name = registration.name;
    let machine = Machine::new(registration, process(100), process(99));
    let text = machine.record("boot", Some("ve-web"));
    let record = Record::parse(text.as_bytes()).expect("the record is well-formed");
    assert_eq!(record.name(), name);
    assert_eq!(record.addresses().count(), 0);
    if let Some(back) = Machine::from_record(&record, "boot") {
        assert_eq!((back.leader, back.supervisor), (process(100), process(99)));
        assert_eq!(back.service, machine.service);
        assert_eq!(back.attachment, machine.attachment);
        assert_eq!(back.ephemeral, machine.ephemeral);
    }
}
