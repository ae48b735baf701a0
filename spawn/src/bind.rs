//! What `--bind=`, `--bind-ro=` and `--tmpfs=` say.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// A directory or file of the host that is seen in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on the host, absolute.
    pub source: PathBuf,
    /// Where the container sees it, absolute.
    pub target: PathBuf,
    /// Whether mounts below the source are seen as well.
    pub recursive: bool,
    /// Whether the container may not write it.
    pub read_only: bool,
}

/// An empty file system in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Where the container sees it, absolute.
    pub target: PathBuf,
    /// Options as tmpfs(5) has them, key and value.
    pub options: Vec<(String, Option<String>)>,
}

/// What was given is no mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Not of the form.
    #[error(
        "`{0}` is not of the form SOURCE[:TARGET[:OPTIONS]] (a colon in a path is written \\:)"
    )]
    Form(String),
    /// A path is relative.
    #[error("`{0}` is not an absolute path without `..`")]
    Relative(String),
    /// An option is not known.
    #[error("the option `{0}` is not known here: rbind and norbind are")]
    Option(String),
    /// A tmpfs is not of the form.
    #[error("`{0}` is not of the form PATH[:OPTIONS] (a colon in a path is written \\:)")]
    TmpfsForm(String),
}

impl FromStr for Bind {
    type Err = BindError;

    fn from_str(text: &str) -> Result<Self, BindError> {
        let fields = split(text);
        let (source, target, options) = match fields.as_slice() {
            [source] => (source, source, ""),
            [source, target] => (source, target, ""),
            [source, target, options] => (source, target, options.as_str()),
            _ => return Err(BindError::Form(text.to_owned())),
        };
        if source.is_empty() || target.is_empty() {
            return Err(BindError::Form(text.to_owned()));
        }
        let mut recursive = true;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            recursive = match option {
                "rbind" => true,
                "norbind" => false,
                other => return Err(BindError::Option(other.to_owned())),
            };
        }
        Ok(Self {
            source: absolute(source)?,
            target: absolute(target)?,
            recursive,
            read_only: false,
        })
    }
}

impl FromStr for Tmpfs {
    type Err = BindError;

    fn from_str(text: &str) -> Result<Self, BindError> {
        let fields = split(text);
        let (target, options) = match fields.as_slice() {
            [target] => (target, "mode=0755"),
            [target, options] => (target, options.as_str()),
            _ => return Err(BindError::TmpfsForm(text.to_owned())),
        };
        let options = options
            .split(',')
            .filter(|option| !option.is_empty())
            .map(|option| match option.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (option.to_owned(), None),
            })
            .collect();
        Ok(Self {
            target: absolute(target)?,
            options,
        })
    }
}

/// Takes a path that begins with a slash and has no `..`.
fn absolute(text: &str) -> Result<PathBuf, BindError> {
    let path = Path::new(text);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain {
        Ok(path.components().collect())
    } else {
        Err(BindError::Relative(text.to_owned()))
    }
}

/// The fields between colons; a backslash takes the next character as it is.
fn split(text: &str) -> Vec<String> {
    let mut fields = vec![];
    let mut field = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => field.extend(characters.next()),
            ':' => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> (String, String, bool) {
        let bind: Bind = text.parse().unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        (text(bind.source), text(bind.target), bind.recursive)
    }

    #[test]
    fn binds_have_one_to_three_parts() {
        assert_eq!(bind("/a"), ("/a".into(), "/a".into(), true));
        assert_eq!(bind("/a:/b/"), ("/a".into(), "/b".into(), true));
        assert_eq!(bind("/a:/b:norbind"), ("/a".into(), "/b".into(), false));
        assert_eq!(bind("/a\\:1:/b"), ("/a:1".into(), "/b".into(), true));
    }

    #[test]
    fn wrong_binds_are_told() {
        let error = |text: &str| text.parse::<Bind>().unwrap_err();
        assert!(matches!(error(""), BindError::Form(_)));
        assert!(matches!(error("/a:/b:rbind:x"), BindError::Form(_)));
        assert!(matches!(error("a"), BindError::Relative(_)));
        assert!(matches!(error("/a:/b/../c"), BindError::Relative(_)));
        assert_eq!(error("/a:/b:noexec"), BindError::Option("noexec".into()));
    }

    #[test]
    fn a_tmpfs_has_options() {
        let tmpfs: Tmpfs = "/var/x:size=1M,mode=0700".parse().unwrap();
        assert_eq!(tmpfs.target, PathBuf::from("/var/x"));
        assert_eq!(
            tmpfs.options,
            [
                ("size".into(), Some("1M".into())),
                ("mode".into(), Some("0700".into()))
            ]
        );
        assert!("x".parse::<Tmpfs>().is_err());
        assert!("/x:a:b".parse::<Tmpfs>().is_err());
    }
}
