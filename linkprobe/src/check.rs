//! `linkprobe check`: is the line there, is it the right one, has it what is asked for?

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Link;
use crate::dns;
use crate::endpoint::Endpoints;
use crate::http::{Client, Lookup};
use crate::line::Line;
use crate::throughput::{self, Wanted, Way};
use crate::usage::Usage;
use crate::wire::Wire;

/// Bytes that are read at once.
const BUFFER: usize = 16 * 1024;

pub fn try_out(link: &Link, bits: f64) -> Result<(), String> {
    let line = Line::of(link);
    let (lookup, used) = lookup(&line, link.resolvers.clone().unwrap_or_default());
    let wire = Wire::new(line);
    let client = Client::new(wire.clone(), Arc::clone(&lookup), link.ca_file.as_deref(), BUFFER)?;
    let mut endpoints = Endpoints::new(&link.providers, lookup);
    let wanted = Wanted { way: Way::Download, threshold: bits / 8.0, at_least: Duration::ZERO };
    let begun = Instant::now();
    let found = throughput::decide(&client, &mut endpoints, &wanted, &mut |_| Ok(()));
    println!("{found:?} {:?} {:?} {:?} {:?}", begun.elapsed(), wire.usage(), used.lock().unwrap());
    Ok(())
}

/// Names of the line's own resolvers, each looked up once.
fn lookup(line: &Line, servers: Vec<std::net::SocketAddr>) -> (Arc<Lookup>, Arc<Mutex<Usage>>) {
    let usage = Arc::new(Mutex::new(Usage::default()));
    let (used, line) = (Arc::clone(&usage), line.clone());
    let known: Mutex<HashMap<String, Vec<IpAddr>>> = Mutex::default();
    let lookup = move |name: &str, most: Duration| {
        // Held while it is looked up: flows that begin together ask once.
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(addresses) = known.get(name) {
            return Ok(addresses.clone());
        }
        let mut cost = Usage::default();
        let found = dns::lookup_addresses(&line, &servers, name, Instant::now() + most, &mut cost);
        *used.lock().unwrap_or_else(PoisonError::into_inner) += cost;
        let addresses = found.map_err(|error| error.to_string())?;
        known.insert(name.to_owned(), addresses.clone());
        Ok(addresses)
    };
    (Arc::new(lookup), usage)
}
