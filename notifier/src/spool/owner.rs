//! Who may tell what. The kernel vouches for the owner of a file in `drop/`; nothing in it does, and
//! any member of the writers' group may put one there.

use std::fs::File;
use std::io::{self, Read};

use crate::event::What;

/// Who keeps tunnels.
pub const TUNNELWATCH: &str = "_tunnelwatch";

/// Who watches lines.
pub const LINKPROBE: &str = "_linkprobe";

/// Things that one program tells of: the first word of their names, and the program's user.
const KEEPERS: [(&str, &str); 2] = [("tunnel", TUNNELWATCH), ("link", LINKPROBE)];

/// Where users of the system are: `systemd-sysusers` writes them there. Not asked of the name
/// service, which may be a server on the network, and the sender must not wait for one.
const PASSWD: &str = "/etc/passwd";

/// Most of it that is read, in bytes: tens of thousands of users.
const MAX_PASSWD: u64 = 4 * 1024 * 1024;

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

/// The user `name`, if the system has one.
///
/// # Errors
///
/// When its list of users cannot be read.
pub fn user(name: &str) -> io::Result<Option<User>> {
    read_passwd().map(|text| find(&text, |found, _| found == name).map(|(_, user)| user))
}

/// The name of a user, if the system has one with this number.
#[must_use]
pub fn name_of(uid: u32) -> Option<String> {
    find(&read_passwd().ok()?, |_, user| user.uid == uid).map(|(name, _)| name)
}

fn read_passwd() -> io::Result<String> {
    let mut bytes = Vec::new();
    match File::open(PASSWD) {
        Ok(file) => file.take(MAX_PASSWD).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first user of a list as passwd(5) has it of whom `wanted` is true.
fn find(passwd: &str, wanted: impl Fn(&str, User) -> bool) -> Option<(String, User)> {
    passwd.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        let user = User { uid: words.nth(1)?.parse().ok()?, gid: words.next()?.parse().ok()? };
        wanted(name, user).then(|| (name.to_owned(), user))
    })
}

/// Why an event of this owner is not to be believed; `None` when it is. What the sender itself, who
/// runs as `sender`, wrote always is.
///
/// # Errors
///
/// When it cannot be said, as the system's list of users cannot be read: the event may be honest.
pub fn objection(uid: u32, sender: u32, what: &What) -> io::Result<Option<String>> {
    if uid == 0 || uid == sender {
        return Ok(None);
    }
    let keeper = match teller(what) {
        Teller::Anybody => return Ok(None),
        Teller::Root => None,
        Teller::Keeper(_, name) => user(name)?,
    };
    Ok(judge(uid, what, keeper))
}

/// The same of the owner of a file that is neither root's nor the sender's. `keeper` is the user who may
/// tell of such a thing, where there is one.
fn judge(uid: u32, what: &What, keeper: Option<User>) -> Option<String> {
    let kind = what.kind();
    match teller(what) {
        Teller::Anybody => None,
        Teller::Keeper(..) if keeper.is_some_and(|user| user.uid == uid) => None,
        Teller::Keeper(thing, name) => Some(format!(
            "a {kind} of a {thing} has to come from {name} or root, this is from uid {uid}"
        )),
        Teller::Root => Some(format!("a {kind} has to come from root, this is from uid {uid}")),
    }
}

/// Who may tell a thing, beside root.
enum Teller {
    Anybody,
    Root,
    /// Of such a thing the user of this name.
    Keeper(&'static str, &'static str),
}

