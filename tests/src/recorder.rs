//! Stands between a client and a server on this machine, and keeps what was asked as it came.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest request that is kept, in bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// Longest wait for either side.
const MOST: Duration = Duration::from_secs(30);

/// It listens for as long as the process lives.
pub struct Recorder {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// One that hands everything on to the server at `to`, a request a connection.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[must_use]
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has just been bound");
        let requests: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // Who leaves early is told nothing.
                std::thread::spawn(move || hand_on(&client, to, &kept));
            }
        });
        Self { address, requests }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that was asked so far, head and body as they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn hand_on(client: &TcpStream, to: SocketAddr, kept: &Mutex<Vec<Vec<u8>>>) -> io::Result<()> {
    client.set_read_timeout(Some(MOST))?;
    let request = read_request(client)?;
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let mut server = TcpStream::connect(to)?;
    server.set_read_timeout(Some(MOST))?;
    // The server is to end the connection after its answer, which is not signed.
    let text = String::from_utf8_lossy(&request).into_owned();
    server.write_all(text.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    io::copy(&mut server, &mut &*client)?;
    client.shutdown(Shutdown::Write)
}

fn read_request(mut client: &TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let head = parsed.parse(&request).map_err(io::Error::other)?;
        if let httparse::Status::Complete(head) = head {
            let is_length =
                |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("content-length");
            let length = parsed.headers.iter().find(is_length);
            let length =
                length.and_then(|length| std::str::from_utf8(length.value).ok()?.parse().ok());
            if request.len() >= head + length.unwrap_or(0) {
                return Ok(request);
            }
        }
        match client.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if request.len() > MAX_REQUEST => return Err(io::ErrorKind::FileTooLarge.into()),
            read => request.extend_from_slice(&chunk[..read]),
        }
    }
}
