//! Requests of HTTP/1.

use std::io::{self, Read};

use crate::stream::Stream;

/// Longest head that is taken.
const MAX_HEAD: usize = 16 * 1024;

/// A request's head; its body is read by [`Request::read_body`].
#[derive(Default)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The `Host` header.
    pub host: String,
    /// The `Referer` header.
    pub referer: String,
    /// Whether it waits for 100 before its body.
    pub expects_continue: bool,
    /// Whether the connection may serve another.
    pub keeps_alive: bool,
    /// Whether it knows chunks.
    pub is_http11: bool,
    length: u64,
    chunked: bool,
}

impl Request {
    /// Reads the next one; nothing when the client has ended the connection.
    pub fn read(stream: &mut Stream) -> io::Result<Option<Self>> {
        let head = stream.read_head(MAX_HEAD)?;
        if head.is_empty() {
            return Ok(None);
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(&head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut request = Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            is_http11: parsed.version == Some(1),
            keeps_alive: parsed.version == Some(1),
            ..Self::default()
        };
        for header in parsed.headers.iter() {
            let value = String::from_utf8_lossy(header.value).into_owned();
            match header.name.to_ascii_lowercase().as_str() {
                "host" => request.host = value,
                "referer" => request.referer = value,
                "expect" => request.expects_continue = value.eq_ignore_ascii_case("100-continue"),
                "connection" if value.eq_ignore_ascii_case("close") => request.keeps_alive = false,
                "content-length" => request.length = value.trim().parse().unwrap_or(0),
                "transfer-encoding" => request.chunked = value.eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
        Ok(Some(request))
    }

    /// How long it says that its body is; 0 when it does not.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&*self.target, |(path, _)| path)
    }

    /// A value of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The host without its port.
    pub fn host_name(&self) -> &str {
        if self.host.starts_with('[') {
            return self.host.split_once(']').map_or(&*self.host, |(name, _)| name);
        }
        self.host.split_once(':').map_or(&*self.host, |(name, _)| name)
    }

    /// Reads the body and throws it away. `received` is counted up while it comes.
    pub fn read_body(&self, stream: &mut Stream, received: &mut u64) -> io::Result<()> {
        if !self.chunked {
            return skip(stream, self.length, received);
        }
        loop {
            let line = stream.read_line(64)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            skip(stream, size, received)?;
            stream.read_line(64)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

fn skip(stream: &mut Stream, mut left: u64, received: &mut u64) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = stream.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read as u64;
        *received += read as u64;
    }
    Ok(())
}
