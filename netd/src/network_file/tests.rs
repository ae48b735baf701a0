use std::time::Duration;

use proptest::prelude::*;

use super::value::{boolean, bytes, network, number, time_span};
use super::*;

fn section(line: usize, name: &str) -> Item {
    let name = name.to_owned();
    Item::Section { line, name }
}

fn assignment(line: usize, key: &str, value: &str) -> Item {
    let [key, value] = [key, value].map(str::to_owned);
    Item::Assignment { line, key, value }
}

#[test]
fn sections_and_assignments_keep_their_order_and_lines() {
    let content = parse(
        b"# a comment\n\n[Match]\nName=ve-*\n  ; another\n[ Network ]\n Address = 10.50.0.1/24 \t\n\
          DHCPServer=\n[Network]\nX-Mine=a=b # no comment",
    );
    assert_eq!(
        content.items,
        [
            section(3, "Match"),
            assignment(4, "Name", "ve-*"),
            section(6, " Network "),
            assignment(7, "Address", "10.50.0.1/24"),
            assignment(8, "DHCPServer", ""),
            section(9, "Network"),
            assignment(10, "X-Mine", "a=b # no comment"),
        ]
    );
    assert_eq!(content.problems, []);
}

#[test]
fn a_backslash_at_the_end_goes_on_over_comments() {
    let content = parse(b"[A]\nKey=one\\\n# comment\\\n ; comment\n two\\\n\nNext=1\\\\\nLast=x\\");
    assert_eq!(
        content.items,
        [
            section(1, "A"),
            assignment(2, "Key", "one  two"),
            assignment(7, "Next", "1\\\\"),
            assignment(8, "Last", "x"),
        ]
    );
}

#[test]
fn a_file_of_another_system_reads_the_same() {
    let content = parse(b"\xef\xbb\xbf[A]\r\nKey=a\\\r\n  b\r\nOther=c\r\n");
    assert_eq!(
        content.items,
        [
            section(1, "A"),
            assignment(2, "Key", "a   b"),
            assignment(4, "Other", "c"),
        ]
    );
    assert_eq!(content.problems, []);
}

#[test]
fn what_says_nothing_is_told_and_the_rest_counts() {
    let long = format!("Long={}", "x".repeat(LINE_MAX));
    let text =
        format!("Early=1\n[A]\nnothing\n=x\nNul=\0\n{long}\n[B\nHidden=1\n[]\n[C]x\n[A]\nKey=1\n");
    let mut bytes = text.into_bytes();
    bytes.extend(b"Latin=\xe4\n");
    let content = parse(&bytes);
    assert_eq!(
        content.items,
        [
            section(2, "A"),
            section(11, "A"),
            assignment(12, "Key", "1")
        ]
    );
    let lines: Vec<usize> = content
        .problems
        .iter()
        .map(|problem| problem.line)
        .collect();
    assert_eq!(lines, [1, 3, 4, 5, 6, 7, 9, 10, 13]);
}

#[test]
fn the_problems_of_a_file_have_a_bound() {
    assert_eq!(parse(&b"x\n".repeat(10_000)).problems.len(), 32);
}

