//! A file of keys as a drill changes it: its line comes and goes, and nothing else. The file is replaced whole or not at
//! all, with the owner, rights and attributes it has.
//!
//! In a user's home this is done as that user, in a process of its own: he can have there what he likes, and root
//! follows him nowhere.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::place::{Account, Place};
use crate::doctor::programs::{self, Answer};
use crate::exit::{Failure, print};
use crate::ffi;

/// How the word of a drill begins: its line's comment, and what its login says.
pub const WORD: &str = "bastion-drill-";

/// How its line begins: no other program writes one like it.
const BEGIN: &str = "restrict,command=\"echo bastion-drill-";

/// Largest file, in bytes: some ten thousand keys.
const MAX: u64 = 4 * 1024 * 1024;

/// Longest time for a change: the home may be on a server of the network.
const MOST: Duration = Duration::from_secs(8);

/// The word by which this program is asked to put a line into a file.
pub const ADD: &str = "key-add";
/// The word for taking the lines of drills out again.
pub const REMOVE: &str = "key-remove";
/// The word for counting them, and for when the last of them ends.
pub const FIND: &str = "key-find";

/// What `ADD` has made, and `REMOVE` takes away again where nothing else is in it.
const MADE: [&str; 2] = ["made-file", "made-directory"];

/// Whether a line is a drill's.
fn is_ours(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    line.starts_with(BEGIN.as_bytes()) && last.starts_with(WORD.as_bytes())
}

/// The text with a line more.
fn with(text: &[u8], line: &str) -> Vec<u8> {
    let mut new = text.to_vec();
    if !matches!(new.last(), None | Some(b'\n')) {
        new.push(b'\n');
    }
    new.extend(line.as_bytes());
    new.push(b'\n');
    new
}

/// The text without the lines of drills, and how many there were.
fn without(text: &[u8]) -> (Vec<u8>, usize) {
    let lines = || text.split_inclusive(|byte| *byte == b'\n');
    let left = lines().filter(|line| !is_ours(line)).collect::<Vec<_>>().concat();
    (left, lines().filter(|line| is_ours(line)).count())
}

/// When the last line of a drill ends: `2026-11-23 12:00 UTC`, or without a zone in this host's time.
fn ends(text: &[u8]) -> Option<String> {
    let line = text.rsplit(|byte| *byte == b'\n').find(|line| is_ours(line))?;
    let line = std::str::from_utf8(line).ok()?;
    let (moment, _) = line.split_once(",expiry-time=\"")?.1.split_once('"')?;
    let digits = moment.strip_suffix('Z').unwrap_or(moment);
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let [year, month, day, hour, minute] =
        [0..4, 4..6, 6..8, 8..10, 10..12].map(|at| digits.get(at).unwrap_or_default());
    let zone = if digits == moment { "" } else { " UTC" };
    Some(format!("{year}-{month}-{day} {hour}:{minute}{zone}"))
}

/// The file itself, where the name is a link: who changes it is who may.
fn real(file: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (dir, name) = file.parent().zip(file.file_name()).ok_or(error)?;
            Ok(fs::canonicalize(dir)?.join(name))
        }
        other => other,
    }
}

fn read(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no plain file"));
    }
    let mut text = Vec::new();
    (&file).take(MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX {
        return Err(io::Error::other(format!("has more than {MAX} bytes")));
    }
    Ok((file, text))
}

/// Whether who we are may replace a file by one that is like it.
fn is_own(file: &File) -> io::Result<()> {
    let (owner, we) = (file.metadata()?.uid(), ffi::geteuid());
    if we == 0 || owner == we {
        return Ok(());
    }
    let text = format!("belongs to uid {owner}, so a new one in its place would not be the same");
    Err(io::Error::other(text))
}

/// Where the file is written anew, before it takes the other's place.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}.bastion-drill"))
}

