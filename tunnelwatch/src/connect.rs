//! The connection to the jump host, which ssh is handed (`ProxyCommand` with `ProxyUseFdpass`).
//!
//! ssh's own connect waits for the kernel, which repeats a SYN after 1, 3, 7, 15 s: a path that comes
//! back is found late. Here a fresh attempt begins each second beside those that are under way,
//! over all addresses of the name, and the first that is through is the connection.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use notifier::ffi::wait_writable;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// How long it is tried in all. The next try may find another address behind the name.
const MOST: Duration = Duration::from_secs(10);

/// How long of that a name may take to be resolved: three servers that are dead take half a minute, and
/// then nobody would know that it was the name.
const MOST_NAME: Duration = Duration::from_secs(8);

/// Time between two attempts: of the first round, and of all others. RFC 8305, 5 recommends 250 ms.
const STAGGER: Duration = Duration::from_millis(250);
const AGAIN: Duration = Duration::from_secs(1);

/// How long what was sent may stay without an answer before the kernel gives the connection up
/// (`TCP_USER_TIMEOUT` in tcp(7)); ssh has no such option.
const UNANSWERED: Duration = Duration::from_secs(20);

/// What `ssh-options` says about the socket, which here is ours to obey.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// `BindInterface`.
    pub interface: Option<String>,
    /// `BindAddress`.
    pub address: Option<IpAddr>,
    /// `AddressFamily`: true for `inet6`, false for `inet`.
    pub six: Option<bool>,
}

/// Connects to `host`.
///
/// # Errors
///
/// In words that [`crate::cause`] understands: the name has no address, everybody refuses, or nobody
/// answers.
pub fn connect(host: &str, port: u16, binding: &Binding) -> Result<Socket, String> {
    let name = host.to_owned();
    let resolved = within(MOST_NAME, move || {
        (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
    });
    let resolved = resolved.map_err(|error| format!("cannot resolve {host}: {error}"))?;
    let fits = |address: &SocketAddr| {
        binding.six.is_none_or(|six| six == address.is_ipv6())
            && binding.address.is_none_or(|bound| bound.is_ipv6() == address.is_ipv6())
    };
    let addresses: Vec<SocketAddr> = resolved.into_iter().filter(fits).collect();
    if addresses.is_empty() {
        return Err(format!("cannot resolve {host}: no address of the wanted family"));
    }
    race(&addresses, binding).map_err(|why| format!("{host} port {port}: {why}"))
}

/// What `work` answers, unless it takes longer than that: then it is left alone, as this program ends
/// soon.
fn within<T: Send + 'static>(
    most: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (answers, answer) = mpsc::channel();
    thread::Builder::new().name("resolver".into()).spawn(move || {
        let _ = answers.send(work());
    })?;
    answer.recv_timeout(most).unwrap_or_else(|_| {
        let why = format!("no answer within {} s", most.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    })
}

/// The attempts that are under way.
struct Attempts<'a> {
    addresses: &'a [SocketAddr],
    binding: &'a Binding,
    open: Vec<(SocketAddr, Socket)>,
    begun: usize,
    last_error: Option<io::Error>,
}

impl Attempts<'_> {
    /// Begins one more. What fails at once fails.
    fn begin(&mut self) {
        let Some(address) = self.addresses.get(self.begun % self.addresses.len()) else { return };
        self.begun += 1;
        match begin(*address, self.binding) {
            Ok(socket) => self.open.push((*address, socket)),
            Err(error) => self.last_error = Some(error),
        }
    }

    /// The one that is through, if one is; those that have failed are forgotten.
    fn done(&mut self) -> Option<Socket> {
        let mut at = 0;
        while let Some((_, socket)) = self.open.get(at) {
            match (socket.take_error(), socket.peer_addr()) {
                (Ok(None), Ok(_)) => return Some(self.open.swap_remove(at).1),
                (Ok(None), Err(_)) => at += 1,
                (Ok(Some(error)) | Err(error), _) => {
                    self.last_error = Some(error);
                    self.open.swap_remove(at);
                }
            }
        }
        None
    }
}

fn race(addresses: &[SocketAddr], binding: &Binding) -> Result<Socket, String> {
    let begun = Instant::now();
    let mut attempts =
        Attempts { addresses, binding, open: Vec::new(), begun: 0, last_error: None };
    let mut next = begun;
    loop {
        let now = Instant::now();
        if now >= next {
            attempts.begin();
            next = now + if attempts.begun < addresses.len() { STAGGER } else { AGAIN };
        }
        if let Some(socket) = attempts.done() {
            return ready(socket).map_err(|error| error.to_string());
        }
        if attempts.open.is_empty() {
            if attempts.begun >= addresses.len() {
                // Each address has said no. To ask again at once would be hammering.
                let error = attempts.last_error.take();
                return Err(
                    error.map_or_else(|| "no address".to_owned(), |error| error.to_string())
                );
            }
            next = now;
            continue;
        }
        if begun.elapsed() >= MOST {
            return Err(format!("no answer within {} s", MOST.as_secs()));
        }
        let fds: Vec<_> = attempts.open.iter().map(|(_, socket)| socket.as_fd()).collect();
        let left = next.saturating_duration_since(now).min(MOST.saturating_sub(begun.elapsed()));
        wait_writable(&fds, left).map_err(|error| error.to_string())?;
    }
}

/// Begins an attempt that does not wait.
fn begin(address: SocketAddr, binding: &Binding) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(interface) = &binding.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if let Some(bound) = binding.address {
        socket.bind(&SocketAddr::from((bound, 0)).into())?;
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn ready(socket: Socket) -> io::Result<Socket> {
    socket.set_nonblocking(false)?;
    SockRef::from(&socket).set_tcp_user_timeout(Some(UNANSWERED))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_first_address_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = race(&[closed, good], &Binding::default()).unwrap();
        assert_eq!(socket.peer_addr().unwrap().as_socket(), Some(good));
    }

    #[test]
    fn everybody_who_refuses_is_told_at_once() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let begun = Instant::now();
        let why = race(&[closed, closed], &Binding::default()).unwrap_err();
        assert!(why.contains("Connection refused") && begun.elapsed() < MOST, "{why}");
    }

    #[test]
    fn a_name_without_an_address_is_told_as_such() {
        let why = connect("no-such-host.invalid", 22, &Binding::default()).unwrap_err();
        assert_eq!(crate::cause::of_line(&why), Some(crate::cause::Cause::Dns), "{why}");
        // Name servers that do not answer are told as such, and while ssh still waits for us.
        assert!(MOST_NAME < MOST);
        let slow = || {
            thread::sleep(Duration::from_secs(20));
            Ok(())
        };
        let begun = Instant::now();
        let why = within(Duration::from_millis(50), slow).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let why = format!("cannot resolve gate: {why}");
        assert_eq!(crate::cause::of_line(&why), Some(crate::cause::Cause::Dns), "{why}");
        let six = Binding { six: Some(true), ..Binding::default() };
        assert!(connect("127.0.0.1", 22, &six).unwrap_err().contains("family"));
    }
}
