//! Service files of libpam, edited: whatever is in one, it is refused, or the result read as libpam 1.5 reads it is
//! the same as before but for our line, which is the first of the session or gone.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use notifier::pam_line::edit::{self, COMMENT, LINE};

fuzz_target!(|bytes: &[u8]| {
    let before = naive(bytes);
    let had = bytes.windows(11).any(|window| window == b"pam_bastion");
    if let Ok(edit) = edit::add("sshd", bytes, &load) {
        let new = edit.apply(bytes);
        assert_eq!(edit.is_empty(), new == bytes);
        let _ = edit.diff(bytes, Path::new("/etc/pam.d/sshd"));
        let after = naive(&new);
        let first = after.iter().position(|line| is_session(line)).expect("a session line");
        assert!(is_ours(&after[first]), "{after:?}");
        assert_eq!(&after[first][..2], [&b"-session"[..], b"optional"].map(|word| word.to_ascii_lowercase()));
        assert_eq!(after.iter().filter(|line| is_ours(line)).count(), 1);
        assert_eq!(others(&after), others(&before));
        assert!(others(&after).into_iter().any(|line| decides(line)), "{after:?}");
        assert!(edit::add("sshd", &new, &load).expect("understood once more").is_empty());
        let back = edit::remove("sshd", &new, &load).expect("what was put in can be taken out").apply(&new);
        if !had {
            assert_eq!(back, bytes);
            assert_eq!(new.len() - bytes.len(), COMMENT.len() + LINE.len() + 3);
        }
    }
    if let Ok(edit) = edit::remove("sshd", bytes, &load) {
        let new = edit.apply(bytes);
        let after = naive(&new);
        assert!(!after.iter().any(|line| is_ours(line)), "{after:?}");
        assert_eq!(others(&after), others(&before));
        assert!(had || edit.is_empty());
        assert!(edit.is_empty() || others(&after).into_iter().any(|line| decides(line)), "{after:?}");
    }
});

fn load(name: &str) -> Option<Vec<u8>> {
    let text: &[u8] = match name {
        "common-auth" => b"auth required pam_unix.so\n",
        "common-session" => b"session [default=1] pam_permit.so\nsession requisite pam_deny.so\nsession required pam_unix.so\n",
        "loop" => b"@include loop\n@include loop\n",
        "ours" => b"session required pam_bastion.so\n",
        _ => return None,
    };
    Some(text.to_vec())
}

/// Whether it is a line of the session, or brings some.
fn is_session(line: &[Vec<u8>]) -> bool {
    let kind = line[0].strip_prefix(b"-").unwrap_or(&line[0]);
    kind == b"session" || line[0] == b"@include" && line.get(1).is_some_and(|name| name == b"common-session")
}

fn is_ours(line: &[Vec<u8>]) -> bool {
    is_session(line)
        && line.get(2).is_some_and(|module| module.rsplit(|byte| *byte == b'/').next() == Some(b"pam_bastion.so"))
}

/// Whether it can have a say in who comes in, without which ours would be the only word.
fn decides(line: &[Vec<u8>]) -> bool {
    if !is_session(line) {
        return false;
    }
    let Some(control) = line.get(1).map(|word| String::from_utf8_lossy(word)) else { return false };
    match control.split_ascii_whitespace().collect::<String>().as_str() {
        "required" | "requisite" => true,
        "common-session" => line[0] == b"@include",
        "include" | "substack" => line.get(2).is_some_and(|name| name == b"common-session"),
        brackets => brackets.split_once("default=").map_or(brackets.starts_with('['), |(_, action)| {
            // A number denies where it leads behind the end.
            !action.starts_with("ignore") && !action.starts_with("reset")
        }),
    }
}

fn others(lines: &[Vec<Vec<u8>>]) -> Vec<&Vec<Vec<u8>>> {
    lines.iter().filter(|line| !is_ours(line)).collect()
}

/// The words of each line, type and control in small letters, by the steps of `_pam_assemble_line` in C.
fn naive(file: &[u8]) -> Vec<Vec<Vec<u8>>> {
    const BLANK: &[u8] = b" \t\n";
    let mut lines = Vec::new();
    let (mut at, mut buffer) = (0, Vec::new());
    while at < file.len() {
        // fgets: to the end of the line, or of the buffer.
        let end = file[at..].iter().position(|byte| *byte == b'\n').map_or(file.len(), |end| at + end + 1);
        let end = end.min(at + 1023_usize.saturating_sub(buffer.len()).max(1));
        let mut line = &file[at..end];
        at = end;
        if let Some(nul) = line.iter().position(|byte| *byte == 0) {
            line = &line[..nul];
        }
        let begin = line.iter().position(|byte| !BLANK.contains(byte)).unwrap_or(line.len());
        line = &line[begin..];
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        if let Some(comment) = line.iter().position(|byte| *byte == b'#') {
            buffer.extend(&line[..comment]);
        } else {
            let last = line.iter().rposition(|byte| !BLANK.contains(byte)).expect("it begins with one");
            if line[last] == b'\\' {
                buffer.extend(&line[..last]);
                buffer.push(b' ');
                continue;
            }
            buffer.extend(line);
        }
        lines.push(words(&std::mem::take(&mut buffer)));
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if b" \t\n".contains(&byte) {
            continue;
        }
        let mut word = vec![byte];
        if byte == b'[' {
            let mut escaped = false;
            for byte in bytes.by_ref() {
                word.push(byte);
                if byte == b']' && !escaped {
                    break;
                }
                escaped = byte == b'\\' && !escaped;
            }
        } else {
            while let Some(byte) = bytes.next_if(|byte| !b" \t\n".contains(byte)) {
                word.push(byte);
            }
        }
        if words.len() < 2 && byte != b'[' {
            word.make_ascii_lowercase();
        }
        words.push(word);
    }
    words
}
