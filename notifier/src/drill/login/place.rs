//! Where a drill's key goes: by who the user is, and by what sshd says of him.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::doctor::programs::Answer;
use crate::doctor::sshd::Effective;

/// Who the drill logs in as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// His name.
    pub name: String,
    /// His number.
    pub uid: u32,
    /// The number of his group.
    pub gid: u32,
    /// Where he is at home.
    pub home: PathBuf,
}

/// A file of keys, and who changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Whether it is in the user's own home, where he may put what he likes meanwhile: so it is changed as him, and not
    /// as root. Else all directories above it have to be root's.
    pub of_user: bool,
}

/// Why there is no place: text and remedy.
pub type Why = (String, String);

/// Shells that run no command.
const NO_SHELLS: [&str; 3] = ["nologin", "false", "sync"];

fn why(text: impl Into<String>, fix: impl Into<String>) -> Why {
    (text.into(), fix.into())
}

/// The account of the user `name`, by `getent passwd`.
///
/// # Errors
///
/// Why nobody can log in as him.
pub fn account(name: &str, answer: &Answer) -> Result<Account, Why> {
    let another = "in [drill] of bastion.toml: user = a user who logs in here by a key";
    let Some(text) = answer.good() else {
        return Err(why(format!("there is no user {name} on this host"), another));
    };
    let fields: Vec<&str> = text.lines().next().unwrap_or_default().split(':').collect();
    let parsed = match fields[..] {
        [_, _, uid, gid, _, home, shell] => {
            uid.parse().ok().zip(gid.parse().ok()).map(|ids| (ids, home, shell))
        }
        _ => None,
    };
    let Some(((uid, gid), home, shell)) = parsed else {
        return Err(why(
            format!("what the system says of the user {name} cannot be read"),
            another,
        ));
    };
    if NO_SHELLS.contains(&shell.rsplit('/').next().unwrap_or_default()) {
        return Err(why(format!("the shell of {name}, {shell}, lets nobody in"), another));
    }
    Ok(Account { name: name.to_owned(), uid, gid, home: home.into() })
}

/// The first file of keys of this user, by what sshd says of him.
///
/// # Errors
///
/// Why a key that is put there would not let him in, or not prove it.
pub fn place(account: &Account, sshd: &Effective<'_>) -> Result<Place, Why> {
    let name = &account.name;
    let another = "in [drill]: another user";
    let forced = sshd.get("forcecommand");
    if !sshd.get("pubkeyauthentication").eq_ignore_ascii_case("yes") {
        return Err(why(format!("sshd takes no keys of {name}"), another));
    }
    if !matches!(forced, "" | "none") {
        return Err(why(format!("sshd forces a command on {name}: {forced}"), another));
    }
    let ways = sshd.get("authenticationmethods");
    if !matches!(ways, "" | "any") && !ways.split_whitespace().any(|way| way == "publickey") {
        return Err(why(format!("sshd asks more of {name} than a key: {ways}"), another));
    }
    let Some(pattern) =
        sshd.get("authorizedkeysfile").split_whitespace().next().filter(|one| *one != "none")
    else {
        return Err(why(format!("sshd reads no file of keys of {name}"), another));
    };
    let Some(path) = expand(pattern, account) else {
        return Err(why(
            format!("AuthorizedKeysFile {pattern} is more than is understood here"),
            another,
        ));
    };
    let file = account.home.join(path);
    if file.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return Err(why(format!("AuthorizedKeysFile {pattern} leads elsewhere"), another));
    }
    // The home of a user of the system may be /.
    let of_user = account.home != Path::new("/") && file.starts_with(&account.home);
    Ok(Place { file, of_user })
}

