//! Names looked up, but not anew for each of ten thousand requests: every look takes a thread, as a
//! resolver of the system's can hang.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer is good. No longer than a connection is kept, which does not follow its name
/// elsewhere either.
const GOOD: Duration = Duration::from_secs(1);

/// An answer: to what, when, and what.
#[derive(Debug)]
struct Found {
    authority: String,
    at: Instant,
    addresses: Vec<SocketAddr>,
}

/// Looks names up by `R`, and remembers the last answer for a moment.
#[derive(Debug, Default)]
pub(super) struct Lookup<R = Names> {
    resolver: R,
    last: Mutex<Option<Found>>,
}

impl<R: Resolver> Resolver for Lookup<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        // With the scheme, which gives the port where none is written.
        let asked = format!("{:?} {:?}", uri.scheme(), uri.authority());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) =
            last.as_ref().filter(|found| found.authority == asked && found.at.elapsed() < GOOD)
        {
            let mut addresses = self.empty();
            found.addresses.iter().for_each(|address| addresses.push(*address));
            return Ok(addresses);
        }
        let addresses = self.resolver.resolve(uri, config, timeout)?;
        *last = Some(Found {
            authority: asked,
            at: Instant::now(),
            addresses: addresses.iter().copied().collect(),
        });
        Ok(addresses)
    }
}

/// The system's resolver, whose every error but a timeout is that there is no such host: which of
/// them it was, and that it is about names at all, stands in its words alone.
#[derive(Debug, Default)]
pub(super) struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.0.resolve(uri, config, timeout).map_err(|error| match error {
            Error::Io(_) => Error::HostNotFound,
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use ureq::Timeout;

    use super::*;

    /// Answers another port each time, and at last nothing.
    #[derive(Debug, Default, Clone)]
    struct Counting(Arc<AtomicU16>);

    impl Resolver for Counting {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, Error> {
            let port = self.0.fetch_add(1, Ordering::Relaxed);
            if port == 3 {
                return Err(Error::HostNotFound);
            }
            let mut addresses = self.empty();
            addresses.push(SocketAddr::from(([127, 0, 0, 1], port)));
            Ok(addresses)
        }
    }

    #[test]
    fn an_answer_is_good_for_a_moment_and_for_what_was_asked() {
        let lookup = Lookup { resolver: Counting::default(), last: Mutex::default() };
        let ask = |uri: &str| {
            let timeout = NextTimeout {
                after: Duration::from_secs(1).into(),
                reason: Timeout::Resolve,
                ..NextTimeout::default()
            };
            let uri: Uri = uri.parse().unwrap();
            lookup.resolve(&uri, &Config::default(), timeout).map(|all| all[0].port()).ok()
        };
        assert_eq!(ask("https://a.example/x"), Some(0));
        assert_eq!(ask("https://a.example/y"), Some(0));
        assert_eq!(ask("http://a.example/x"), Some(1), "another port");
        let made_old = |found: &mut Found| found.at -= GOOD;
        lookup.last.lock().unwrap().iter_mut().for_each(made_old);
        assert_eq!(ask("http://a.example/x"), Some(2), "looked up anew");
        assert_eq!(ask("https://a.example/x"), None, "what is not found");
        assert_eq!(ask("https://a.example/x"), Some(4), "is not remembered");
    }
}
