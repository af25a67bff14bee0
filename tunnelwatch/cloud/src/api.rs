//! The way to a provider's API: by the tunnel's own line, with linkprobe's client, which has names looked up there as
//! well; and answers in words that hold no secret.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use linkprobe::http::{Answer, Client, Exchange, Lookup};
use linkprobe::line::Line;
use linkprobe::usage::Usage;
use linkprobe::wire::Wire;
use linkprobe::{config, dns, resolvers};
use notifier::channel::http::{Redactor, retry_after};
use notifier::channel::secret::Secret;
use notifier::clock::unix_ms;
use tunnelwatch::config::Tunnel;

use crate::call::{Fault, Later, Trouble};

/// Most of an answer that is read, in bytes: one machine's is some 6 KB.
const MOST: u64 = 256 * 1024;

/// How much is read at once, in bytes.
const BUFFER: usize = 16 * 1024;

/// Longest wait until a limit is full again, where the provider does not say when one request may come. It is refilled
/// all the time.
const MAX_REFILL: Duration = Duration::from_secs(60);

/// Who answers us.
const AGENT: &str = concat!("tunnelwatch-cloud/", env!("CARGO_PKG_VERSION"));

/// A provider's API.
pub struct Api {
    client: Client,
    base: String,
    /// Host and port, for a person.
    peer: String,
    display: Redactor,
    until: Instant,
}

impl Api {
    /// The API at `base`, by the line of `tunnel`; all is over at `until`. `secrets` are taken out of what is shown,
    /// `file` may know the line's name servers.
    ///
    /// # Errors
    ///
    /// What is wrong on this machine.
    pub fn new(
        tunnel: &Tunnel,
        file: &Path,
        base: &str,
        secrets: &[Secret],
        until: Instant,
    ) -> Result<Self, Trouble> {
        let line = line_of(tunnel);
        let wire = Wire::new(line.clone());
        let lookup: Arc<Lookup> = if line == Line::default() {
            Arc::new(by_the_system)
        } else {
            let servers = name_servers(&line, file);
            Arc::new(move |name: &str, most: Duration| {
                let until = Instant::now() + most;
                let found =
                    dns::lookup_addresses(&line, &servers, name, until, &mut Usage::default());
                found.map_err(|error| error.to_string())
            })
        };
        let client = Client::new(wire, lookup, None, BUFFER)
            .map_err(|why| Trouble::new(Fault::Config, why))?;
        let peer = base.split("://").last().and_then(|rest| rest.split('/').next());
        let peer = peer.unwrap_or(base).to_owned();
        Ok(Self { client, base: base.to_owned(), peer, display: Redactor::new(secrets), until })
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Asks; with a body it is a POST, without one a GET.
    ///
    /// # Errors
    ///
    /// Why there is no answer of the provider's.
    pub fn ask(
        &self,
        url: &str,
        headers: &[(&str, String)],
        body: Option<&[u8]>,
    ) -> Result<Answer, Trouble> {
        let mut headers = headers.to_vec();
        headers.push(("User-Agent", AGENT.to_owned()));
        let deadline = self.until.saturating_duration_since(Instant::now());
        let exchange = Exchange { url, headers: &headers, body, most: MOST, deadline };
        let unreachable = |why: String| {
            Trouble::new(Fault::Unreachable, format!("{}: {}", self.peer, self.shown(&why)))
        };
        let answer = self.client.exchange(&exchange).map_err(unreachable)?;
        if (300..400).contains(&answer.status) {
            return Err(unreachable(format!(
                "HTTP {}, which leads elsewhere; somebody stands in between, or check `endpoint`",
                answer.status
            )));
        }
        Ok(answer)
    }

    /// A text of the provider's, fit to be shown.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        self.display.shown(text.trim())
    }

    /// The provider's answer, in words: `HTTP 423 locked: what it says`.
    #[must_use]
    pub fn said(&self, status: u16, code: &str, text: &str) -> String {
        let code = if code.is_empty() { String::new() } else { format!(" {}", self.shown(code)) };
        let text = if text.is_empty() { String::new() } else { format!(": {}", self.shown(text)) };
        format!("{}: HTTP {status}{code}{text}", self.peer)
    }

