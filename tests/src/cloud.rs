//! Where machines can be started and stopped: what EC2, DigitalOcean and Hetzner answer, as their documentation
//! describes it. One machine, which takes its time and has another address each time that it is started. Pure: no
//! socket, and the time is the caller's.
//!
//! A test starts it by [`Provider::start_cloud`](crate::provider::Provider::start_cloud) and steers it by [`Order`]s;
//! [`Fault`](crate::fault::Fault)s make the server before it misbehave as every other stand-in does (hang, drip,
//! garbage, a status with `Retry-After`).

use crate::twilio::{Answer, Request};

mod like;
mod order;
mod words;

pub use like::{ACCESS_KEY, EC2_ID, Like, NUMBER, SECRET_KEY, TOKEN};
pub use order::{Machine, Order, Refusal};

/// A change that is under way.
#[derive(Debug, Clone, Copy)]
struct Change {
    to_on: bool,
    /// When it is done; never where the machine is deaf.
    ends: Option<u64>,
}

/// An action as DigitalOcean and Hetzner list it.
#[derive(Debug, Clone)]
struct Action {
    kind: &'static str,
    begun: u64,
    ends: Option<u64>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Start,
    Shutdown,
    PowerOff,
    Describe,
    Actions,
}

/// The cloud, with its one machine.
#[derive(Debug)]
pub struct Cloud {
    like: Like,
    boot_ms: u64,
    stop_ms: u64,
    deaf: bool,
    addresses: Vec<String>,
    gone: bool,
    refuse: Vec<Refusal>,
    on: bool,
    on_since: u64,
    change: Option<Change>,
    actions: Vec<Action>,
    machine: Machine,
}

impl Cloud {
    /// One whose machine is off, and takes no time to start and to stop.
    #[must_use]
    pub fn new(like: Like) -> Self {
        Self {
            like,
            boot_ms: 0,
            stop_ms: 0,
            deaf: false,
            addresses: vec!["198.51.100.7".into(), "198.51.100.8".into(), "198.51.100.9".into()],
            gone: false,
            refuse: Vec::new(),
            on: false,
            on_since: 0,
            change: None,
            actions: Vec::new(),
            machine: Machine {
                state: "off".into(),
                address: None,
                starts: 0,
                stops: 0,
                start_requests: 0,
                stop_requests: 0,
                paid_ms: 0,
            },
        }
    }

    /// Carries an order out.
    pub fn order(&mut self, order: Order, now: u64) {
        self.settle(now);
        if let Some(on) = order.on.filter(|on| *on != self.on) {
            self.change = Some(Change { to_on: on, ends: Some(now) });
            self.settle(now);
        }
        for action in &mut self.actions {
            action.begun -= order.ago_ms.unwrap_or(0);
        }
        self.boot_ms = order.boot_ms.unwrap_or(self.boot_ms);
        self.stop_ms = order.stop_ms.unwrap_or(self.stop_ms);
        self.deaf = order.deaf.unwrap_or(self.deaf);
        self.gone = order.gone.unwrap_or(self.gone);
        self.addresses = order.addresses.unwrap_or(std::mem::take(&mut self.addresses));
        self.refuse = order.refuse.unwrap_or(std::mem::take(&mut self.refuse));
    }

    /// The machine now.
    pub fn machine(&mut self, now: u64) -> Machine {
        self.settle(now);
        let state = match (self.change.map(|change| change.to_on), self.on) {
            (Some(true), _) => "starting",
            (Some(false), _) => "stopping",
            (None, true) => "on",
            (None, false) => "off",
        };
        let running = self.on || self.change.is_some_and(|change| change.to_on);
        let paid = if running { now.saturating_sub(self.on_since) } else { 0 };
        Machine {
            state: state.into(),
            address: self.address(),
            paid_ms: self.machine.paid_ms + paid,
            ..self.machine.clone()
        }
    }

