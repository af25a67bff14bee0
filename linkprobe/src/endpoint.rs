//! A provider's server, ready to be tested with: where it is, how far, and what to ask it for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use notifier::ffi::random_u32;
use ureq::http::{HeaderMap, Uri};

use crate::http::{Client, Lookup};
use crate::latency::{self, Latency};
use crate::provider::{
    self, Kind, Protocol, Provider, Request, check_download_reply, check_ping_reply, check_reply,
};
use crate::record;
use crate::throughput::Way;
use crate::usage::Usage;
use crate::wire::Wire;

/// Round trips that are taken of the first server, whose median is the line's latency, and of others.
const SAMPLES: [usize; 2] = [10, 3];

/// Longest time to look a server's name up.
const LOOKUP: Duration = Duration::from_secs(4);

/// Servers near us that are asked how near, of a provider that has many.
const NEAREST: usize = 4;

/// A server.
#[derive(Clone)]
pub struct Endpoint {
    protocol: &'static dyn Protocol,
    place: String,
    /// Where it is.
    pub address: SocketAddr,
    /// The same by the other family of addresses, if it has one: a line may have but one of them that leads anywhere.
    other: Option<SocketAddr>,
    /// Median of its idle round trips.
    pub round_trip: Duration,
    /// What there is to tell of it.
    pub server: record::Server,
}

/// The servers of a list of providers, each made ready when it is first asked for.
pub struct Endpoints<'a> {
    providers: &'a [Provider],
    lookup: Arc<Lookup>,
    ready: Vec<Option<Result<Endpoint, String>>>,
    /// Round trips to the first that could be asked.
    pub latency: Option<Latency>,
}

impl<'a> Endpoints<'a> {
    /// Those of `providers`, none of them asked yet.
    #[must_use]
    pub fn new(providers: &'a [Provider], lookup: Arc<Lookup>) -> Self {
        let ready = providers.iter().map(|_| None).collect();
        Self { providers, lookup, ready, latency: None }
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
        let made = make(client, of, self.lookup.as_ref()).and_then(|mut endpoint| {
            let samples = SAMPLES[usize::from(self.latency.is_some())];
            let line = client.wire().line();
            let mut cost = Usage::default();
            let mut found = latency::sample(line, endpoint.address, samples, &mut cost);
            if let (None, Some(other)) = (found.median(), endpoint.other) {
                found = latency::sample(line, other, samples, &mut cost);
                let mute = std::mem::replace(&mut endpoint.address, other);
                found.median().inspect(|_| client.wire().answers(mute.ip(), other.ip()));
            }
            client.wire().spent(cost);
            endpoint.round_trip = found.median().ok_or("it does not answer")?;
            endpoint.server.latency = Some(endpoint.round_trip.as_secs_f64() * 1e3);
            self.latency.get_or_insert(found);
            Ok(endpoint)
        });
        *slot = Some(made.clone());
        made
    }
}

