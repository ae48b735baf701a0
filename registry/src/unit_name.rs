//! Names of systemd units.

use std::fmt::Write;

/// Escapes a text as part of the name of a unit (systemd.unit(5)): everything but
/// letters, digits, `:`, `_` and inner dots becomes `\xHH`, a slash becomes `-`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if at == 0 => escaped.push_str("\\x2e"),
            b'.' | b':' | b'_' => escaped.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            _ => {
                write!(escaped, "\\x{byte:02x}").ok();
            }
        }
    }
    escaped
}

/// The scope that holds a machine of that name.
#[must_use]
pub fn machine_scope(machine: &str) -> String {
    format!("machine-{}.scope", escape(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_escape_as_systemd_escape_does() {
        assert_eq!(machine_scope("web"), "machine-web.scope");
        assert_eq!(machine_scope("web-1.lan"), "machine-web\\x2d1.lan.scope");
        assert_eq!(escape(".a b/c"), "\\x2ea\\x20b-c");
    }
}
