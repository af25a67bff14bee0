//! Who else is logged in, by utmp(5): a hint for the message, and never more. There may be
//! no utmp at all (Debian 13), it never has the login that is being told, and it may be wrong.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use utmp_rs::{ParseError, UtmpEntry, UtmpParser};

use crate::foreign::visible;

/// Where utmp is, where it is.
const UTMP: &str = "/run/utmp";

/// Most records read: a file that gives an error for ever must end.
const MAX_RECORDS: usize = 4096;

/// Most users named.
const MAX_NAMED: usize = 4;

/// "also logged in: bob, carol"; `None` when nobody is, or nobody knows.
#[must_use]
pub fn logged_in() -> Option<String> {
    logged_in_by(Path::new(UTMP))
}

/// [`logged_in`] by the utmp file at `path`.
#[must_use]
pub fn logged_in_by(path: &Path) -> Option<String> {
    // Not blocking: opening a pipe would wait for a writer, and with it every alert.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let records = UtmpParser::from_file(file);
    let mut users = BTreeSet::new();
    for record in records.take(MAX_RECORDS) {
        match record {
            Ok(UtmpEntry::UserProcess { user, .. }) => {
                users.insert(user);
            }
            // One bad record says nothing of the next; a read error is followed by itself.
            Ok(_) | Err(ParseError::Utmp(_)) => {}
            Err(_) => break,
        }
    }
    if users.is_empty() {
        return None;
    }
    let more = users.len().saturating_sub(MAX_NAMED);
    let named: Vec<_> = users.iter().take(MAX_NAMED).map(|user| visible(user.as_bytes())).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("also logged in: {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_readable_utmp_there_is_no_hint() {
        let dir = std::env::temp_dir().join(format!("notifier-utmp-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // A directory gives a read error for ever.
        for path in [dir.join("absent"), dir.clone()] {
            assert_eq!(logged_in_by(&path), None);
        }
        std::fs::write(dir.join("garbage"), vec![0xff; 10_000]).unwrap();
        assert_eq!(logged_in_by(&dir.join("garbage")), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
