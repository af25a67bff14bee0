//! What is kept in `sent/` and `failed/`, and for how long: the newest, up to a ceiling each.

use std::fs;
use std::path::Path;

use super::Spool;
use super::claim::REFUSED;
use super::queue::{REASON, STATE, list};

/// How many messages are kept in each directory.
const MESSAGES: usize = 1000;

/// How many files that were no event, and how many bytes of them. They have a ceiling of their
/// own: whoever may write into `drop/` must not be able to push a failed alert out.
const REFUSALS: usize = 200;
const REFUSED_BYTES: u64 = 32 * 1024 * 1024;

/// Removes what is too old; answers how many alerts are gone from `failed/`, because somebody
/// should hear of those.
#[must_use]
pub fn prune(spool: &Spool) -> usize {
    prune_dir(&spool.sent());
    prune_dir(&spool.failed())
}

fn prune_dir(dir: &Path) -> usize {
    let Ok(names) = list(dir) else { return 0 };
    let companion = |name: &&String| name.ends_with(STATE) || name.ends_with(REASON);
    let (companions, files): (Vec<_>, Vec<_>) = names.iter().partition(companion);
    let (refused, messages): (Vec<&String>, Vec<&String>) =
        files.into_iter().partition(|name| name.contains(&format!("-{REFUSED}-")));
    let surplus = messages.len().saturating_sub(MESSAGES);
    let gone = messages.iter().take(surplus).filter(|name| remove(dir, name)).count();
    let (mut kept, mut bytes) = (0, 0_u64);
    for name in refused.iter().rev() {
        let size = fs::symlink_metadata(dir.join(name)).map_or(0, |meta| meta.len());
        if kept < REFUSALS && bytes.saturating_add(size) <= REFUSED_BYTES {
            kept += 1;
            bytes += size;
        } else {
            remove(dir, name);
        }
    }
    for companion in companions {
        let of = companion.trim_end_matches(STATE).trim_end_matches(REASON);
        if fs::symlink_metadata(dir.join(of)).is_err() {
            let _ = fs::remove_file(dir.join(companion));
        }
    }
    gone
}

fn remove(dir: &Path, name: &str) -> bool {
    let path = dir.join(name);
    let is_dir = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
    let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    for suffix in [STATE, REASON] {
        let _ = fs::remove_file(dir.join(format!("{name}{suffix}")));
    }
    removed.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_never_pushes_an_alert_out() {
        let dir = std::env::temp_dir().join(format!("notifier-prune-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for sub in ["sent", "failed"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let failed = dir.join("failed");
        let name = |ms: u64, kind: &str| format!("{ms:013}-{kind}-k7f3q2.json");
        fs::write(failed.join(name(1, "login")), "x").unwrap();
        fs::File::create(failed.join(name(9_999_999_999_999, "refused")))
            .unwrap()
            .set_len(REFUSED_BYTES + 1)
            .unwrap();
        for ms in 0..300 {
            fs::write(failed.join(name(ms, "refused")), "x").unwrap();
        }
        fs::write(failed.join(name(2, "login") + STATE), "x").unwrap();
        assert_eq!(prune(&Spool::new(&dir)), 0);
        let left = list(&failed).unwrap();
        assert!(left.contains(&name(1, "login")));
        assert_eq!(left.len(), REFUSALS + 1);
        for ms in 1000..2500 {
            fs::write(failed.join(name(ms, "login")), "x").unwrap();
        }
        assert_eq!(prune(&Spool::new(&dir)), 501);
        fs::remove_dir_all(&dir).unwrap();
    }
}
