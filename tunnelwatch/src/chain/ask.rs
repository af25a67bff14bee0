//! Asks the jump host who has opened a connection there: one more session of the tunnel's own
//! connection, answered by the command beside the tunnel's key. A thread for each tunnel, and one question at a
//! time: a tunnel may have two sessions (`MaxSessions` of `enroll`), and of many connections that come at
//! once, all are asked about together.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use notifier::chain::{Answer, MAX_ANSWER};
use notifier::ffi::{set_nonblocking, signal_group, wait_readable};

use super::board::{Batch, Board, TOGETHER};
use super::ear::Origin;
use crate::config::Tunnel;
use crate::ssh;

/// How long the jump host may take. The sender waits three seconds in all.
const MOST: Duration = Duration::from_millis(2_500);

/// Most that is read of what it says, in bytes.
const MAX_SAID: usize = TOGETHER * (MAX_ANSWER + 1);

/// Arguments with which the session at `control` is asked who has opened these connections. When that
/// session is gone, nothing else is tried: ssh would make a connection of its own.
#[must_use]
pub fn arguments(tunnel: &Tunnel, batch: &Batch) -> Vec<OsString> {
    let mut control = OsString::from("ControlPath=");
    control.push(&batch.control);
    let mut words: Vec<OsString> =
        ["-F", "none", "-T", "-o", "BatchMode=yes"].map(Into::into).into();
    words.extend(["-o", "ControlMaster=no", "-o", "ProxyCommand=/bin/false", "-o"].map(Into::into));
    words.extend([control, "--".into(), tunnel.jump.host.clone().into()]);
    let ports = batch.connections.iter().map(|(_, Origin { from, to })| format!(" {from}/{to}"));
    words.push(format!("came{}", ports.collect::<String>()).into());
    words
}

/// How long a try by hand may take, with a connection of its own.
const MOST_TRY: Duration = Duration::from_secs(20);

/// Why the jump host does not say who comes through, with what to do; `None` when it does, or need not. Asked by a
/// connection of its own, about one that there is not.
#[must_use]
pub fn why_nobody_answers(tunnel: &Tunnel, own: &Path) -> Option<String> {
    if !tunnel.chain {
        return None;
    }
    if let Said::All(bytes) = said(tunnel, by_hand(tunnel, own), Instant::now() + MOST_TRY) {
        if serde_json::from_slice::<Answer>(bytes.trim_ascii_end()).is_ok() {
            return None;
        }
    }
    let Tunnel { jump, name, .. } = tunnel;
    Some(format!(
        "{jump} does not say who comes through, so alerts of logins through the tunnel say unmatched; the line beside \
         the key there has to be the one of tunnelwatch enroll {name}, with command=\"/usr/bin/tunnelwatch answer ..\", \
         {user} needs a shell (usermod --shell /bin/sh {user}), and the package has to be installed there; or write \
         chain = false",
        user = jump.user,
    ))
}

/// Arguments with which the jump host is asked by a connection of its own.
fn by_hand(tunnel: &Tunnel, own: &Path) -> Vec<OsString> {
    let mut words = ssh::to_the_jump_host(tunnel, &["ControlPath=none".to_owned()], own);
    words.extend(["--".into(), tunnel.destination().into(), "came 1".into()]);
    words
}

/// Asks for a tunnel until it is kept no more.
pub fn serve(board: &Board, tunnel: &Tunnel, asker: u64) {
    while let Some(batch) = board.next(&tunnel.name, asker) {
        let said = said(tunnel, arguments(tunnel, &batch), Instant::now() + MOST);
        let answers = answers(&said, batch.connections.len());
        board.told(&tunnel.name, &batch, answers);
    }
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// These bytes, and then the end.
    All(Vec<u8>),
    /// More than anybody of ours says.
    TooMuch,
    /// Nothing, or not all, in time.
    TooLate,
    /// Nobody could be asked.
    Nobody,
}

/// The answers, a line for each of `count` connections.
fn answers(said: &Said, count: usize) -> Vec<Answer> {
    let all = |why: &str| vec![Answer::unmatched(why); count];
    match said {
        Said::TooMuch => all("the jump host's answer is too long"),
        Said::TooLate => all("the jump host did not answer in time"),
        Said::Nobody => all("the tunnel has ended since"),
        Said::All(bytes) if bytes.is_empty() => {
            all("the jump host does not answer; see tunnelwatch check")
        }
        Said::All(bytes) => {
            let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            // What stands behind the last end of a line is none.
            if lines.pop().is_none_or(|rest| !rest.is_empty()) || lines.len() != count {
                return all("the jump host's answer cannot be understood");
            }
            lines.into_iter().map(Answer::parse).collect()
        }
    }
}

