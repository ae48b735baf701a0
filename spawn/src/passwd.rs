//! Users of a tree, by its own passwd(5) and group(5) files.

/// A user as whom the payload runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
    /// Login shell, if one is given.
    pub shell: Option<String>,
}

impl User {
    /// The superuser, for trees that know nobody.
    #[must_use]
    pub fn root() -> Self {
        Self {
            name: "root".into(),
            uid: 0,
            gid: 0,
            groups: vec![],
            home: "/root".into(),
            shell: None,
        }
    }

    /// The user called `who`, a name or a number, by the text of the two files. A
    /// number that no user has is a user without a name. `None` if there is no such
    /// name.
    #[must_use]
    pub fn find(who: &str, passwd: &str, group: &str) -> Option<Self> {
        let mut users = passwd.lines().filter_map(parse_user);
        let number = who.parse::<u32>().ok().filter(|uid| *uid != u32::MAX);
        let found = match number {
            Some(uid) => users.find(|user| user.uid == uid).or_else(|| {
                Some(Self {
                    name: who.to_owned(),
                    uid,
                    gid: uid,
                    groups: vec![],
                    home: "/".into(),
                    shell: None,
                })
            }),
            None => users.find(|user| user.name == who),
        };
        let mut user = found?;
        user.groups = group
            .lines()
            .filter_map(|line| groups_of(line, &user.name))
            .filter(|gid| *gid != user.gid)
            .collect();
        Some(user)
    }
}

fn parse_user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields.as_slice() else {
        return None;
    };
    let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let path = |text: &str| text.starts_with('/').then(|| text.to_owned());
    Some(User {
        name: (!name.is_empty()).then(|| (*name).to_owned())?,
        uid: id(uid)?,
        gid: id(gid)?,
        groups: vec![],
        home: path(home).unwrap_or_else(|| "/".into()),
        shell: path(shell),
    })
}

/// The group's id, if `user` is one of its members.
fn groups_of(line: &str, user: &str) -> Option<u32> {
    let mut fields = line.split(':');
    let gid = fields.nth(2)?.parse().ok()?;
    let members = fields.next()?;
    members
        .split(',')
        .any(|member| member == user)
        .then_some(gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n+::::::\n\
        web:x:33:33:w:/srv:\nlate:x:33:34::/x:/bin/x\nbig:x:4294967295:1::/:/bin/sh\n";
    const GROUP: &str = "web:x:33:web\nssl:x:7:web,root\nadm:x:8:webby\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        let web = User::find("web", PASSWD, GROUP).unwrap();
        assert_eq!(
            (web.uid, web.gid, web.groups.as_slice()),
            (33, 33, &[7][..])
        );
        assert_eq!((web.home.as_str(), web.shell.as_deref()), ("/srv", None));
        assert_eq!(User::find("33", PASSWD, GROUP), Some(web));
        let nobody = User::find("1234", PASSWD, GROUP).unwrap();
        assert_eq!((nobody.uid, nobody.gid), (1234, 1234));
    }

    #[test]
    fn who_is_not_there_is_not_found() {
        for who in ["nobody", "", "broken", "big", "4294967295", "-1"] {
            assert_eq!(User::find(who, PASSWD, GROUP), None, "{who:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(who: String, passwd: String, group: String) {
            let _ = User::find(&who, &passwd, &group);
        }
    }
}