fn make(client: &Client, provider: &Provider, lookup: &Lookup) -> Result<Endpoint, String> {
    let protocol = provider.kind.protocol();
    let base = &provider.base;
    let servers = servers(client, provider)?;
    if servers.is_empty() {
        let server = record::Server {
            url: base.split('?').next().unwrap_or_default().to_owned(),
            name: host(base).unwrap_or_default(),
            sponsor: protocol.name().to_owned(),
            ..record::Server::default()
        };
        let place = place(client, protocol, protocol.places(base))?;
        return at(protocol, place, server, client.wire(), lookup);
    }
    // The nearest by its round trip, and not by where the provider takes us to be.
    let mut found: Vec<(Duration, provider::Server, Endpoint)> = Vec::new();
    let mut why = "it names no server".to_owned();
    for server in servers.into_iter().take(NEAREST) {
        let Some(first) = server.places.first() else { continue };
        match at(protocol, first.clone(), server.record.clone(), client.wire(), lookup) {
            Ok(endpoint) => {
                let mut cost = Usage::default();
                let line = client.wire().line();
                let near = latency::sample(line, endpoint.address, 1, &mut cost).median();
                client.wire().spent(cost);
                found.extend(near.map(|near| (near, server, endpoint)));
            }
            Err(error) => why = error,
        }
    }
    found.sort_by_key(|(near, ..)| *near);
    for (_, server, endpoint) in found {
        match place(client, protocol, server.places) {
            Ok(place) => return Ok(Endpoint { place, ..endpoint }),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The servers that a provider has near us; none where it is one itself.
fn servers(client: &Client, provider: &Provider) -> Result<Vec<provider::Server>, String> {
    let protocol = provider.kind.protocol();
    let mut why = None;
    for request in protocol.servers(&provider.base) {
        let answer = client.ask(&request);
        let servers = answer.and_then(|answer| {
            check_reply(&request, answer.status, &answer.headers).map_err(|why| why.to_string())?;
            Ok(protocol.read_servers(&answer.body))
        });
        match servers {
            Ok(servers) if !servers.is_empty() => return Ok(servers),
            Ok(_) => why = Some("its list of servers makes no sense".to_owned()),
            Err(error) => why = Some(error),
        }
    }
    why.map_or(Ok(Vec::new()), Err)
}

/// The first of `places` that there is.
fn place(client: &Client, protocol: &dyn Protocol, places: Vec<String>) -> Result<String, String> {
    if let [only] = places.as_slice() {
        return Ok(only.clone());
    }
    let mut why = "it has no address".to_owned();
    for place in places {
        let request = protocol.ping(&place, nonce());
        // Where there is no answer, another path has none either.
        let answer = client.ask(&request)?;
        match check_ping_reply(&request, answer.status, &answer.headers, &answer.body) {
            Ok(()) => return Ok(place),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn at(
    protocol: &'static dyn Protocol,
    place: String,
    mut server: record::Server,
    wire: &Wire,
    lookup: &Lookup,
) -> Result<Endpoint, String> {
    let uri: Uri = place.parse().map_err(|_| "its address is none".to_owned())?;
    let host = uri.host().unwrap_or_default();
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(usual);
    let addresses = lookup(host.trim_matches(['[', ']']), LOOKUP)?;
    let mut addresses: Vec<SocketAddr> =
        addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    wire.order(&mut addresses);
    let address = *addresses.first().ok_or("its name has no address")?;
    let other = addresses.into_iter().find(|other| other.is_ipv4() != address.is_ipv4());
    if server.host.is_empty() {
        server.host = format!("{host}:{port}");
    }
    Ok(Endpoint { protocol, place, address, other, round_trip: Duration::ZERO, server })
}

fn host(url: &str) -> Option<String> {
    Some(url.parse::<Uri>().ok()?.host()?.to_owned())
}

fn nonce() -> u32 {
    random_u32().unwrap_or_default()
}

impl Endpoint {
    /// Whether it can be tested this way.
    #[must_use]
    pub fn has(&self, way: Way) -> bool {
        way == Way::Download || self.protocol.upload(&self.place, LEAST_UPLOAD, 0).is_some()
    }

    /// What to ask it for, where `bytes` are wanted.
    #[must_use]
    pub fn request(&self, way: Way, bytes: u64) -> Request {
        let upload = || self.protocol.upload(&self.place, bytes.max(LEAST_UPLOAD), nonce());
        match way {
            Way::Upload => upload(),
            Way::Download => None,
        }
        .unwrap_or_else(|| self.protocol.download(&self.place, bytes, nonce()))
    }

    /// Whether the head of an answer is that of a test.
    ///
    /// # Errors
    ///
    /// Why not, in words.
    pub fn check(
        &self,
        way: Way,
        asked: &Request,
        status: u16,
        headers: &HeaderMap,
    ) -> Result<(), String> {
        match way {
            Way::Download => check_download_reply(asked, status, headers),
            Way::Upload => check_reply(asked, status, headers),
        }
        .map_err(|why| why.to_string())
    }
}

/// Bytes of an upload's request, at least.
const LEAST_UPLOAD: u64 = 1 << 20;
