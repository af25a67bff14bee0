//! Asks `tunnelwatch run` who came through the tunnel: it has the jump host asked over the tunnel's own
//! connection.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::chain::{Answer, MAX_ANSWER};
use crate::clock::Stamp;
use crate::config::Document;
use crate::drill::mark;
use crate::event::{Event, Login, What};
use crate::fact::{Fact, Finder};
use crate::foreign::Foreign;

/// How long a login is held for the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much of that is kept for the way back to the loop.
const MARGIN: Duration = Duration::from_millis(100);

/// What is told of an answer that came too late.
const LATE: &str = "tunnelwatch did not answer in time";

/// Where tunnelwatch answers, in its own directory in /run.
const SOCKET: &str = "tunnelwatch/chain";

/// Who came through the tunnel.
pub struct Through {
    /// This host: of another's logins its tunnelwatch knows nothing.
    host: Foreign,
    socket: PathBuf,
    patience: Duration,
}

impl Through {
    /// For `host`, whose sender has its directory at `run`; `None` where the file has no tunnel of ssh
    /// of which that is wanted. Where a person waits for the alert before his shell starts, for `hold`, at least half of that
    /// is the provider's.
    #[must_use]
    pub fn wanted(text: &str, host: &Foreign, run: &Path, hold: Duration) -> Option<Self> {
        let mut document = Document::parse(text);
        // What is wrong there is tunnelwatch's to tell.
        let wants = document.tables("tunnel", |_, section| {
            let external = section.get::<String>("type").is_some_and(|kind| kind.value != "ssh");
            let wants = section.get_or("chain", true);
            section.leave_rest();
            wants && !external
        });
        let socket = run.parent().unwrap_or(Path::new("/run")).join(SOCKET);
        let host = host.clone();
        let patience = if hold.is_zero() { PATIENCE } else { PATIENCE.min(hold / 2) };
        wants.into_iter().any(|wants| wants).then_some(Self { host, socket, patience })
    }
}

impl Finder for Through {
    fn patience(&self, event: &Event) -> Option<Duration> {
        let What::Login(login) = &event.what else { return None };
        let is_ours = event.host == self.host && question(login, event).is_some();
        // A drill's came from here: the jump host has no session of it.
        (is_ours && !mark::is_login_of_drill(login)).then_some(self.patience)
    }

    fn find(&self, event: &Event, deadline: Instant) -> Option<Fact> {
        let What::Login(login) = &event.what else { return None };
        let question = question(login, event)?;
        let said = ask(&self.socket, &question, deadline.checked_sub(MARGIN)?);
        let asked = said.map(|line| Answer::parse(&line));
        Some(Fact::Via(asked.unwrap_or_else(|error| Answer::unmatched(why(&error)))))
    }

    fn late(&self) -> Option<Fact> {
        Some(Fact::Via(Answer::unmatched(LATE)))
    }
}

/// What is asked of a login through a tunnel: which connection it came by, and when it was, on the boot clock. Both
/// ends of it, as a port may be that of several; and the moment, as all of it is used again.
fn question(login: &Login, event: &Event) -> Option<String> {
    let source = SocketAddr::new(login.source?, login.port?);
    let (server, boot) = (login.server?, event.at.boot.as_ref()?);
    // Of a boot before tunnelwatch knows nothing, and its clock of now tells another moment.
    let is_of_now = event.at.is_same_boot(&Stamp::now());
    (is_of_now && login.via_tunnel()).then(|| format!("came {source} {server} {}\n", boot.ms))
}

fn why(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "tunnelwatch run is not there, or was not restarted since an upgrade"
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => LATE,
        // It has ended while it was asked.
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => "tunnelwatch did not answer",
        _ => "tunnelwatch could not be asked",
    }
}