    /// An answer that says yes, but not in the provider's words.
    #[must_use]
    pub fn strange(&self, answer: &Answer) -> Trouble {
        let why = format!(
            "{}: HTTP {}, with an answer that is not the provider's; somebody stands in between, or check `endpoint`",
            self.peer, answer.status
        );
        Trouble::new(Fault::Unreachable, why)
    }

    /// What a status means that says no, where the provider's own word says nothing better.
    #[must_use]
    pub fn usual(&self, answer: &Answer, why: String) -> Trouble {
        let wait = wait(answer, SystemTime::now());
        match answer.status {
            429 => Trouble::new(Fault::Later(Later::Rate, wait), why),
            408 | 425 | 500.. => Trouble::new(Fault::Later(Later::Server, wait), why),
            401 | 403 => Trouble::new(Fault::Refused, why),
            _ => Trouble::new(Fault::Config, why),
        }
    }
}

/// How long a provider asks us to wait. Of `RateLimit-Reset` we know when all of the limit is there again, in seconds
/// since 1970 by the provider's clock.
fn wait(answer: &Answer, now: SystemTime) -> Option<Duration> {
    retry_after(&answer.headers, now).or_else(|| {
        let reset = answer.headers.get("ratelimit-reset")?.to_str().ok()?.trim().parse().ok()?;
        let now_s = clock_of(answer).unwrap_or_else(unix_ms) / 1000;
        Some(Duration::from_secs(u64::saturating_sub(reset, now_s)).min(MAX_REFILL))
    })
}

/// What time it is where the answer comes from, in milliseconds since 1970.
#[must_use]
pub fn clock_of(answer: &Answer) -> Option<u64> {
    let date = answer.headers.get("date")?.to_str().ok()?;
    let date = httpdate::parse_http_date(date.trim()).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// The line that the tunnel itself takes: of its ssh options.
fn line_of(tunnel: &Tunnel) -> Line {
    Line {
        interface: tunnel.option("bindinterface").map(str::to_owned),
        source: tunnel.option("bindaddress").and_then(|address| address.parse().ok()),
    }
}

/// Those of the `[[link]]` that is the same line, where it names some; else those that the line was given.
fn name_servers(line: &Line, file: &Path) -> Vec<std::net::SocketAddr> {
    let links = config::Settings::load(file).map(|settings| settings.links).unwrap_or_default();
    let is_same = |link: &&config::Link| match &line.interface {
        Some(interface) => link.interface.as_ref() == Some(interface),
        None => link.source == line.source,
    };
    let named = links.iter().find(is_same).and_then(|link| link.resolvers.clone());
    // Nobody is to find out whether the line is there: who answers by it will do.
    named.unwrap_or_else(|| resolvers::find(line, true).servers)
}

/// Where the tunnel goes by whatever line the routes lead, names are the system's to look up. It cannot be told to
/// hurry, so it is left behind.
fn by_the_system(name: &str, most: Duration) -> Result<Vec<IpAddr>, String> {
    let (told, hears) = mpsc::channel();
    let name = name.to_owned();
    std::thread::spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        let _ = told.send(found.map(|all| all.map(|one| one.ip()).collect::<Vec<_>>()));
    });
    match hears.recv_timeout(most) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) => Err("its name cannot be looked up; check this machine's DNS".into()),
        Err(_) => Err("its name could not be looked up in time".into()),
    }
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderMap;

    use super::*;

    #[test]
    fn a_wait_is_what_the_provider_says_and_a_refill_is_no_hour() {
        let of = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            let answer = Answer { status: 429, headers: map, body: Vec::new() };
            wait(&answer, SystemTime::now()).map(|wait| wait.as_secs())
        };
        // 784111777 is that date.
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("retry-after", "7"), ("ratelimit-reset", "784111787"), date]), Some(7));
        assert_eq!(of(&[("ratelimit-reset", "784111787"), date]), Some(10));
        assert_eq!(of(&[("ratelimit-reset", "784115377"), date]), Some(60));
        assert_eq!(of(&[("ratelimit-reset", "784111000"), date]), Some(0));
        assert_eq!(of(&[("ratelimit-reset", "soon"), date]), None);
    }
}
