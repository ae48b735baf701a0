//! Names that come from a server: only what can stand in a configuration file as it is.

/// The longest name (RFC 1035, section 2.3.4), without the dots around it.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;
/// The most names of a search list that are taken.
pub(super) const SEARCH_MAX: usize = 32;

/// Whether this is a name of labels of letters, digits, hyphens and underscores.
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
    };
    name.len() <= NAME_MAX && name.split('.').all(is_label)
}

/// A name in an option: without the final NUL that some servers send, and the final dot.
pub fn name(value: &[u8]) -> Option<String> {
    let text = text(value)?;
    let name = text.strip_suffix('.').unwrap_or(text);
    is_name(name).then(|| name.to_owned())
}

/// The first of the names that some servers put into one option.
pub fn first_name(value: &[u8]) -> Option<String> {
    let first = text(value)?.split(' ').next()?;
    name(first.as_bytes())
}

/// A text of visible ASCII characters, of which there is at least one.
pub fn word(value: &[u8]) -> Option<String> {
    let text = text(value)?;
    is_word(text).then(|| text.to_owned())
}

/// Whether a text is of visible ASCII characters.
pub fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The name of a time zone, which is a relative path without "..".
pub fn timezone(value: &[u8]) -> Option<String> {
    text(value)
        .filter(|text| is_timezone(text))
        .map(str::to_owned)
}

/// Whether a text can be the name of a time zone.
pub fn is_timezone(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-+_".contains(&byte);
    text.len() <= NAME_MAX
        && text
            .split('/')
            .all(|part| !part.is_empty() && part.bytes().all(is_plain))
}

fn text(value: &[u8]) -> Option<&str> {
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    std::str::from_utf8(value).ok()
}

/// A search list (RFC 3397), or nothing if it is damaged. Names that cannot be host names
/// are left out.
pub fn search_list(value: &[u8]) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut at = 0;
    while at < value.len() {
        let (name, next) = compressed(value, at)?;
        if is_name(&name) && !names.contains(&name) && names.len() < SEARCH_MAX {
            names.push(name);
        }
        at = next;
    }
    Some(names)
}

/// The name at `start` (RFC 1035, section 4.1.4), and where what follows begins.
fn compressed(value: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let (mut at, mut after) = (start, None);
    // A pointer leads to before all that was read of this name, so this has an end.
    let mut lowest = start;
    loop {
        let len = *value.get(at)?;
        match len >> 6 {
            0 if len == 0 => return Some((name, after.unwrap_or(at + 1))),
            0 => {
                let end = at + 1 + usize::from(len);
                let label = std::str::from_utf8(value.get(at + 1..end)?).ok()?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(label);
                if name.len() > NAME_MAX {
                    return None;
                }
                at = end;
            }
            3 => {
                let low = *value.get(at + 1)?;
                let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                if target >= lowest {
                    return None;
                }
                after.get_or_insert(at + 2);
                (at, lowest) = (target, target);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 3397, section 2, joined.
    #[test]
    fn reads_a_compressed_search_list() {
        let value = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        let list = search_list(value).unwrap();
        assert_eq!(list, ["eng.apple.com", "marketing.apple.com"]);
    }

    #[test]
    fn a_damaged_search_list_is_none() {
        let bad: [&[u8]; 7] = [
            b"\x03en",
            b"\x03eng",
            b"\xc0\x00",
            b"\x01a\xc0\x00",
            b"\x01a\xc0",
            b"\x41a\x00",
            b"\x01a\x00\xc0\x05\x01b\x00",
        ];
        for value in bad {
            assert_eq!(search_list(value), None, "{value:x?}");
        }
        let chain: Vec<u8> = (0..200_u8)
            .flat_map(|_| [63].into_iter().chain([b'a'; 63]))
            .collect();
        assert_eq!(search_list(&chain), None);
    }

    #[test]
    fn names_with_anything_odd_in_them_are_left_out() {
        let value = b"\x04a\nb \x00\x02ok\x00\x00\x02ok\x00";
        assert_eq!(search_list(value).unwrap(), ["ok"]);
        assert_eq!(name(b"example.org.\0").unwrap(), "example.org");
        assert_eq!(first_name(b"a.example b.example").unwrap(), "a.example");
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a b",
            "a\nb",
            "a;b",
            "\u{e4}",
            &"a".repeat(64),
        ] {
            assert_eq!(name(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn time_zones_are_inside_of_their_directory() {
        assert_eq!(timezone(b"Europe/Berlin").unwrap(), "Europe/Berlin");
        assert_eq!(timezone(b"Etc/GMT+1").unwrap(), "Etc/GMT+1");
        for bad in ["", "/etc/passwd", "../x", "Europe/..", "a//b", "a/", "a b"] {
            assert_eq!(timezone(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