/// Puts `text` in the place of the file at `path`, of which `like` and `before` are what was read.
fn replace(path: &Path, (like, before): (&File, &[u8]), text: &[u8]) -> io::Result<()> {
    let new = beside(path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&new)?;
        file.write_all(text)?;
        let (old, now) = (like.metadata()?, file.metadata()?);
        if (old.uid(), old.gid()) != (now.uid(), now.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        match ffi::copy_attributes(like, &file) {
            // What only root may give: the new file has what its directory gives it.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            other => other?,
        }
        file.sync_all()?;
        // Who has changed it meanwhile has not done so for nothing.
        let (found, now) = read(path)?;
        let key =
            |meta: fs::Metadata| (meta.dev(), meta.ino(), meta.mode(), meta.uid(), meta.gid());
        if now != *before || key(found.metadata()?) != key(old) {
            return Err(io::Error::other("was changed by somebody else meanwhile; try again"));
        }
        fs::rename(&new, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Adds a line; answers what had to be made for it.
fn add(file: &Path, line: &str) -> io::Result<Vec<&'static str>> {
    let mut made = Vec::new();
    let dir = file.parent().unwrap_or(Path::new("/"));
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => made.push(MADE[1]),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let put = || -> io::Result<bool> {
        let path = real(file)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).custom_flags(libc::O_NOFOLLOW);
        // sshd reads it as the user, and keys are no secret.
        options.mode(if ffi::geteuid() == 0 { 0o644 } else { 0o600 });
        let is_new = match options.open(&path) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        let put =
            read(&path).and_then(|(old, text)| replace(&path, (&old, &text), &with(&text, line)));
        if put.is_err() && is_new {
            let _ = fs::remove_file(&path);
        }
        put.map(|()| is_new)
    };
    match put() {
        Ok(true) => made.push(MADE[0]),
        Ok(false) => {}
        Err(error) => {
            if !made.is_empty() {
                let _ = fs::remove_dir(dir);
            }
            return Err(error);
        }
    }
    Ok(made)
}

/// Takes out the lines of drills; answers how many there were.
fn remove(file: &Path, made: &[String]) -> io::Result<usize> {
    let path = match real(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let (old, text) = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    // Of one that was killed while it wrote.
    let _ = fs::remove_file(beside(&path));
    let (left, count) = without(&text);
    if count > 0 {
        replace(&path, (&old, &text), &left)?;
    }
    let was_made = |word: &str| made.iter().any(|one| one == word);
    if was_made(MADE[0]) && left.is_empty() {
        fs::remove_file(&path)?;
        if was_made(MADE[1]) {
            // Unless something else is in it by now.
            let _ = fs::remove_dir(path.parent().unwrap_or(Path::new("/")));
        }
    }
    Ok(count)
}

/// What this program does when it is asked by one of the words.
///
/// # Errors
///
/// What the system said.
pub fn serve(word: &str, file: &Path, words: &[String]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(file.display(), &error);
    match word {
        ADD => {
            let line = words.first().ok_or_else(|| Failure::usage("a line is missing"))?;
            print(&add(file, line).map_err(failed)?.join(" "));
        }
        REMOVE => print(&remove(file, words).map_err(failed)?.to_string()),
        _ => {
            let text = match real(file).and_then(|path| read(&path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                other => {
                    let (file, text) = other.map_err(failed)?;
                    is_own(&file).map_err(failed)?;
                    text
                }
            };
            let count = without(&text).1;
            print(&ends(&text).map_or(count.to_string(), |ends| format!("{count} {ends}")));
        }
    }
    Ok(())
}

/// Has a file changed or looked at by another process of this program, as the one whose place it is.
///
/// # Errors
///
/// Why it was not done.
pub fn ask(
    own: &Path,
    account: &Account,
    place: &Place,
    word: &str,
    words: &[String],
) -> Result<String, String> {
    let mut command = Command::new(own);
    command.args(["drill", word]).arg(&place.file).args(words);
    if place.of_user {
        // With no group but his own.
        command.uid(account.uid).gid(account.gid);
    } else {
        is_roots(&place.file)?;
    }
    match programs::hear(command, MOST) {
        Answer::Said { code: Some(0), out, .. } => Ok(out.trim().to_owned()),
        Answer::Said { err, .. } => {
            let said = err.lines().next().unwrap_or("it ended and said nothing");
            Err(said.strip_prefix("bastion: ").unwrap_or(said).to_owned())
        }
        Answer::Missing => Err(format!("{} cannot be started", own.display())),
        Answer::Unheard(why) => Err(format!("{}: {why}", place.file.display())),
    }
}

/// Whether all directories above a file are root's alone.
fn is_roots(file: &Path) -> Result<(), String> {
    let path = real(file).map_err(|error| format!("{}: {error}", file.display()))?;
    for dir in path.ancestors().skip(1) {
        let sound = fs::symlink_metadata(dir)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == 0 && meta.mode() & 0o022 == 0);
        if !sound {
            return Err(format!("{}: others than root may write there", dir.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "restrict,command=\"echo bastion-drill-k7f3q2\",expiry-time=\"1\" ssh-ed25519 AA bastion-drill-k7f3q2";

    #[test]
    fn its_line_comes_and_goes_and_nothing_else() {
        for (text, added) in [
            ("", format!("{OURS}\n")),
            ("a b c\n", format!("a b c\n{OURS}\n")),
            ("no end", format!("no end\n{OURS}\n")),
        ] {
            assert_eq!(with(text.as_bytes(), OURS), added.as_bytes(), "{text}");
            let (left, count) = without(added.as_bytes());
            assert_eq!((left.trim_ascii_end(), count), (text.trim_end().as_bytes(), 1), "{text}");
        }
        let both = format!("{OURS}\n\n# c\n\t{OURS} \nlast");
        assert_eq!(without(both.as_bytes()), (b"\n# c\nlast".to_vec(), 2));
    }

    #[test]
    fn the_end_of_a_line_is_told_as_a_person_reads_it() {
        for (moment, want) in [
            ("202611231200Z", Some("2026-11-23 12:00 UTC")),
            ("202611231200", Some("2026-11-23 12:00")),
            ("1", None),
            ("20261123120\u{e4}", None),
        ] {
            let line = OURS.replace("\"1\"", &format!("\"{moment}\""));
            assert_eq!(ends(format!("{OURS}\n{line}\nx\n").as_bytes()).as_deref(), want);
        }
        assert_eq!(ends(b"x\n"), None);
    }

    #[test]
    fn what_a_user_wrote_himself_is_his() {
        for line in [
            "ssh-ed25519 AA bastion-drill-k7f3q2",
            "# restrict,command=\"echo bastion-drill-k7f3q2\" bastion-drill-k7f3q2",
            "restrict,command=\"echo bastion-drill-k7f3q2\" ssh-ed25519 AA alice@laptop",
            "restrict,command=\"echo bastion-drill-x\" ssh-ed25519 AA mine bastion-drill",
            "\u{0}",
        ] {
            assert_eq!(without(line.as_bytes()), (line.as_bytes().to_vec(), 0), "{line}");
        }
    }

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("notifier-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_rights_and_one_that_was_made_goes_again() {
        let dir = Dir::new("drill-keys");
        let file = dir.0.join(".ssh/authorized_keys");
        let made: Vec<String> = add(&file, OURS).unwrap().into_iter().map(str::to_owned).collect();
        assert_eq!(made, ["made-directory", "made-file"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let readable = if ffi::geteuid() == 0 { 0o644 } else { 0o600 };
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (readable, 0o700));
        assert_eq!(remove(&file, &made).unwrap(), 1);
        assert!(!file.parent().unwrap().exists());
        assert_eq!(remove(&file, &made).unwrap(), 0, "twice is no fault");

        // What cannot be done is done in no part: its name is another's.
        let dir_of_keys = file.parent().unwrap();
        let there = dir.0.join("there");
        fs::create_dir_all(beside(&there)).unwrap();
        assert!(add(&there, OURS).is_err());
        assert!(!there.exists(), "the empty file is gone again");

        fs::create_dir(dir_of_keys).unwrap();
        fs::write(&file, "mine\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(add(&file, OURS).unwrap(), [""; 0]);
        assert_eq!(mode(&file), 0o640);
        fs::write(beside(&file), "mine").unwrap();
        assert_eq!(remove(&file, &[]).unwrap(), 1);
        assert!(!beside(&file).exists());
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"mine\n".to_vec(), 0o640));

        // A link stays one, to a file that has changed.
        let target = dir.0.join("target");
        fs::rename(&file, &target).unwrap();
        std::os::unix::fs::symlink(&target, &file).unwrap();
        add(&file, OURS).unwrap();
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        assert!(fs::read_to_string(&target).unwrap().contains(WORD));
        assert_eq!(remove(&file, &[]).unwrap(), 1);
        assert_eq!(
            fs::read_dir(file.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn what_somebody_else_writes_meanwhile_is_not_lost() {
        let dir = Dir::new("drill-meanwhile");
        let file = dir.0.join("authorized_keys");
        fs::write(&file, "mine\n").unwrap();
        let (old, text) = read(&file).unwrap();
        fs::write(&file, "mine\nmore\n").unwrap();
        let error = replace(&file, (&old, &text), &with(&text, OURS)).unwrap_err();
        assert!(error.to_string().contains("changed by somebody else"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"mine\nmore\n");
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn what_is_no_file_of_keys_is_refused() {
        let dir = Dir::new("drill-odd");
        let fifo = dir.0.join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(add(&fifo, OURS).is_err() && remove(&fifo, &[]).is_err(), "and nobody waits");
        let large = dir.0.join("large");
        fs::write(&large, vec![b'x'; usize::try_from(MAX).unwrap() + 1]).unwrap();
        assert!(add(&large, OURS).is_err());
        assert_eq!(fs::metadata(&large).unwrap().len(), MAX + 1);
    }

    #[test]
    fn root_writes_only_where_nobody_else_may() {
        assert_eq!(
            is_roots(Path::new("/etc/ssh/no-such-file")).is_ok(),
            Path::new("/etc/ssh").is_dir()
        );
        let dir = Dir::new("drill-roots");
        assert!(is_roots(&dir.0.join("x")).is_err(), "others may write to the directory above");
    }
}
