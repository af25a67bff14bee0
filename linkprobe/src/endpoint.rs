//! A provider's server, ready to be tested with: where it is, how far, and what to ask it for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use notifier::ffi::random_u32;
use ureq::http::{HeaderMap, Uri};

use crate::http::{Client, Lookup};
use crate::latency::{self, Latency};
use crate::provider::{Kind, Provider};
use crate::record;
use crate::throughput::Way;
use crate::usage::Usage;

/// Round trips that are taken of the first server, whose median is the line's latency, and of others.
const SAMPLES: [usize; 2] = [10, 3];

/// Longest time to look a server's name up.
const LOOKUP: Duration = Duration::from_secs(4);

/// A server.
#[derive(Debug, Clone)]
pub struct Endpoint {
    kind: Kind,
    base: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Median of its idle round trips.
    pub round_trip: Duration,
    /// What there is to tell of it.
    pub server: record::Server,
    /// With these headers it is asked.
    pub headers: Vec<(&'static str, String)>,
}

/// The servers of a list of providers, each made ready when it is first asked for.
pub struct Endpoints<'a> {
    providers: &'a [Provider],
    lookup: Arc<Lookup>,
    ready: Vec<Option<Result<Endpoint, String>>>,
    /// Round trips to the first that could be asked.
    pub latency: Option<Latency>,
    /// Data that this took, besides the client's own.
    pub usage: Usage,
}

impl<'a> Endpoints<'a> {
    /// Those of `providers`, none of them asked yet.
    #[must_use]
    pub fn new(providers: &'a [Provider], lookup: Arc<Lookup>) -> Self {
        let ready = providers.iter().map(|_| None).collect();
        Self { providers, lookup, ready, latency: None, usage: Usage::default() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.providers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    /// What a provider is called in messages: its word, or its host.
    #[must_use]
    pub fn name(&self, provider: usize) -> String {
        let Some(provider) = self.providers.get(provider) else { return "nobody".into() };
        match provider.kind {
            Kind::Cloudflare | Kind::SpeedtestNet => provider.kind.as_str().to_owned(),
            Kind::LibreSpeed | Kind::Url => host(&provider.base).unwrap_or_default(),
        }
    }

    /// Makes a provider's server ready, if it is not.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked, in words.
    pub fn get(&mut self, client: &Client, provider: usize) -> Result<Endpoint, String> {
        let of = self.providers.get(provider).ok_or("there is no such provider")?;
        let Some(slot) = self.ready.get_mut(provider) else { return Err("no provider".into()) };
        if let Some(ready) = slot {
            return ready.clone();
        }
        let made = make(client, of, &self.lookup).and_then(|mut endpoint| {
            let samples = SAMPLES[usize::from(self.latency.is_some())];
            let line = client.wire().line();
            let found = latency::sample(line, endpoint.address, samples, &mut self.usage);
            endpoint.round_trip = found.median().ok_or("it does not answer")?;
            endpoint.server.latency = Some(endpoint.round_trip.as_secs_f64() * 1e3);
            self.latency.get_or_insert(found);
            Ok(endpoint)
        });
        *slot = Some(made.clone());
        made
    }
}

fn make(_client: &Client, provider: &Provider, lookup: &Arc<Lookup>) -> Result<Endpoint, String> {
    let base = provider.base.clone();
    let uri: Uri = base.parse().map_err(|_| "its address is none".to_owned())?;
    let host = uri.host().unwrap_or_default().to_owned();
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(usual);
    let addresses = lookup(host.trim_matches(['[', ']']), LOOKUP)?;
    let address = addresses.first().ok_or("its name has no address")?;
    let server = record::Server {
        url: base.split('?').next().unwrap_or_default().to_owned(),
        host: format!("{host}:{port}"),
        name: host,
        sponsor: provider.kind.as_str().to_owned(),
        ..record::Server::default()
    };
    Ok(Endpoint {
        kind: provider.kind,
        base,
        address: SocketAddr::new(*address, port),
        round_trip: Duration::ZERO,
        server,
        headers: Vec::new(),
    })
}

fn host(url: &str) -> Option<String> {
    Some(url.parse::<Uri>().ok()?.host()?.to_owned())
}

impl Endpoint {
    /// Where to get `bytes` or more, or as much as it has.
    #[must_use]
    pub fn download(&self, bytes: u64) -> String {
        let (base, new) = (&self.base, random_u32().unwrap_or_default());
        match self.kind {
            Kind::LibreSpeed => {
                let mebibytes = bytes.div_ceil(1 << 20).clamp(1, 1024);
                format!("{base}/garbage.php?ckSize={mebibytes}&r={new:08x}")
            }
            Kind::Cloudflare => format!("{base}/__down?bytes={}", bytes.min(99_999_999)),
            Kind::SpeedtestNet => format!("{base}/download?nocache={new:08x}&size={bytes}"),
            Kind::Url => base.clone(),
        }
    }

    /// Where to send bytes to.
    #[must_use]
    pub fn upload(&self) -> String {
        let (base, new) = (&self.base, random_u32().unwrap_or_default());
        match self.kind {
            Kind::LibreSpeed => format!("{base}/empty.php?r={new:08x}"),
            Kind::Cloudflare => format!("{base}/__up"),
            Kind::SpeedtestNet => format!("{base}/upload?nocache={new:08x}"),
            Kind::Url => base.clone(),
        }
    }

    /// How much is sent to it in one request, where `bytes` are wanted.
    #[must_use]
    pub fn upload_bytes(&self, bytes: u64) -> u64 {
        bytes.clamp(1 << 20, 25 << 20)
    }

    /// Whether the head of an answer is that of a test.
    ///
    /// # Errors
    ///
    /// Why not, in words.
    pub fn check(&self, way: Way, status: u16, headers: &HeaderMap) -> Result<(), String> {
        let is_page = headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        match status {
            200 if way == Way::Upload || !is_page => Ok(()),
            200 => Err("it sent a page and no test: is there a portal to log in to?".into()),
            status => Err(format!("HTTP {status}")),
        }
    }
}