#[test]
fn words_are_parted_by_space_outside_of_quotes() {
    assert_eq!(words(" a  b\tc ").unwrap(), ["a", "b", "c"]);
    assert_eq!(
        words(r#""a b" 'c d'e "" f\ g \"h"#).unwrap(),
        ["a b", "c de", "", "f g", "\"h"]
    );
    for unclosed in ["\"a", "a 'b", "a\\"] {
        assert!(words(unclosed).is_err(), "{unclosed}");
    }
    assert!(words(&"a ".repeat(2000)).is_err());
}

#[test]
fn truth_values() {
    for (text, value) in [("yes", true), ("ON", true), ("0", false), ("False", false)] {
        assert_eq!(boolean(text).unwrap(), value);
    }
    let wrong = boolean("maybe").unwrap_err();
    assert_eq!(wrong.to_string(), "\"maybe\" is neither yes nor no");
}

#[test]
fn numbers_and_bytes_stay_within_their_range() {
    assert_eq!(number("14", 0, 14).unwrap(), 14);
    assert_eq!(bytes("1400", 68, 65_535).unwrap(), 1400);
    assert_eq!(bytes("9K", 68, 65_535).unwrap(), 9216);
    assert_eq!(bytes("1 K", 68, 65_535).unwrap(), 1024);
    for text in ["", "+1", "-1", "1.5", "15", "0x1", "4294967296", "1 4"] {
        assert!(number(text, 0, 14).is_err(), "{text}");
    }
    for text in ["", "K", "67", "64K", "4G", "9999999G", "9k", "ä"] {
        assert!(bytes(text, 68, 65_535).is_err(), "{text}");
    }
}

#[test]
fn spans_of_time() {
    for (text, seconds) in [
        ("90", 90),
        ("90s", 90),
        ("1h 30min", 5400),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2 days", 172_800),
        ("1w", 604_800),
        ("1M", 2_629_800),
        ("0", 0),
    ] {
        assert_eq!(
            time_span(text).unwrap(),
            Duration::from_secs(seconds),
            "{text}"
        );
    }
    assert_eq!(time_span("20ms").unwrap(), Duration::from_millis(20));
    assert_eq!(time_span(".5").unwrap(), Duration::from_millis(500));
    assert_eq!(time_span("infinity").unwrap(), Duration::MAX);
    for text in [
        "",
        " ",
        "h",
        "1x",
        "-1",
        "1..5",
        ".",
        "99999999999999y",
        "1h,",
        "90 5",
    ] {
        assert!(time_span(text).is_err(), "{text}");
    }
}

#[test]
fn networks_are_written_with_their_prefix() {
    assert_eq!(network("10.50.0.1/24").unwrap().to_string(), "10.50.0.1/24");
    assert_eq!(network("fd00::1/64").unwrap().to_string(), "fd00::1/64");
    for text in [
        "10.50.0.1",
        "10.50.0.1/33",
        "10.50.0/24",
        "10.0.0.1/255.0.0.0",
        "/8",
        "x/8",
    ] {
        assert!(network(text).is_err(), "{text}");
    }
}

#[test]
fn a_message_shows_a_value_on_one_line() {
    let shown = boolean(&format!("a\n\u{1b}{}", "x".repeat(100)))
        .unwrap_err()
        .to_string();
    assert!(
        !shown.contains(['\n', '\u{1b}']) && shown.len() < 120,
        "{shown}"
    );
}

/// The items of a file without their lines.
fn said(content: &Content) -> Vec<(bool, String, String)> {
    let items = content.items.iter().map(|item| match item {
        Item::Section { name, .. } => (true, name.clone(), String::new()),
        Item::Assignment { key, value, .. } => (false, key.clone(), value.clone()),
    });
    items.collect()
}

fn value() -> impl Strategy<Value = String> {
    "([a-zäö0-9=\\[\\]\"#;.*/-][a-zäö0-9 =\\[\\]\"#;.*/-]{0,20})?"
        .prop_map(|value| value.trim().to_owned())
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_text_is_survived(text in "([\\[\\]=# \\\\\"'\n\r\t;a0.x:/-]|\\PC){0,60}") {
        let content = parse(text.as_bytes());
        let last = text.split('\n').count();
        for item in &content.items {
            let (Item::Section { line, .. } | Item::Assignment { line, .. }) = item;
            prop_assert!((1..=last).contains(line));
        }
        let _ = (words(&text), boolean(&text), time_span(&text), network(&text));
        let _ = bytes(&text, 0, u32::MAX);
    }

    /// However a file is laid out, it says what was to be said.
    #[test]
    fn what_is_written_is_read(
        sections in proptest::collection::vec(
            ("[A-Za-z]{1,8}", proptest::collection::vec(("[A-Za-z]{1,8}", value()), 0..4)),
            0..4,
        ),
        (comments, carriage, indent, bom) in any::<(bool, bool, bool, bool)>(),
    ) {
        let mut text = if bom { "\u{feff}".to_owned() } else { String::new() };
        let end = if carriage { "\r\n" } else { "\n" };
        let comment = if comments { format!("# [x]\\{end}{end} ;a=b{end}") } else { String::new() };
        let mut wanted = Vec::new();
        for (name, keys) in &sections {
            text += &format!("{comment}[{name}]{end}");
            wanted.push((true, name.clone(), String::new()));
            for (key, value) in keys {
                let (before, around) = if indent { ("  ", " \t") } else { ("", "") };
                text += &format!("{comment}{before}{key}{around}={around}{value}{around}{end}");
                wanted.push((false, key.clone(), value.clone()));
            }
        }
        let content = parse(text.as_bytes());
        prop_assert_eq!(&content.problems, &[]);
        prop_assert_eq!(said(&content), wanted);
    }

    /// A value may be broken wherever it has white space.
    #[test]
    fn a_broken_line_says_the_same(values in proptest::collection::vec("[a-z0-9.*]{1,9}", 1..6)) {
        let whole = parse(format!("[A]\nKey={}\nB=1", values.join("  ")).as_bytes());
        let broken = parse(format!("[A]\nKey={}\nB=1", values.join("\\\n ")).as_bytes());
        prop_assert_eq!(said(&whole), said(&broken));
        prop_assert_eq!(
            broken.items.last(),
            Some(&assignment(2 + values.len(), "B", "1"))
        );
    }

    #[test]
    fn quoted_words_read_back(list in proptest::collection::vec("[a-z \"'\\\\]{0,8}", 0..6)) {
        let quoted: Vec<String> = list
            .iter()
            .map(|word| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")))
            .collect();
        prop_assert_eq!(words(&quoted.join(" ")).unwrap(), list);
    }
}
