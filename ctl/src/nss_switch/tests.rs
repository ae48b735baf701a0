//! Lines of real distributions, and every other one that can be made up.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use proptest::prelude::*;

use super::*;

#[test]
fn lines_of_distributions() {
    let cases = [
        // Debian
        (
            "hosts:          files dns\n",
            "hosts:          files rspawn dns\n",
        ),
        // Debian with libnss-mdns, Ubuntu
        (
            "hosts:          files mdns4_minimal [NOTFOUND=return] dns\n",
            "hosts:          files mdns4_minimal [NOTFOUND=return] rspawn dns\n",
        ),
        // Fedora
        (
            "hosts:      files myhostname mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] dns\n",
            "hosts:      files myhostname mdns4_minimal [NOTFOUND=return] rspawn resolve [!UNAVAIL=return] dns\n",
        ),
        // Arch, and systemd's manual
        (
            "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n",
            "hosts: mymachines rspawn resolve [!UNAVAIL=return] files myhostname dns\n",
        ),
        ("hosts:\tfiles\tdns\n", "hosts:\tfiles\trspawn dns\n"),
    ];
    for (before, after) in cases {
        assert_eq!(edit(before, Switch::On), after);
        assert_eq!(edit(after, Switch::On), after);
        assert_eq!(edit(after, Switch::Off), before);
        assert_eq!(edit(before, Switch::Off), before);
    }
}

#[test]
fn unusual_lines() {
    let cases = [
        ("hosts: files\n", "hosts: files rspawn\n"),
        ("hosts: files # dns\n", "hosts: files rspawn # dns\n"),
        ("hosts: dns#resolve\n", "hosts: rspawn dns#resolve\n"),
        (
            "hosts: files [SUCCESS=merge]  \n",
            "hosts: files [SUCCESS=merge] rspawn  \n",
        ),
        ("hosts:\n", "hosts: rspawn\n"),
        ("hosts:", "hosts: rspawn"),
        ("hosts:  \t\n", "hosts: rspawn  \t\n"),
        ("hosts:dns", "hosts:rspawn dns"),
        (
            "  hosts: files[NOTFOUND=return]dns\r\n",
            "  hosts: files[NOTFOUND=return]rspawn dns\r\n",
        ),
        ("hosts files dns\n", "hosts files rspawn dns\n"),
        ("hosts : files dns\n", "hosts : files rspawn dns\n"),
        ("hosts: dnsx resolved\n", "hosts: dnsx resolved rspawn\n"),
        ("hosts: [dns] x\n", "hosts: [dns] x rspawn\n"),
        // The last one counts for the C library; all of them are for us.
        (
            "hosts: dns\nhosts: files\n",
            "hosts: rspawn dns\nhosts: files rspawn\n",
        ),
    ];
    for (before, after) in cases {
        assert_eq!(edit(before, Switch::On), after);
        assert_eq!(edit(after, Switch::On), after);
        assert_eq!(edit(after, Switch::Off), before);
        assert!(is_enabled(after) && !is_enabled(before));
    }
}

/// Found by fuzzing: from here on the line is our own again, and goes with the word.
#[test]
fn what_is_left_of_our_own_line_is_not_the_user_s() {
    let left = "hosts: files dns # added by rspawnctl nss enable\n";
    let passwd = "passwd: files\n";
    assert_eq!(edit(left, Switch::Off), left);
    let on = edit(&format!("{passwd}{left}"), Switch::On);
    assert_eq!(on, format!("{passwd}{OWN_LINE}"));
    assert_eq!(edit(&on, Switch::Off), passwd);
}

#[test]
fn other_lines_stay() {
    let rest = "# hosts: dns\n\npasswd: files dns\nhostsx: dns\nHOSTS: dns\nnetworks: dns";
    let before = format!("hosts: dns\n{rest}");
    assert_eq!(
        edit(&before, Switch::On),
        format!("hosts: rspawn dns\n{rest}")
    );
}

#[test]
fn a_word_that_the_user_has_put_stays_where_it_is() {
    for text in [
        "hosts: rspawn files dns\n",
        "hosts: dns rspawn [NOTFOUND=return]\n",
    ] {
        assert_eq!(edit(text, Switch::On), text);
    }
}

#[test]
fn taking_out_takes_the_actions_along() {
    let cases = [
        (
            "hosts: files rspawn [NOTFOUND=return] dns\n",
            "hosts: files dns\n",
        ),
        (
            "hosts: files rspawn[A=return] [B=continue] dns [C=return]\n",
            "hosts: files dns [C=return]\n",
        ),
        ("hosts: files rspawn [NOTFOUND=return]\n", "hosts: files\n"),
        ("hosts: rspawn\n", "hosts:\n"),
        ("hosts:rspawn rspawn\n", "hosts:\n"),
        (
            "hosts: rspawn dns rspawn files rspawn\n",
            "hosts: dns files\n",
        ),
    ];
    for (before, after) in cases {
        assert_eq!(edit(before, Switch::Off), after);
    }
}

