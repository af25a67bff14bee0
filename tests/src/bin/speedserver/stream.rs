//! A connection, plain or with TLS.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use bastion_tests::ffi;
use bastion_tests::link::orders::Wrong;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A certificate and its key, ready for use.
type Shown = Arc<ServerConfig>;

/// What the server can show.
pub struct Certificates {
    good: Shown,
    wrong: BTreeMap<&'static str, Shown>,
}

impl Certificates {
    /// Reads `good`, `stranger`, `expired` and `name`, folders with `cert.pem` and `key.pem`.
    pub fn load(dir: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let read = |kind: &str| -> Result<Shown, Box<dyn std::error::Error>> {
            let dir = dir.join(kind);
            let chain =
                CertificateDer::pem_file_iter(dir.join("cert.pem"))?.collect::<Result<_, _>>()?;
            let key = PrivateKeyDer::from_pem_file(dir.join("key.pem"))?;
            let config = ServerConfig::builder().with_no_client_auth();
            Ok(Arc::new(config.with_single_cert(chain, key)?))
        };
        let mut wrong = BTreeMap::new();
        for kind in ["stranger", "expired", "name"] {
            wrong.insert(kind, read(kind)?);
        }
        Ok(Self { good: read("good")?, wrong })
    }

    fn of(&self, wrong: Option<Wrong>) -> &Shown {
        let kind = match wrong {
            None => return &self.good,
            Some(Wrong::Stranger) => "stranger",
            Some(Wrong::Expired) => "expired",
            Some(Wrong::Name) => "name",
        };
        &self.wrong[kind]
    }
}

/// A connection.
pub struct Stream {
    inner: Inner,
    /// Read already, and not yet used.
    ahead: Vec<u8>,
}

enum Inner {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    /// Looks at the first byte: a TLS hello begins with 22 (RFC 8446 5.1), and no method does.
    pub fn open(tcp: TcpStream, show: &Certificates, wrong: Option<Wrong>) -> io::Result<Self> {
        let mut first = [0];
        let inner = if tcp.peek(&mut first)? == 1 && first[0] == 22 {
            let tls = ServerConnection::new(Arc::clone(show.of(wrong)));
            Inner::Tls(Box::new(StreamOwned::new(tls.map_err(io::Error::other)?, tcp)))
        } else {
            Inner::Plain(tcp)
        };
        Ok(Self { inner, ahead: Vec::new() })
    }

    /// Whether it is TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.inner, Inner::Tls(_))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match &self.inner {
            Inner::Plain(tcp) => tcp,
            Inner::Tls(tls) => &tls.sock,
        }
    }

    /// Reads as far as an empty line; empty at the end of the connection.
    pub fn read_head(&mut self, most: usize) -> io::Result<Vec<u8>> {
        self.read_until(b"\r\n\r\n", most)
    }

    /// Reads a line, without its end.
    pub fn read_line(&mut self, most: usize) -> io::Result<String> {
        let line = self.read_until(b"\r\n", most)?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read_until(&mut self, end: &[u8], most: usize) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|bytes| bytes == end) {
                let rest = self.ahead.split_off(at + end.len());
                return Ok(std::mem::replace(&mut self.ahead, rest));
            }
            if self.ahead.len() > most {
                return Err(io::Error::other("too long"));
            }
            let mut buffer = [0; 4096];
            let read = self.read_more(&mut buffer)?;
            if read == 0 {
                return Ok(Vec::new());
            }
            self.ahead.extend_from_slice(&buffer[..read]);
        }
    }

    fn read_more(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(tcp) => tcp.read(buffer),
            Inner::Tls(tls) => tls.read(buffer),
        }
    }

    /// Says nothing until the client has gone.
    pub fn wait_for_the_end(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while self.read_more(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Makes the end of the connection a reset.
    pub fn reset(&self) -> io::Result<()> {
        ffi::reset_on_close(self.socket().as_fd())
    }

    /// Ends it as one should.
    pub fn end(&mut self) -> io::Result<()> {
        if let Inner::Tls(tls) = &mut self.inner {
            tls.conn.send_close_notify();
            tls.flush()?;
        }
        Ok(())
    }
}

/// Reads what comes, and says nothing, until the client has gone.
pub fn wait_for_the_end(mut tcp: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while tcp.read(&mut buffer)? > 0 {}
    Ok(())
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            return self.read_more(buffer);
        }
        let size = buffer.len().min(self.ahead.len());
        buffer[..size].copy_from_slice(&self.ahead[..size]);
        self.ahead.drain(..size);
        Ok(size)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(tcp) => tcp.write(bytes),
            Inner::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Plain(tcp) => tcp.flush(),
            Inner::Tls(tls) => tls.flush(),
        }
    }
}
