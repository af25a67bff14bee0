//! Questions and answers on a [`Line`], in clear or with TLS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::RangeInclusive;
use std::sync::Arc;

use lettre::transport::smtp::response::Response;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::line::{Limit, Line};
use super::verdict::Failure;

/// A line on which answers are read.
pub(super) struct Connection(BufReader<Stream>);

enum Stream {
    Clear(Line),
    Tls(Box<StreamOwned<ClientConnection, Line>>),
}

impl Connection {
    /// One in clear.
    pub(super) fn new(line: Line) -> Self {
        Self(BufReader::new(Stream::Clear(line)))
    }

    /// The same line with TLS, on which the server has to be `host`.
    pub(super) fn secured(self, config: Arc<ClientConfig>, host: &str) -> Result<Self, Failure> {
        // What came in clear before TLS stood must never be taken for an answer of the server's.
        if !self.0.buffer().is_empty() {
            return Err(Failure::Early);
        }
        let line = match self.0.into_inner() {
            Stream::Clear(line) => line,
            Stream::Tls(_) => return Err(Failure::Tls("there is TLS already".into())),
        };
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| Failure::Tls(error.to_string()))?;
        let tls = ClientConnection::new(config, name)
            .map_err(|error| Failure::of(&io::Error::other(error)))?;
        let mut stream = StreamOwned::new(tls, line);
        // The handshake, up to the check of the certificate, before anything is said.
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| Failure::of(&error))?;
        }
        Ok(Self(BufReader::new(Stream::Tls(Box::new(stream)))))
    }

    /// The certificates that the server has shown.
    pub(super) fn shown(&self) -> Option<&[CertificateDer<'static>]> {
        match self.0.get_ref() {
            Stream::Clear(_) => None,
            Stream::Tls(stream) => stream.conn.peer_certificates(),
        }
    }

    /// The line below.
    pub(super) fn line(&mut self) -> &mut Line {
        match self.0.get_mut() {
            Stream::Clear(line) => line,
            Stream::Tls(stream) => &mut stream.sock,
        }
    }

    /// Says a command, with its line end, and answers the answer if its number is `code`.
    pub(super) fn ask(
        &mut self,
        command: &impl ToString,
        codes: &[RangeInclusive<u16>],
    ) -> Result<Response, Failure> {
        self.say(command.to_string().as_bytes())?;
        self.answer(codes)
    }

    /// Sends these bytes.
    pub(super) fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let stream = self.0.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|error| Failure::of(&error))
    }

    /// The next answer (RFC 5321, 4.2.1), if its number is one of `codes`.
    pub(super) fn answer(&mut self, codes: &[RangeInclusive<u16>]) -> Result<Response, Failure> {
        let mut bytes = Vec::new();
        loop {
            let start = bytes.len();
            // The line below ends what has no end.
            self.0.read_until(b'\n', &mut bytes).map_err(|error| Failure::of(&error))?;
            if !bytes.ends_with(b"\n") {
                return Err(Failure::Nonsense("incomplete response".into()));
            }
            if bytes.get(start + 3) != Some(&b'-') {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let Ok(response) = text.parse::<Response>() else {
            return Err(Failure::Nonsense(text.trim_end().to_owned()));
        };
        let code = u16::from(response.code());
        if codes.iter().any(|codes| codes.contains(&code)) {
            return Ok(response);
        }
        Err(Failure::Reply { code, text: said(&response) })
    }
}

/// The text of an answer, in one line.
pub(super) fn said(response: &Response) -> String {
    // Each line may repeat what kind of answer it is (RFC 2034), as in 5.7.1.
    let mark = response.first_word().filter(|word| word.split('.').count() == 3);
    let mut lines = response.message();
    let mut text = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let rest = mark.and_then(|mark| line.strip_prefix(mark)).unwrap_or(line);
        text.push(' ');
        text.push_str(rest.trim_start());
    }
    text
}

impl Failure {
    /// What an error of the line, or of TLS on it, is.
    pub(super) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(limit) = inner.and_then(|inner| inner.downcast_ref::<Limit>()) {
            return Self::Overrun(*limit);
        }
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (tls, error.kind()) {
            (Some(rustls::Error::InvalidCertificate(wrong)), _) => {
                Self::Certificate(wrong.to_string())
            }
            // What the verifier says when it finds no CA at all.
            (Some(rustls::Error::General(wrong)), _) => Self::Roots(wrong.clone()),
            (Some(rustls::Error::InvalidMessage(_)), _) => Self::NotTls,
            (Some(error), _) => Self::Tls(error.to_string()),
            // The one is what a blocking socket says on Linux, the other what it says elsewhere.
            (_, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Self::Timeout,
            _ => Self::Network(error.to_string()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(line) => line.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(line) => line.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(line) => line.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_s_text_is_one_line_that_says_its_kind_once() {
        let table = [
            ("250 ok\r\n", "ok"),
            ("550-5.1.1 no such user\r\n550 5.1.1 ask ops\r\n", "5.1.1 no such user ask ops"),
            ("550-no such user\r\n550 5.1.1 ask ops\r\n", "no such user 5.1.1 ask ops"),
            ("250 \r\n", ""),
        ];
        for (answer, want) in table {
            assert_eq!(said(&answer.parse().unwrap()), want, "{answer:?}");
        }
    }
}