/// The line that answers a line, without its end.
pub(super) fn ask(socket: &Path, question: &str, until: Instant) -> io::Result<Vec<u8>> {
    let left = || match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    // Not waiting: one whose queue is full would be waited for without an end.
    let way = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    way.set_nonblocking(true)?;
    way.connect(&SockAddr::unix(socket)?)?;
    way.set_nonblocking(false)?;
    let mut way = UnixStream::from(std::os::fd::OwnedFd::from(way));
    way.set_write_timeout(Some(left()?))?;
    way.write_all(question.as_bytes())?;
    let (mut line, mut chunk) = (Vec::new(), [0; 4096]);
    while line.last() != Some(&b'\n') && line.len() <= MAX_ANSWER {
        way.set_read_timeout(Some(left()?))?;
        match way.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => line.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
    line.truncate(line.trim_ascii_end().len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use crate::chain::Person;
    use crate::clock::BootStamp;
    use crate::event::{Note, Severity};
    use crate::spool::drop::new_event;

    fn this_boot() -> Option<String> {
        Stamp::now().boot.map(|boot| boot.id)
    }

    fn login(source: &str, port: Option<u16>, boot: Option<String>) -> Event {
        let source = source.parse().ok();
        let server = Some(([127, 0, 0, 1], 22).into());
        let login = Login { user: "alice".into(), source, port, server, ..Login::default() };
        let boot = boot.map(|id| BootStamp { id, ms: 77 });
        let at = Stamp { unix_ms: 5, boot };
        new_event(at, &"home".into(), Severity::Warning, What::Login(login))
    }

    fn through(socket: PathBuf) -> Through {
        Through { host: "home".into(), socket, patience: PATIENCE }
    }

    #[test]
    fn it_is_asked_where_there_is_a_tunnel_of_ssh_that_wants_it() {
        let table = [
            ("", false),
            ("[[tunnel]]\nname = \"a\"\n", true),
            ("[[tunnel]]\nchain = false\n", false),
            ("[[tunnel]]\ntype = \"external\"\n", false),
            ("[[tunnel]]\ntype = \"ssh\"\n", true),
            ("[[tunnel]]\nchain = false\n[[tunnel]]\nnosuch = 7\n", true),
            ("[[tunnel-watch]]\nname = \"a\"\n", false),
            ("[tunnel\n", false),
        ];
        for (text, want) in table {
            let of = |hold| Through::wanted(text, &"home".into(), Path::new("/run/bastion"), hold);
            let found = of(Duration::ZERO);
            assert_eq!(found.is_some(), want, "{text}");
            for (hold_ms, patience_ms) in [(0, 3000), (400, 200), (3000, 1500), (10_000, 3000)] {
                let patience = of(Duration::from_millis(hold_ms)).map(|one| one.patience);
                let wanted = Duration::from_millis(patience_ms);
                assert!(patience.is_none_or(|patience| patience == wanted), "{hold_ms}");
            }
            let socket = found.map(|one| one.socket);
            assert!(socket.is_none_or(|path| path == Path::new("/run/tunnelwatch/chain")));
        }
    }

    #[test]
    fn a_login_from_loopback_with_a_port_is_asked_about_and_nothing_else() {
        let through = through("/nonexistent".into());
        let table = [
            (login("127.0.0.1", Some(4711), this_boot()), true),
            (login("::1", Some(4711), this_boot()), true),
            (login("203.0.113.9", Some(4711), this_boot()), false),
            (login("127.0.0.1", None, this_boot()), false),
            (login("127.0.0.1", Some(4711), None), false),
            // One that was left from a boot before: the port is another's since.
            (login("127.0.0.1", Some(4711), Some("b".into())), false),
            (Event { host: "other".into(), ..login("127.0.0.1", Some(4711), this_boot()) }, false),
        ];
        for (event, want) in table {
            assert_eq!(through.patience(&event).is_some(), want, "{event:?}");
        }
        let note = What::Note(Note::default());
        let note = new_event(Stamp::now(), &"home".into(), Severity::Info, note);
        assert_eq!(through.patience(&note), None);
    }

    #[test]
    fn whatever_answers_there_is_an_answer_in_time() {
        let alice = Answer::Matched(Person { user: "alice".into(), ..Person::default() });
        let line = alice.to_line() + "\n";
        let unmatched = Answer::unmatched;
        let table: Vec<(Option<Vec<u8>>, Answer)> = vec![
            (Some(line.clone().into_bytes()), alice),
            (Some(b"?\n".to_vec()), unmatched("the jump host's answer cannot be understood")),
            (Some(vec![b'x'; 10_000_000]), unmatched("the jump host's answer is too long")),
            (Some(Vec::new()), unmatched("tunnelwatch did not answer")),
            (None, unmatched("tunnelwatch did not answer in time")),
        ];
        for (at, (said, want)) in table.into_iter().enumerate() {
            let path = std::env::temp_dir().join(format!("through-{at}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            let (done, wait) = std::sync::mpsc::channel::<()>();
            let answers = thread::spawn(move || {
                let (mut guest, _) = listener.accept().unwrap();
                let mut asked = [0; 128];
                let read = guest.read(&mut asked).unwrap();
                match said {
                    Some(said) => drop(guest.write_all(&said)),
                    None => drop(wait.recv()),
                }
                String::from_utf8_lossy(&asked[..read]).into_owned()
            });
            let patience =
                Duration::from_millis(if want == unmatched("tunnelwatch did not answer in time") {
                    400
                } else {
                    20_000
                });
            let event = login("127.0.0.1", Some(4711), this_boot());
            let found = through(path.clone()).find(&event, Instant::now() + patience);
            assert_eq!(found, Some(Fact::Via(want)));
            drop(done);
            assert_eq!(answers.join().unwrap(), "came 127.0.0.1:4711 127.0.0.1:22 77\n");
            // Nobody is there any more.
            let found = through(path.clone()).find(&event, Instant::now() + patience);
            let gone =
                unmatched("tunnelwatch run is not there, or was not restarted since an upgrade");
            assert_eq!(found, Some(Fact::Via(gone.clone())));
            std::fs::remove_file(&path).unwrap();
            let found = through(path).find(&event, Instant::now() + patience);
            assert_eq!(found, Some(Fact::Via(gone)));
        }
    }

    #[test]
    fn who_takes_in_nobody_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("through-full-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        full.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        full.listen(0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        let event = login("127.0.0.1", Some(4711), this_boot());
        let found = through(path.clone()).find(&event, Instant::now() + Duration::from_secs(60));
        let busy = Answer::unmatched("tunnelwatch did not answer in time");
        assert_eq!(found, Some(Fact::Via(busy)));
        std::fs::remove_file(&path).unwrap();
    }
}
