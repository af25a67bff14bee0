//! What a test of a line needs: its name servers, a client bound to it, and the sum of what was used.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notifier::clock::unix_ms;

use crate::config::Link;
use crate::dns;
use crate::endpoint::Endpoints;
use crate::http::{Client, DEADLINE, Lookup};
use crate::isp::{self, Asker, Identity, Judgement, Servers};
use crate::line::Line;
use crate::provider::Provider;
use crate::reach::{self, Look};
use crate::resolvers;
use crate::usage::Usage;
use crate::wire::Wire;

/// Longest time to find out whose the line is, where that matters and where it is only told.
const IDENTITY: [Duration; 2] = [Duration::from_secs(5), Duration::from_millis(1500)];

/// How long nobody may answer, look after look, before nobody does: one lost packet is nothing, and a line that
/// somebody else fills may keep an answer back for seconds.
const LOOKS: [Duration; 3] =
    [Duration::from_millis(1500), Duration::from_millis(1500), Duration::from_millis(4500)];

/// A name whose resolvers have failed for so long is not asked for again in the same test.
const SLOW: Duration = Duration::from_millis(1500);

/// A line that is to be tested.
pub struct Tester<'a> {
    /// What is expected of it.
    pub link: &'a Link,
    /// The way to it.
    pub line: Line,
    /// Its name servers.
    pub resolvers: Vec<SocketAddr>,
    /// HTTP by it.
    pub client: Client,
    lookup: Arc<Lookup>,
    wire: Wire,
}

impl<'a> Tester<'a> {
    /// Makes it ready; `buffer` is how much is read at once, in bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings.
    pub fn new(link: &'a Link, buffer: usize) -> Result<Self, String> {
        let line = Line::of(link);
        let resolvers = match &link.resolvers {
            Some(resolvers) => resolvers.clone(),
            None => resolvers::find(&line, !link.targets.is_empty()).servers,
        };
        let wire = Wire::new(line.clone());
        let lookup = lookup(&wire, resolvers.clone());
        let client =
            Client::new(wire.clone(), Arc::clone(&lookup), link.ca_file.as_deref(), buffer)
                .map_err(|why| format!("link {}: ca-file: {why}", link.name))?;
        Ok(Self { link, line, resolvers, client, lookup, wire })
    }

    /// The providers' servers.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints<'a> {
        Endpoints::new(&self.link.providers, Arc::clone(&self.lookup))
    }

    /// Data used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.wire.usage()
    }

    /// Looks whether somebody answers, some times if nobody does.
    #[must_use]
    pub fn look(&self) -> Look {
        let mut found = Look::default();
        for most in LOOKS {
            found = reach::look(&self.line, &self.resolvers, &self.link.targets, most);
            let [sent, received] = found.bytes;
            self.wire.spent(Usage { sent, received });
            // What was found on this machine is so.
            if found.is_up() || found.trouble.is_some() {
                break;
            }
        }
        found
    }

    /// Whose the line is, as far as it takes to say whether it is the right one.
    #[must_use]
    pub fn identify(&self, state: &Path) -> (Vec<Identity>, Judgement) {
        let is_told = self.link.expect_asn.is_empty() && self.link.expect_isp.is_empty();
        let (begun, most) = (Instant::now(), IDENTITY[usize::from(is_told)]);
        let until = begun + most;
        let servers = Servers::default();
        let now_s = unix_ms() / 1000;
        let (line, resolvers) = (&self.line, self.resolvers.as_slice());
        let asker = Asker { line, resolvers, servers: &servers, state, now_s };
        let mut cost = Usage::default();
        // A resolver that is silent leaves the providers some of the time.
        let by_dns = asker.identity(begun + most.mul_f64(0.6), &mut cost);
        let mut found: Vec<Identity> = by_dns.into_iter().collect();
        let judge =
            |found: &[Identity]| isp::judge(&self.link.expect_asn, &self.link.expect_isp, found);
        let mut judgement = judge(&found);
        // One source that says what was expected is enough; that it is another's is asked of a second.
        for provider in &self.link.providers {
            let is_clear = match &judgement {
                Judgement::Right { .. } => true,
                Judgement::Wrong { sources, .. } => *sources > 1,
                Judgement::Unknown { .. } => false,
            };
            if is_clear || Instant::now() >= until {
                break;
            }
            let Some(mut identity) = self.ask(provider, until) else { continue };
            asker.complete(&mut identity, until, &mut cost);
            found.push(identity);
            judgement = judge(&found);
        }
        self.wire.spent(cost);
        (found, judgement)
    }

    /// Who a provider says that we are.
    fn ask(&self, provider: &Provider, until: Instant) -> Option<Identity> {
        let protocol = provider.kind.protocol();
        for request in protocol.identity(&provider.base) {
            let rest = until.saturating_duration_since(Instant::now()).min(DEADLINE);
            // Where there is no answer, another path has none either.
            let answer =
                self.client.get(&request.url, &request.headers, request.bytes, rest).ok()?;
            let told = || protocol.read_identity(&answer.headers, &answer.body);
            let identity = if answer.status == 200 { told() } else { None };
            if identity.is_some() {
                return identity;
            }
        }
        None
    }
}

/// Names of the line's own resolvers, each looked up once; one that has failed slowly is not tried again.
fn lookup(wire: &Wire, servers: Vec<SocketAddr>) -> Arc<Lookup> {
    let wire = wire.clone();
    let known: Mutex<HashMap<String, Result<Vec<IpAddr>, String>>> = Mutex::default();
    Arc::new(move |name: &str, most: Duration| {
        // Held while it is looked up: flows that begin together ask once.
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name) {
            return found.clone();
        }
        let mut cost = Usage::default();
        let begun = Instant::now();
        let until = begun + most;
        let found = dns::lookup_addresses(wire.line(), &servers, name, until, &mut cost);
        wire.spent(cost);
        let found = found.map_err(|error| error.to_string());
        if found.is_ok() || begun.elapsed() > SLOW {
            known.insert(name.to_owned(), found.clone());
        }
        found
    })
}