fn said(tunnel: &Tunnel, arguments: Vec<OsString>, deadline: Instant) -> Said {
    let mut command = ssh::command(&tunnel.ssh);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return Said::Nobody };
    let said = match child.stdout.take() {
        Some(pipe) => hear(OwnedFd::from(pipe).into(), deadline),
        None => Said::Nobody,
    };
    // Who has said all has no more to do; who has not is not waited for.
    let patience = Instant::now() + Duration::from_millis(200);
    while matches!(child.try_wait(), Ok(None)) && matches!(said, Said::All(_)) {
        if Instant::now() >= patience {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = signal_group(child.id(), libc::SIGKILL);
    let _ = child.wait();
    said
}

fn hear(mut pipe: File, deadline: Instant) -> Said {
    if set_nonblocking(pipe.as_fd()).is_err() {
        return Said::Nobody;
    }
    let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match pipe.read(&mut chunk) {
            Ok(0) => return Said::All(said),
            Ok(read) => said.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Said::All(said),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if said.len() > MAX_SAID {
            return Said::TooMuch;
        }
        if left.is_zero() {
            return Said::TooLate;
        }
        let _ = wait_readable(&[pipe.as_fd()], left);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use notifier::chain::Person;

    use super::*;
    use crate::chain::net::Socket;
    use crate::config::Settings;

    #[test]
    fn it_is_asked_by_the_tunnel_s_own_connection_and_by_no_other() {
        let text = "[[tunnel]]\nname = \"a\"\njump = \"t@h\"\nremote-ports = [2222]\n";
        let tunnel = Settings::parse(text).unwrap().tunnels.remove(0);
        let batch = Batch {
            control: "/run/a.1.ctl".into(),
            connections: [Origin { from: 45_192, to: 2222 }, Origin { from: 7, to: 2223 }]
                .map(|origin| (Socket { local: ([127, 0, 0, 1], 1).into(), inode: 1 }, origin))
                .to_vec(),
        };
        let words = arguments(&tunnel, &batch);
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        let line = words.join(" ");
        assert_eq!(
            line,
            "-F none -T -o BatchMode=yes -o ControlMaster=no -o ProxyCommand=/bin/false -o \
             ControlPath=/run/a.1.ctl -- h came 45192/2222 7/2223"
        );
    }

    #[test]
    fn a_try_by_hand_goes_to_where_the_jump_host_is_now() {
        let text = "[[tunnel]]\nname = \"a\"\njump = \"t@h\"\nremote-ports = [2222]\n";
        let mut tunnel = Settings::parse(text).unwrap().tunnels.remove(0);
        for (address, want) in
            [(None, "-- h came 1"), (Some("198.51.100.7"), "-- 198.51.100.7 came 1")]
        {
            tunnel.address = address.map(str::to_owned);
            let words = by_hand(&tunnel, Path::new("/own"));
            let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
            assert!(words.join(" ").ends_with(want), "{words:?}");
        }
    }

    #[test]
    fn each_connection_has_its_line_and_anything_else_matches_nobody() {
        let line = |user: &str| {
            let person = Person { user: user.into(), ..Person::default() };
            Answer::Matched(person).to_line() + "\n"
        };
        let names = |said: &Said| -> Vec<Option<String>> {
            let name = |answer: &Answer| match answer {
                Answer::Matched(person) => Some(person.user.visible()),
                Answer::Unmatched(_) => None,
            };
            answers(said, 2).iter().map(name).collect()
        };
        let all = |text: String| Said::All(text.into_bytes());
        let two = line("alice") + &line("bob");
        assert_eq!(names(&all(two.clone())), [Some("alice".into()), Some("bob".into())]);
        assert_eq!(names(&all(line("alice") + "?\n")), [Some("alice".into()), None]);
        for said in [
            all(String::new()),
            all(line("alice")),
            all(two.clone() + &line("carol")),
            all(two.clone() + "more"),
            all(two.trim_end().to_owned()),
            all("x\n".repeat(1000)),
            Said::TooMuch,
            Said::TooLate,
            Said::Nobody,
        ] {
            assert_eq!(names(&said), [None, None], "{said:?}");
        }
    }

    #[test]
    fn who_never_stops_or_never_begins_does_not_hold_us_up() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let garbage = thread::spawn(move || while theirs.write_all(&[b'x'; 65_536]).is_ok() {});
        let deadline = || Instant::now() + Duration::from_secs(20);
        assert_eq!(hear(OwnedFd::from(ours).into(), deadline()), Said::TooMuch);
        garbage.join().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(hear(OwnedFd::from(ours).into(), soon), Said::TooLate);
        drop(theirs);
    }
}
