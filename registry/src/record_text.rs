//! Making the text of a record.

use std::fmt::{Display, Write};

use registry_core::record::{ADDRESSES_MAX, RECORD_MAX, VERSION, key};

use crate::{Address, MachineName};

const END: &str = "END=1\n";

/// The text of a record while it is put together. Whatever was put in,
/// [`RecordText::finish`] gives a text that reads back.
#[derive(Clone, Debug)]
pub struct RecordText {
    text: String,
    addresses: usize,
}

impl RecordText {
    /// Begins the record of a machine.
    #[must_use]
    pub fn new(name: &MachineName) -> Self {
        let mut record = Self {
            text: String::with_capacity(512),
            addresses: 0,
        };
        record.put(key::VERSION, VERSION);
        record.put(key::NAME, name);
        record
    }

    /// Adds a line. A value that holds a line break, or one for which there is no
    /// room any more, is left out; the answer says whether it is in.
    pub fn put(&mut self, key: &str, value: impl Display) -> bool {
        let before = self.text.len();
        let _ = write!(self.text, "{key}={value}");
        let line = self.text.get(before..).unwrap_or_default();
        let plain = !line.contains(['\n', '\0']);
        let fits = self.text.len() + 1 + END.len() <= RECORD_MAX;
        if !plain || !fits {
            self.text.truncate(before);
            return false;
        }
        self.text.push('\n');
        true
    }

    /// Adds an address behind those that are in; at most [`ADDRESSES_MAX`] are taken.
    pub fn put_address(&mut self, address: &Address) -> bool {
        let taken = self.addresses < ADDRESSES_MAX && self.put(key::ADDRESS, address);
        self.addresses += usize::from(taken);
        taken
    }

    /// The whole record.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push_str(END);
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use proptest::prelude::*;
    use std::net::IpAddr;

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            values in proptest::collection::vec("(?s).{0,300}", 0..30),
            ips in proptest::collection::vec(any::<(IpAddr, u32)>(), 0..80),
        ) {
            let name: MachineName = "web".parse().unwrap();
            let mut text = RecordText::new(&name);
            let taken: Vec<Address> = ips
                .into_iter()
                .map(|(ip, scope)| Address { ip, scope })
                .filter(|address| text.put_address(address))
                .collect();
            for (i, value) in values.iter().enumerate() {
                text.put(&format!("KEY{i}"), value);
            }
            let text = text.finish();
            let record = Record::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(record.name(), name);
            prop_assert_eq!(record.addresses().collect::<Vec<_>>(), taken);
        }
    }
}