    fn address(&self) -> Option<String> {
        let number = (self.machine.starts as usize).saturating_sub(1);
        let count = self.addresses.len().max(1);
        self.addresses.get(number % count).filter(|_| self.on).cloned()
    }

    fn settle(&mut self, now: u64) {
        let Some(change) = self.change else { return };
        if change.ends.is_none_or(|ends| ends > now) {
            return;
        }
        self.change = None;
        if self.on && !change.to_on {
            self.machine.paid_ms += now.saturating_sub(self.on_since);
        }
        if !self.on && change.to_on && self.on_since == 0 {
            self.on_since = now;
        }
        self.on = change.to_on;
        if !self.on {
            self.on_since = 0;
        }
    }

    /// Whether the request bears the right token, or is of the right key.
    #[must_use]
    pub fn authorized(&self, request: &Request) -> bool {
        let header = request.headers.get("authorization").map_or("", String::as_str);
        match self.like {
            Like::Ec2 => {
                header.starts_with(&format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/"))
                    && header.contains("Signature=")
            }
            _ => header.strip_prefix("Bearer ") == Some(TOKEN),
        }
    }

    /// Answers a request.
    pub fn answer(&mut self, request: &Request, now: u64) -> Answer {
        self.settle(now);
        if !self.authorized(request) {
            let code = match self.like {
                Like::Ec2 => "AuthFailure",
                Like::Digitalocean => "Unauthorized",
                Like::Hetzner => "unauthorized",
            };
            return self.error(401, code, "who are you?");
        }
        let Some((verb, id)) = self.verb(request) else {
            return self.error(400, "InvalidAction", "nothing of that name");
        };
        let (on, known) = match verb {
            Verb::Start => ("start", true),
            Verb::Shutdown | Verb::PowerOff => ("stop", true),
            Verb::Describe => ("describe", true),
            Verb::Actions => ("describe", false),
        };
        match verb {
            Verb::Start => self.machine.start_requests += 1,
            Verb::Shutdown | Verb::PowerOff => self.machine.stop_requests += 1,
            _ => {}
        }
        let right = if self.like == Like::Ec2 { EC2_ID } else { NUMBER };
        if self.gone || id != right {
            let code =
                if self.like == Like::Ec2 { "InvalidInstanceID.NotFound" } else { "not_found" };
            return self.error(
                if self.like == Like::Ec2 { 400 } else { 404 },
                code,
                "no such machine",
            );
        }
        let refused = if known { self.refused(on) } else { None };
        if let Some(refused) = refused {
            return self.error(refused.status, &refused.code, "told to");
        }
        match verb {
            Verb::Start => self.start(now),
            Verb::Shutdown => self.stop(now, self.deaf, "shutdown"),
            Verb::PowerOff => self.stop(now, false, "power_off"),
            Verb::Describe => self.described(),
            Verb::Actions => self.listed(now),
        }
    }

    fn refused(&mut self, on: &str) -> Option<Refusal> {
        let refusal = self.refuse.iter_mut().find(|r| r.on == on && r.count != Some(0))?;
        if let Some(count) = &mut refusal.count {
            *count -= 1;
        }
        Some(refusal.clone())
    }

    fn start(&mut self, now: u64) -> Answer {
        match (self.like, self.change.map(|change| change.to_on), self.on) {
            (Like::Ec2, Some(false), _) => {
                return self.error(400, "IncorrectInstanceState", "it is not stopped yet");
            }
            (Like::Ec2, _, true) | (Like::Ec2, Some(true), _) => return self.changed(),
            (Like::Digitalocean, Some(_), _) => {
                return self.error(
                    422,
                    "unprocessable_entity",
                    "Droplet already has a pending event.",
                );
            }
            (Like::Digitalocean, None, true) => {
                return self.error(422, "unprocessable_entity", "Droplet is already on.");
            }
            (Like::Hetzner, Some(_), _) => {
                return self.error(423, "locked", "there is an action running");
            }
            (Like::Hetzner, None, true) => return self.acted("power_on", now, Some(now)),
            (_, None, false) => {}
        }
        self.machine.starts += 1;
        self.on_since = now;
        let ends = now + self.boot_ms;
        self.change = Some(Change { to_on: true, ends: Some(ends) });
        if self.like == Like::Ec2 {
            self.changed()
        } else {
            self.acted("power_on", now, Some(ends))
        }
    }

    fn stop(&mut self, now: u64, deaf: bool, kind: &'static str) -> Answer {
        match (self.like, self.change, self.on) {
            (Like::Ec2, None, false) => return self.changed(),
            (Like::Ec2, Some(change), _) if !change.to_on => return self.changed(),
            (Like::Ec2, Some(_), _) => {
                return self.error(400, "IncorrectInstanceState", "it is not running yet");
            }
            (Like::Digitalocean, Some(change), _) if change.ends.is_some() => {
                return self.error(
                    422,
                    "unprocessable_entity",
                    "Droplet already has a pending event.",
                );
            }
            (Like::Digitalocean, None, false) => {
                return self.error(422, "unprocessable_entity", "Droplet is already powered off.");
            }
            (Like::Hetzner, Some(change), _) if change.ends.is_some() => {
                return self.error(423, "locked", "there is an action running");
            }
            (Like::Hetzner, None, false) => return self.acted(kind, now, Some(now)),
            _ => {}
        }
        self.machine.stops += 1;
        let ends = (!deaf).then_some(now + self.stop_ms);
        // A machine that does not hear is on, whatever was asked for.
        self.change = ends.map(|_| Change { to_on: false, ends });
        if self.like == Like::Ec2 {
            return self.changed();
        }
        // What was asked of a deaf machine ends without it.
        self.acted(kind, now, Some(ends.unwrap_or(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(path: &str, body: &str) -> Request {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let headers = [("authorization".to_owned(), format!("Bearer {TOKEN}"))];
        Request {
            method: method.into(),
            path: path.into(),
            headers: headers.into(),
            body: body.into(),
            ..Request::default()
        }
    }

    #[test]
    fn a_machine_takes_its_time_and_has_another_address_each_time() {
        let mut cloud = Cloud::new(Like::Digitalocean);
        cloud.order(Order { boot_ms: Some(20), stop_ms: Some(5), ..Order::default() }, 0);
        let act = |cloud: &mut Cloud, kind: &str, now| {
            let path = format!("/v2/droplets/{NUMBER}/actions");
            cloud.answer(&post(&path, &format!("{{\"type\":\"{kind}\"}}")), now).status
        };
        let seen = |cloud: &mut Cloud, now| {
            let machine = cloud.machine(now);
            (machine.state, machine.address, machine.paid_ms)
        };
        assert_eq!(act(&mut cloud, "power_on", 100), 201);
        assert_eq!(act(&mut cloud, "power_on", 110), 422, "it has begun");
        assert_eq!(seen(&mut cloud, 119), ("starting".into(), None, 19));
        assert_eq!(seen(&mut cloud, 120), ("on".into(), Some("198.51.100.7".into()), 20));
        assert_eq!(act(&mut cloud, "shutdown", 130), 201);
        assert_eq!(seen(&mut cloud, 135), ("off".into(), None, 35));
        assert_eq!(act(&mut cloud, "power_on", 200), 201);
        assert_eq!(seen(&mut cloud, 220).1, Some("198.51.100.8".into()));
        cloud.order(Order { deaf: Some(true), ..Order::default() }, 220);
        assert_eq!(act(&mut cloud, "shutdown", 230), 201);
        assert_eq!(seen(&mut cloud, 9000).0, "on");
        assert_eq!(act(&mut cloud, "power_off", 9000), 201);
        assert_eq!(seen(&mut cloud, 9005).0, "off");
        let machine = cloud.machine(9005);
        assert_eq!((machine.starts, machine.stops, machine.start_requests), (2, 3, 3));
    }
}