#[test]
fn a_file_without_the_line_gets_one() {
    let on = edit("passwd: files\n", Switch::On);
    assert_eq!(on, format!("passwd: files\n{OWN_LINE}"));
    assert_eq!(edit(&on, Switch::On), on);
    assert_eq!(edit(&on, Switch::Off), "passwd: files\n");
    assert_eq!(
        edit("passwd: files", Switch::On),
        format!("passwd: files\n{OWN_LINE}")
    );
    assert_eq!(edit("", Switch::On), OWN_LINE);
    // The user has worked on it since: it is theirs, and only the word goes.
    assert_eq!(
        edit(
            "hosts: files rspawn mdns dns # added by rspawnctl nss enable\n",
            Switch::Off
        ),
        "hosts: files mdns dns # added by rspawnctl nss enable\n"
    );
}

#[test]
fn a_bracket_without_an_end_is_left_alone() {
    let text = "hosts: files [NOTFOUND=return dns\n";
    assert!(!is_enabled(&edit(text, Switch::Off)));
    assert!(edit(text, Switch::On).starts_with(text));
}

proptest! {
    #[test]
    fn on_and_off_gives_the_text_back(
        text in "((hosts|passwd|#hosts| hosts)[: ][ \t]?((files|dns|resolve|[a-z_]{1,9}|\\[[!A-Z=a-z ]{0,9}\\]|#)[ \t]{0,2}){0,6}\r?\n){0,5}hosts:[ \t]{0,2}((files|dns|resolve|x)[ \t]{1,2}){0,4}",
    ) {
        prop_assume!(!text.contains("rspawn"));
        let on = edit(&text, Switch::On);
        prop_assert!(is_enabled(&on));
        prop_assert_eq!(edit(&on, Switch::On), on.clone());
        prop_assert_eq!(edit(&on, Switch::Off), text.clone());
        prop_assert_eq!(edit(&text, Switch::Off), text);
    }

    #[test]
    fn any_text_is_edited_once_and_for_all(text in "(hosts|[a:# \t\r\n\\[\\]]|dns|rspawn|\\PC){0,30}") {
        for switch in [Switch::On, Switch::Off] {
            let edited = edit(&text, switch);
            prop_assert_eq!(edit(&edited, switch), edited);
        }
        prop_assert!(!is_enabled(&edit(&text, Switch::Off)));
        prop_assert!(is_enabled(&edit(&text, Switch::On)) || text.contains('['));
    }

    #[test]
    fn the_word_stands_before_those_that_answer_for_good(
        services in proptest::collection::vec("files|dns|resolve|mymachines|\\[NOTFOUND=return\\]", 0..8),
    ) {
        let on = edit(&format!("hosts: {}\n", services.join(" ")), Switch::On);
        let words: Vec<_> = on.split_whitespace().collect();
        let rspawn = words.iter().position(|word| *word == "rspawn").unwrap();
        let first = words.iter().position(|word| matches!(*word, "dns" | "resolve"));
        prop_assert_eq!(rspawn + 1, first.unwrap_or(words.len()));
    }
}

#[test]
fn a_file_keeps_mode_and_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nsswitch.conf");
    // Not UTF-8: a comment in Latin-1.
    fs::write(&path, b"# f\xfcr alle\nhosts: files dns\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let owned = chown(&path, Some(1), Some(2)).is_ok();
    assert!(enable(&path).unwrap());
    assert!(!enable(&path).unwrap());
    assert_eq!(
        fs::read(&path).unwrap(),
        b"# f\xfcr alle\nhosts: files rspawn dns\n"
    );
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o604);
    if owned {
        assert_eq!((metadata.uid(), metadata.gid()), (1, 2));
    }
    assert!(disable(&path).unwrap());
    assert!(!disable(&path).unwrap());
    assert_eq!(
        fs::read(&path).unwrap(),
        b"# f\xfcr alle\nhosts: files dns\n"
    );
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "something is left over"
    );
}

#[test]
fn a_link_stays_a_link() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("real")).unwrap();
    let target = directory.path().join("real/file");
    let link = directory.path().join("nsswitch.conf");
    fs::write(&target, "hosts: dns\n").unwrap();
    symlink("real/file", &link).unwrap();
    assert!(enable(&link).unwrap());
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), "hosts: rspawn dns\n");
}

#[test]
fn a_missing_file_is_made_and_goes_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nsswitch.conf");
    assert!(!disable(&path).unwrap());
    assert!(!path.exists());
    assert!(enable(&path).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), OWN_LINE);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    assert!(disable(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn what_cannot_be_read_or_written_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let error = enable(directory.path()).unwrap_err();
    assert!(matches!(error, NssSwitchError::Read { .. }), "{error}");
    let error = enable(&directory.path().join("missing/nsswitch.conf")).unwrap_err();
    assert!(matches!(error, NssSwitchError::Write { .. }), "{error}");
    let link = directory.path().join("link");
    symlink("nowhere", &link).unwrap();
    let error = enable(&link).unwrap_err();
    assert!(matches!(error, NssSwitchError::Write { .. }), "{error}");
    assert!(link.is_symlink());
}

#[test]
fn the_vendors_file_is_looked_for_below_usr() {
    assert_eq!(
        below_usr(Path::new(NSSWITCH_CONF)),
        Path::new("/usr/etc/nsswitch.conf")
    );
}
