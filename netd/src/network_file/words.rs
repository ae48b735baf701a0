//! Lists of words in a value.

use super::syntax::is_space;
use super::value::Wrong;

/// The most words of one value.
const WORDS_MAX: usize = 1024;

/// The words of a value, parted by white space. Quotes, double or single, keep white
/// space together; a backslash takes away the meaning of the character behind it.
///
/// # Errors
/// If a quote is not closed, a backslash stands at the end, or there are too many words.
pub fn words(value: &str) -> Result<Vec<String>, Wrong> {
    let mut words = Vec::new();
    let mut rest = value.chars();
    while let Some(word) = next_word(&mut rest)? {
        if words.len() == WORDS_MAX {
            return Err(Wrong::new(format!("more than {WORDS_MAX} words")));
        }
        words.push(word);
    }
    Ok(words)
}

fn next_word(rest: &mut std::str::Chars<'_>) -> Result<Option<String>, Wrong> {
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    while let Some(c) = rest.next() {
        match (quote, c) {
            (None, c) if is_space(c) => {
                if word.is_some() {
                    return Ok(word);
                }
            }
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => {
                let escaped = rest.next();
                let escaped = escaped.ok_or_else(|| Wrong::new("a backslash stands at the end"))?;
                word.get_or_insert_default().push(escaped);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    match quote {
        Some(open) => Err(Wrong::new(format!("a quote ({open}) is not closed"))),
        None => Ok(word),
    }
}
