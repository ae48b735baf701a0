//! Options that list what may be given to them, as `--console=help` does.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Takes what another parser takes, or one of the words that ask for a list.
#[derive(Clone, Debug)]
pub struct OrList<P> {
    parser: P,
    words: &'static [&'static str],
    list: fn() -> Vec<String>,
}

impl<P> OrList<P> {
    /// `list` gives what there is.
    pub fn new(parser: P, words: &'static [&'static str], list: fn() -> Vec<String>) -> Self {
        Self {
            parser,
            words,
            list,
        }
    }
}

impl<P: TypedValueParser> TypedValueParser for OrList<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<P::Value, Error> {
        if self.words.iter().any(|word| value == *word) {
            let mut text = (self.list)().join("\n");
            text.push('\n');
            return Err(Error::raw(ErrorKind::DisplayHelp, text));
        }
        self.parser.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.parser.possible_values()
    }
}