fn teller(what: &What) -> Teller {
    let name = match what {
        What::Login(_) | What::Report(_) => return Teller::Root,
        What::Note(_) => return Teller::Anybody,
        // What ends waits is believed of lines alone, whatever it is called.
        What::Back(_) => return Teller::Keeper("link", LINKPROBE),
        What::Condition(condition) => &condition.name,
        What::Tally(tally) => &tally.name,
    };
    // The first word as a person reads it, so also in other letters and after a space.
    let text = String::from_utf8_lossy(name.as_bytes()).into_owned();
    let is_end = |c: char| c.is_whitespace() || c.is_control();
    let first = text.split(is_end).find(|word| !word.is_empty()).unwrap_or_default();
    let keeper = KEEPERS.into_iter().find(|(thing, _)| first.eq_ignore_ascii_case(thing));
    keeper.map_or(Teller::Anybody, |(thing, name)| Teller::Keeper(thing, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Back, Condition, Login, Note, Report, Status, Tally, Unit};
    use crate::foreign::Foreign;

    fn condition(name: &str) -> What {
        let name = Foreign::from(name);
        What::Condition(Condition::new(name, Status::Up, String::new()))
    }

    fn tally(name: &str) -> What {
        What::Tally(Tally { name: Foreign::from(name), good: 1, all: 1, unit: Unit::Seconds })
    }

    #[test]
    fn who_may_tell_what() {
        let ours = Some(User { uid: 903, gid: 903 });
        let note = What::Note(Note { text: "tunnel home is up".into() });
        let from_root = "has to come from root, this is from uid";
        let from_keeper = "of a tunnel has to come from _tunnelwatch or root, this is from uid";
        let from_probe = "of a link has to come from _linkprobe or root, this is from uid";
        let back = |name: &str| What::Back(Back { name: Foreign::from(name) });
        let table = [
            (condition("tunnel home"), 903, ours, None),
            (tally("tunnel home"), 903, ours, None),
            (condition("tunnel home"), 2001, ours, Some(from_keeper)),
            (tally("tunnel home"), 2001, ours, Some(from_keeper)),
            (condition("tunnel home"), 903, None, Some(from_keeper)),
            // As a person would read them.
            (condition("TUNNEL home"), 2001, ours, Some(from_keeper)),
            (condition(" \u{a0}tunnel\thome"), 2001, ours, Some(from_keeper)),
            (tally("\u{1}Tunnel\u{2}home"), 2001, ours, Some(from_keeper)),
            (condition("tunnel"), 2001, ours, Some(from_keeper)),
            (condition("link backup"), 903, ours, None),
            (condition("link backup"), 2001, ours, Some(from_probe)),
            (tally(" LINK backup"), 2001, None, Some(from_probe)),
            (back("link backup"), 903, ours, None),
            (back("link backup"), 2001, ours, Some(from_probe)),
            (back("anything"), 2001, ours, Some(from_probe)),
            // Nobody's.
            (condition("links"), 2001, ours, None),
            (condition("disk of nas"), 2001, ours, None),
            (condition("tunnels"), 2001, ours, None),
            (condition("my tunnel"), 2001, None, None),
            (tally("backups"), 2001, ours, None),
            (note, 2001, ours, None),
            (What::Login(Login::default()), 903, ours, Some(from_root)),
            (What::Login(Login::default()), 2001, ours, Some(from_root)),
            (What::Report(Report::default()), 903, ours, Some(from_root)),
        ];
        for (what, uid, keeper, want) in table {
            let found = judge(uid, &what, keeper);
            match want {
                Some(want) => assert!(
                    found.as_ref().is_some_and(|why| why.contains(want)),
                    "{what:?} from {uid}: {found:?}"
                ),
                None => assert_eq!(found, None, "{what:?} from {uid}"),
            }
        }
    }

    #[test]
    fn root_and_the_sender_itself_are_believed_in_all() {
        for what in [condition("tunnel home"), What::Login(Login::default())] {
            for (uid, is_believed) in [(0, true), (2901, true), (u32::MAX, false)] {
                let found = objection(uid, 2901, &what).unwrap();
                assert_eq!(found.is_none(), is_believed, "{what:?} from {uid}: {found:?}");
            }
        }
    }

    #[test]
    fn a_list_of_users_is_read() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\n:x:1:\n_tunnelwatch:x:903:904::/x:/y\n\
                      _tunnelwatch:x:5:5::/:/\nx_tunnelwatch:x:6:6::/:/";
        let named = |name: &str| find(passwd, |found, _| found == name).map(|(_, user)| user);
        assert_eq!(named("_tunnelwatch"), Some(User { uid: 903, gid: 904 }));
        assert_eq!((named("broken"), named("alice")), (None, None));
        let of = |uid| find(passwd, |_, user| user.uid == uid).map(|(name, _)| name);
        assert_eq!((of(6), of(7)), (Some("x_tunnelwatch".into()), None));
        assert_eq!(user("root").unwrap(), Some(User { uid: 0, gid: 0 }));
        assert_eq!((name_of(0), name_of(u32::MAX)), (Some("root".into()), None));
    }
}
