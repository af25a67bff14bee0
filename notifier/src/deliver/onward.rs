//! Asks `tunnelwatch watch` whether somebody who has logged in here has gone on through a tunnel.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::through::ask;
use crate::config::Document;
use crate::event::{Event, Login, What};
use crate::fact::{Fact, Finder};
use crate::foreign::Foreign;

/// How long a login is held for the answer: a client that goes on by itself (`ProxyJump`) does so at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where tunnelwatch answers, in its own directory in /run.
const SOCKET: &str = "tunnelwatch-watch/went";

/// Most names that are told of.
const MOST: usize = 16;

/// Where logins go on to.
pub struct Onward {
    /// This host: of another's logins its tunnelwatch knows nothing.
    host: Foreign,
    socket: PathBuf,
}

impl Onward {
    /// For `host`, whose sender has its directory at `run`; `None` where the file watches no tunnel that ends
    /// on this host, and where a person waits for the alert before his shell starts, for `hold`: he can go nowhere
    /// before that.
    #[must_use]
    pub fn wanted(text: &str, host: &Foreign, run: &Path, hold: Duration) -> Option<Self> {
        let mut document = Document::parse(text);
        // What is wrong there is tunnelwatch's to tell.
        let ends_here = document.tables("tunnel-watch", |_, section| {
            let elsewhere = section.get::<String>("address");
            section.leave_rest();
            elsewhere.is_none_or(|address| address.value == "127.0.0.1")
        });
        let socket = run.parent().unwrap_or(Path::new("/run")).join(SOCKET);
        let host = host.clone();
        let wanted = hold.is_zero() && ends_here.into_iter().any(|here| here);
        wanted.then_some(Self { host, socket })
    }
}

impl Finder for Onward {
    fn patience(&self, event: &Event) -> Option<Duration> {
        let What::Login(login) = &event.what else { return None };
        let is_ours = event.host == self.host && question(login, event).is_some();
        is_ours.then_some(PATIENCE)
    }

    fn find(&self, event: &Event, deadline: Instant) -> Option<Fact> {
        let What::Login(login) = &event.what else { return None };
        let line = ask(&self.socket, &question(login, event)?, deadline).ok()?;
        match serde_json::from_slice(&line) {
            Ok(Fact::WentOn(names)) if !names.is_empty() => {
                Some(Fact::WentOn(names.into_iter().take(MOST).collect()))
            }
            _ => None,
        }
    }
}

/// What is asked of a login from somewhere else: its process, and its moment, as they stand in the record of the
/// session.
fn question(login: &Login, event: &Event) -> Option<String> {
    let is_from_outside = login.source.is_some_and(|ip| !ip.is_loopback());
    let question = format!("went {} {}\n", login.pid, event.at.unix_ms);
    (is_from_outside && login.pid != 0).then_some(question)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use crate::clock::Stamp;
    use crate::event::{Note, Severity};
    use crate::spool::drop::new_event;

    fn login(source: &str, pid: u32) -> Event {
        let source = source.parse().ok();
        let login = Login { user: "alice".into(), source, pid, ..Login::default() };
        let at = Stamp { unix_ms: 5, boot: None };
        new_event(at, &"jump".into(), Severity::Warning, What::Login(login))
    }

    fn onward(socket: PathBuf) -> Onward {
        Onward { host: "jump".into(), socket }
    }

    #[test]
    fn it_is_asked_where_a_tunnel_ends_on_this_host() {
        let table = [
            ("", false),
            ("[[tunnel-watch]]\nname = \"home\"\n", true),
            ("[[tunnel-watch]]\naddress = \"127.0.0.1\"\n", true),
            ("[[tunnel-watch]]\naddress = \"10.0.0.2\"\n", false),
            ("[[tunnel-watch]]\naddress = \"10.0.0.2\"\n[[tunnel-watch]]\nnosuch = 7\n", true),
            ("[[tunnel]]\nname = \"home\"\n", false),
            ("[tunnel\n", false),
        ];
        for (text, want) in table {
            let of = |hold| Onward::wanted(text, &"jump".into(), Path::new("/run/bastion"), hold);
            assert!(of(Duration::from_millis(400)).is_none(), "nobody goes on who waits for us");
            let found = of(Duration::ZERO);
            assert_eq!(found.is_some(), want, "{text}");
            let socket = found.map(|one| one.socket);
            assert!(socket.is_none_or(|path| path == Path::new("/run/tunnelwatch-watch/went")));
        }
    }

    #[test]
    fn a_login_from_outside_is_asked_about_and_nothing_else() {
        let onward = onward("/nonexistent".into());
        let table = [
            (login("203.0.113.9", 42), true),
            (login("2001:db8::7", 42), true),
            (login("127.0.0.1", 42), false),
            (login("::1", 42), false),
            (login("gate.example.org", 42), false),
            (login("203.0.113.9", 0), false),
            (Event { host: "other".into(), ..login("203.0.113.9", 42) }, false),
        ];
        for (event, want) in table {
            assert_eq!(onward.patience(&event), want.then_some(PATIENCE), "{event:?}");
        }
        let note = What::Note(Note::default());
        let note = new_event(Stamp::now(), &"jump".into(), Severity::Info, note);
        assert_eq!(onward.patience(&note), None);
    }

    #[test]
    fn whatever_answers_there_is_a_name_or_nothing() {
        let home = || Some(Fact::WentOn(vec!["home".into()]));
        let many = format!(r#"{{"went-on":[{}"x"]}}"#, r#""x","#.repeat(99));
        let table = [
            ("{\"went-on\":[\"home\"]}\n", home()),
            ("{\"went-on\":[]}\n", None),
            ("{\"via\":{\"unmatched\":\"no\"}}\n", None),
            ("?\n", None),
            ("", None),
            (&format!("{many}\n"), Some(Fact::WentOn(vec!["x".into(); MOST]))),
        ];
        for (at, (said, want)) in table.into_iter().enumerate() {
            let path = std::env::temp_dir().join(format!("onward-{at}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            let said = said.to_owned();
            let answers = thread::spawn(move || {
                let (mut guest, _) = listener.accept().unwrap();
                let mut asked = [0; 64];
                let read = guest.read(&mut asked).unwrap();
                let _ = guest.write_all(said.as_bytes());
                String::from_utf8_lossy(&asked[..read]).into_owned()
            });
            let later = Instant::now() + Duration::from_secs(20);
            let found = onward(path.clone()).find(&login("203.0.113.9", 42), later);
            assert_eq!(found, want);
            assert_eq!(answers.join().unwrap(), "went 42 5\n");
            // Where nobody answers nothing is waited for.
            let found = onward(path.clone()).find(&login("203.0.113.9", 42), later);
            assert_eq!(found, None);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