/// The tokens of `AuthorizedKeysFile` (sshd_config(5)).
fn expand(pattern: &str, account: &Account) -> Option<PathBuf> {
    let mut path = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('%')) => path.push('%'),
            ('%', Some('h')) => path += account.home.to_str()?,
            ('%', Some('u')) => path += &account.name,
            ('%', Some('U')) => path += &account.uid.to_string(),
            ('%', _) => return None,
            (c, _) => path.push(c),
        }
    }
    Some(path.into())
}

/// Since when sshd takes times in UTC.
const KNOWS_UTC: (u32, u32) = (9, 1);

/// Whether this OpenSSH takes times in UTC, by what `ssh -V` says.
#[must_use]
pub fn knows_utc(said: &str) -> bool {
    let version = said.strip_prefix("OpenSSH_").and_then(|rest| {
        let (major, rest) = rest.split_once('.')?;
        let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    version.is_some_and(|version| version >= KNOWS_UTC)
}

/// How long a key may let somebody in. The drill takes it out after seconds; this is for when it cannot.
const LASTS_S: i64 = 120;

/// The end of a key that begins now, in whole minutes.
#[must_use]
pub fn end(now_s: i64) -> i64 {
    (now_s + LASTS_S + 59).div_euclid(60) * 60
}

/// That end as sshd reads it: in UTC where it knows that, else in local time.
#[must_use]
pub fn expiry_time(end_s: i64, utc: bool) -> Option<String> {
    if utc {
        let digits: String =
            crate::config::moment::write(end_s).chars().filter(char::is_ascii_digit).collect();
        return Some(format!("{}Z", digits.get(..12)?));
    }
    let at = crate::ffi::local_time(end_s)?;
    Some(format!("{:04}{:02}{:02}{:02}{:02}", at.year, at.month, at.day, at.hour, at.minute))
}

/// The line of a drill's key: it lets in from this machine alone, for two minutes, and does nothing but say `word`.
#[must_use]
pub fn entry(word: &str, key: &str, expiry: &str, from: IpAddr) -> String {
    let own = if from.is_loopback() { String::new() } else { format!(",{from}") };
    let key: Vec<&str> = key.split_whitespace().take(2).collect();
    format!(
        "restrict,command=\"echo {word}\",expiry-time=\"{expiry}\",from=\"127.0.0.1,::1{own}\" {} {word}",
        key.join(" ")
    )
}

/// What to do about a file that cannot be changed, for this reason.
#[must_use]
pub fn mend(file: &Path, why: &str) -> String {
    match why.contains("Read-only file system") {
        // By hand it is no trouble.
        true => {
            let dir = file.parent().unwrap_or(Path::new("/")).display();
            format!(
                "if bastion drill by hand can: systemctl edit bastion-drill, and write: [Service] and under it \
                 ReadWritePaths={dir}"
            )
        }
        false => "name another user in [drill]".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(out: &str) -> Answer {
        Answer::Said { code: Some(0), out: out.into(), err: String::new() }
    }

    fn alice() -> Account {
        account("alice", &said("alice:x:2001:2002:Alice:/home/alice:/bin/bash\n")).unwrap()
    }

    #[test]
    fn an_account_is_one_that_somebody_can_log_in_to() {
        assert_eq!((alice().uid, alice().gid, alice().home), (2001, 2002, "/home/alice".into()));
        let none = Answer::Said { code: Some(2), out: String::new(), err: String::new() };
        for (answer, text) in [
            (none, "there is no user alice"),
            (said("alice:x:1\n"), "cannot be read"),
            (said("alice:x:1:2::/:/usr/sbin/nologin\n"), "lets nobody in"),
            (said("alice:x:1:2::/:/bin/false\n"), "lets nobody in"),
        ] {
            let (why, fix) = account("alice", &answer).unwrap_err();
            assert!(why.contains(text) && fix.contains("[drill]"), "{why}");
        }
    }

    #[test]
    fn the_place_is_the_first_that_sshd_reads() {
        let of = |text: &str| place(&alice(), &Effective::new(text));
        let good = "pubkeyauthentication yes\nforcecommand none\nauthenticationmethods any\n";
        for (file, want, of_user) in [
            (
                ".ssh/authorized_keys .ssh/authorized_keys2",
                "/home/alice/.ssh/authorized_keys",
                true,
            ),
            ("%h/.ssh/keys", "/home/alice/.ssh/keys", true),
            ("/etc/ssh/keys/%u", "/etc/ssh/keys/alice", false),
            ("/etc/ssh/keys/%U/100%%", "/etc/ssh/keys/2001/100%", false),
            ("/home/alice2/%u", "/home/alice2/alice", false),
        ] {
            let got = of(&format!("{good}authorizedkeysfile {file}\n")).unwrap();
            assert_eq!(got, Place { file: want.into(), of_user }, "{file}");
        }
        for (text, want) in [
            ("pubkeyauthentication no\nauthorizedkeysfile x\n", "takes no keys"),
            (
                "pubkeyauthentication yes\nforcecommand internal-sftp\nauthorizedkeysfile x\n",
                "internal-sftp",
            ),
            (
                "pubkeyauthentication yes\nauthenticationmethods publickey,password\nauthorizedkeysfile x\n",
                "more of",
            ),
            ("pubkeyauthentication yes\nauthorizedkeysfile none\n", "no file of keys"),
            ("pubkeyauthentication yes\nauthorizedkeysfile /k/%x\n", "more than is understood"),
            ("pubkeyauthentication yes\nauthorizedkeysfile ../bob/.ssh/keys\n", "leads elsewhere"),
        ] {
            let (why, _) = of(text).unwrap_err();
            assert!(why.contains(want), "{why}");
        }
        let either = format!("{good}authorizedkeysfile k\n")
            .replace(" any", " publickey,password publickey");
        assert!(of(&either).is_ok());
    }

    #[test]
    fn what_the_unit_may_not_write_is_named_with_the_line_that_lets_it() {
        let file = Path::new("/etc/ssh/keys/alice");
        let fix = mend(file, "/etc/ssh/keys/alice: Read-only file system (os error 30)");
        assert!(fix.ends_with("ReadWritePaths=/etc/ssh/keys"), "{fix}");
        assert!(mend(file, "No space left on device").contains("[drill]"));
    }

    #[test]
    fn a_key_ends_two_to_three_minutes_from_now() {
        const NOON: i64 = 1_795_435_200;
        for (now, want) in [(NOON, 120), (NOON + 1, 180), (NOON + 59, 180), (NOON + 60, 180)] {
            assert_eq!(end(now), NOON + want, "{now}");
            assert!((120..180).contains(&(end(now) - now)), "{now}");
        }
        assert_eq!(expiry_time(NOON, true).as_deref(), Some("202611231200Z"));
        assert_eq!(expiry_time(NOON, false).map(|text| text.len()), Some(12));
        for (said, want) in [
            ("OpenSSH_8.4p1 Debian-5, OpenSSL", false),
            ("OpenSSH_9.0p1", false),
            ("OpenSSH_9.1p1", true),
            ("OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15", true),
            ("OpenSSH_10.0p2 Debian-7", true),
            ("dropbear", false),
        ] {
            assert_eq!(knows_utc(said), want, "{said}");
        }
    }

    #[test]
    fn the_line_lets_in_from_here_alone_and_does_nothing() {
        let key = "ssh-ed25519 AAAA root@host with words\n";
        assert_eq!(
            entry("bastion-drill-k7f3q2", key, "202611231200Z", "127.0.0.1".parse().unwrap()),
            "restrict,command=\"echo bastion-drill-k7f3q2\",expiry-time=\"202611231200Z\",\
             from=\"127.0.0.1,::1\" ssh-ed25519 AAAA bastion-drill-k7f3q2"
        );
        let other = entry("w", key, "e", "192.0.2.1".parse().unwrap());
        assert!(other.contains("from=\"127.0.0.1,::1,192.0.2.1\""), "{other}");
    }
}
