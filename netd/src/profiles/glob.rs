//! Shell-style patterns (glob(7)).

/// Whether `text` as a whole is of the form of `pattern`: `*` stands for any characters,
/// `?` for one, `[a-z]` for one of these and `[!a-z]` for one of the others; a backslash
/// takes away the meaning of what is behind it. The work is bounded by the product of the
/// two lengths.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut pattern, mut text) = (pattern.as_slice(), text.as_slice());
    // Where to go on if what follows the last star does not fit: a star that stands
    // further left never has to be tried again.
    let mut again: Option<(&[char], &[char])> = None;
    loop {
        if let ['*', after @ ..] = pattern {
            again = Some((after, text));
            pattern = after;
            continue;
        }
        match (text, one(pattern, text.first().copied())) {
            ([_, rest @ ..], Some(after)) => (pattern, text) = (after, rest),
            ([], _) if pattern.is_empty() => return true,
            _ => {
                let Some((after, [_, rest @ ..])) = again else {
                    return false;
                };
                again = Some((after, rest));
                (pattern, text) = (after, rest);
            }
        }
    }
}

/// The pattern behind its first element, if that stands for `c`.
fn one(pattern: &[char], c: Option<char>) -> Option<&[char]> {
    let c = c?;
    match pattern {
        ['?', after @ ..] => Some(after),
        ['\\', literal, after @ ..] => (*literal == c).then_some(after),
        ['[', class @ ..] => match class_end(class) {
            Some((inside, after)) => in_class(inside, c).then_some(after),
            // Without an end it is a character like others.
            None => (c == '[').then_some(class),
        },
        [literal, after @ ..] => (*literal == c).then_some(after),
        [] => None,
    }
}

/// What stands in a class, and what behind it. A `]` that is its first member does not
/// end it.
fn class_end(class: &[char]) -> Option<(&[char], &[char])> {
    let skip = 1 + usize::from(matches!(class, ['!' | '^', ..]));
    let end = skip + class.get(skip..)?.iter().position(|c| *c == ']')?;
    Some((class.get(..end)?, class.get(end + 1..)?))
}

fn in_class(class: &[char], c: char) -> bool {
    let (negated, mut rest) = match class {
        ['!' | '^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [first, '-', last, rest @ ..] => {
                found |= (*first..=*last).contains(&c);
                rest
            }
            [member, rest @ ..] => {
                found |= *member == c;
                rest
            }
            [] => return found != negated,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::matches;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_patterns() {
        for (pattern, text) in [
            ("ve-*", "ve-web"),
            ("ve-*", "ve-"),
            ("*", ""),
            ("**b", "aab"),
            ("v?-web", "ve-web"),
            ("v[a-f]-*", "ve-x"),
            ("v[!a-d]-*", "ve-x"),
            ("v[]e]-*", "ve-x"),
            ("v[e-]*", "v-x"),
            ("a[", "a["),
            ("a\\*", "a*"),
            ("a*b*c", "axxbbxc"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("ve-*", "vb-web"),
            ("ve-web", "ve-web1"),
            ("?", ""),
            ("v[!e]-x", "ve-x"),
            ("v[^e]-x", "ve-x"),
            ("a\\*", "ab"),
            ("", "a"),
            ("a*b*c", "axxbbx"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(&"*a".repeat(500), &"a".repeat(499)));
    }

    /// The definition, which takes for ever where there are many stars.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            (['*', after @ ..], _) => {
                (0..=text.len()).any(|skip| by_definition(after, &text[skip..]))
            }
            (['?', after @ ..], [_, rest @ ..]) => by_definition(after, rest),
            ([a, after @ ..], [b, rest @ ..]) if a == b => by_definition(after, rest),
            ([], []) => true,
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let [p, t] = [&pattern, &text].map(|text| text.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(&pattern, &text), by_definition(&p, &t));
        }

        #[test]
        fn any_pattern_is_survived(pattern in "\\PC{0,20}|[]\\[!^*?\\\\a-]{0,12}", text in "\\PC{0,20}") {
            matches(&pattern, &text);
        }
    }
}
