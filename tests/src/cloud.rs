//! Where machines can be started and stopped: what EC2, DigitalOcean and Hetzner answer, as their documentation
//! describes it. One machine, which takes its time and has another address each time that it is started. Pure: no
//! socket, and the time is the caller's.
//!
//! A test starts it by [`Provider::start_cloud`](crate::provider::Provider::start_cloud) and steers it by [`Order`]s;
//! [`Fault`](crate::fault::Fault)s make the server before it misbehave as every other stand-in does (hang, drip,
//! garbage, a status with `Retry-After`).

use std::fmt::Write as _;

use notifier::channel::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::host::Host;
use crate::twilio::{Answer, Request};

/// The id that EC2's machine has.
pub const EC2_ID: &str = "i-0123456789abcdef0";
/// The id that the other clouds' machine has.
pub const NUMBER: &str = "3164494";
/// The access key that EC2 knows. Whether the signature is right is looked at elsewhere.
pub const ACCESS_KEY: &str = "AKIDSTANDINEXAMPLE";
/// The secret of that key.
pub const SECRET_KEY: &str = "5ecre7/K7MDENG+bPxRfiCY-aws-key";
/// The token that the other clouds know. Looked for in every log by a test.
pub const TOKEN: &str = "5ecre7-c10ud-70ken-0f-7he-7e57";

/// Whom it is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Like {
    /// EC2's Query API.
    Ec2,
    /// DigitalOcean's API v2.
    Digitalocean,
    /// Hetzner's Cloud API v1.
    Hetzner,
}

impl Like {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ec2, Self::Digitalocean, Self::Hetzner];

    /// Its word on the command line, which is the `provider` of the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Digitalocean => "digitalocean",
            Self::Hetzner => "hetzner",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|like| like.name() == name)
    }

    /// Behind the address of its API.
    fn version(self) -> &'static str {
        match self {
            Self::Ec2 => "",
            Self::Digitalocean => "/v2",
            Self::Hetzner => "/v1",
        }
    }

    /// `[tunnel.on-demand]` of a machine there; `more` are further keys. The secrets are in `/etc/bastion/tunnel-secrets/cloud`,
    /// by [`Like::secret`].
    #[must_use]
    pub fn section(self, link: &str, url: &str, more: &str) -> String {
        let (name, version) = (self.name(), self.version());
        let keys = match self {
            Self::Ec2 => format!(
                "instance = \"{EC2_ID}\"\nregion = \"eu-central-1\"\naccess-key-id = \"{ACCESS_KEY}\"\n\
                 secret-key-file = \"cloud\""
            ),
            _ => format!("instance = \"{NUMBER}\"\ntoken-file = \"cloud\""),
        };
        format!(
            "[tunnel.on-demand]\nlink = \"{link}\"\nprovider = \"{name}\"\n{keys}\nendpoint = \"{url}{version}\"\n{more}\n"
        )
    }

    /// The configuration of a host with this jump host, a tunnel `home` with these further keys, and the secret's file.
    pub fn configure(self, host: &Host, url: &str, tunnel: &str) {
        host.sh("install -d -m 0700 /etc/bastion/tunnel-secrets");
        host.write("/etc/bastion/tunnel-secrets/cloud", self.secret(), 0o600);
        let on_demand = self.section("main", url, "");
        host.write_config(&format!(
            "[[tunnel]]\nname = \"home\"\njump = \"tunnel@jump\"\nremote-ports = [2222]\n{tunnel}\n{on_demand}"
        ));
    }

    /// What belongs into that file.
    #[must_use]
    pub fn secret(self) -> &'static str {
        if self == Self::Ec2 { SECRET_KEY } else { TOKEN }
    }
}

/// What a test makes of the machine; what is left out stays as it is. On the provider's standard input and in
/// `PUT /control` it is `{"cloud":{..}}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Order {
    /// How long a start takes, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_ms: Option<u64>,
    /// How long a stop takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_ms: Option<u64>,
    /// Whether it hears no request to shut down, as a system does that hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deaf: Option<bool>,
    /// Its addresses, a new one for each start, and then from the first on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// It is on or off now, by another's hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// There is no such machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
    /// All that was done with it so far was done so much earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ago_ms: Option<u64>,
    /// How requests are refused, one after the other; taken in the place of what was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<Vec<Refusal>>,
}

/// How a request is refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Refusal {
    /// Of what: `start`, `stop`, `describe`.
    pub on: String,
    /// The HTTP status.
    pub status: u16,
    /// The provider's own word for it.
    pub code: String,
    /// How often; for ever where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

impl Refusal {
    /// For ever, with this status and the provider's own word.
    #[must_use]
    pub fn new(on: &str, status: u16, code: &str) -> Self {
        Self { on: on.to_owned(), status, code: code.to_owned(), count: None }
    }

    /// Only so often.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }
}

/// The machine as somebody sees it who stands beside it. The provider prints it, as JSON behind `machine: `, after
/// each order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// `off`, `starting`, `on`, `stopping`.
    pub state: String,
    /// Its address while it is on.
    pub address: Option<String>,
    /// How often it was started by the API, and stopped.
    pub starts: u32,
    /// See `starts`.
    pub stops: u32,
    /// Requests for a start and for a stop that came, refused ones and such of nothing to do among them.
    pub start_requests: u32,
    /// See `start_requests`.
    pub stop_requests: u32,
    /// How long it was on or starting, in all, in milliseconds: what is paid.
    pub paid_ms: u64,
}

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
        if known && let Some(refused) = self.refused(on) {
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

    fn verb(&self, request: &Request) -> Option<(Verb, String)> {
        if self.like == Like::Ec2 {
            let form = request.form.as_ref().filter(|_| request.path == "/")?;
            let id = form.get("InstanceId.1")?.clone();
            if request.method != "POST" || form.get("Version").is_none_or(|v| v != "2016-11-15") {
                return None;
            }
            let verb = match form.get("Action")?.as_str() {
                "StartInstances" => Verb::Start,
                "StopInstances" if form.get("Force").is_some_and(|f| f == "true") => Verb::PowerOff,
                "StopInstances" => Verb::Shutdown,
                "DescribeInstances" => Verb::Describe,
                _ => return None,
            };
            return Some((verb, id));
        }
        let root = if self.like == Like::Hetzner { "/v1/servers/" } else { "/v2/droplets/" };
        let mut parts = request.path.strip_prefix(root)?.split('/');
        let id = parts.next()?.to_owned();
        let kind: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let kind = kind["type"].as_str().unwrap_or_default();
        let verb = match (request.method.as_str(), parts.next(), parts.next()) {
            ("GET", None, None) => Verb::Describe,
            ("GET", Some("actions"), None) => Verb::Actions,
            ("POST", Some("actions"), Some(word)) if self.like == Like::Hetzner => match word {
                "poweron" => Verb::Start,
                "shutdown" => Verb::Shutdown,
                "poweroff" => Verb::PowerOff,
                _ => return None,
            },
            ("POST", Some("actions"), None) => match kind {
                "power_on" => Verb::Start,
                "shutdown" => Verb::Shutdown,
                "power_off" => Verb::PowerOff,
                _ => return None,
            },
            _ => return None,
        };
        Some((verb, id))
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

    fn acted(&mut self, kind: &'static str, now: u64, ends: Option<u64>) -> Answer {
        self.actions.insert(0, Action { kind, begun: now, ends });
        let number = self.actions.len();
        let shown = self.shown(number, &self.actions[0], now);
        Answer { status: 201, body: json!({ "action": shown }), accepted: Some(kind.into()) }
    }

    fn shown(&self, number: usize, action: &Action, now: u64) -> Value {
        let over = action.ends.is_some_and(|ends| ends <= now);
        let begun = rfc3339::format(action.begun);
        if self.like == Like::Hetzner {
            let command = match action.kind {
                "power_on" => "start_server",
                "shutdown" => "shutdown_server",
                _ => "stop_server",
            };
            let status = if over { "success" } else { "running" };
            return json!({ "id": number, "command": command, "status": status, "started": begun });
        }
        let status = if over { "completed" } else { "in-progress" };
        json!({ "id": number, "type": action.kind, "status": status, "started_at": begun })
    }

    fn listed(&self, now: u64) -> Answer {
        let all = self.actions.iter().enumerate();
        let shown: Vec<Value> =
            all.map(|(at, action)| self.shown(self.actions.len() - at, action, now)).collect();
        Answer { status: 200, body: json!({ "actions": shown }), accepted: None }
    }

    fn described(&self) -> Answer {
        let changing = self.change.map(|change| change.to_on);
        let address = self.address();
        let body = match self.like {
            Like::Ec2 => return self.changed(),
            Like::Digitalocean => {
                let public =
                    address.map(|address| json!({ "ip_address": address, "type": "public" }));
                let private = json!({ "ip_address": "10.135.0.2", "type": "private" });
                let v4: Vec<Value> = std::iter::once(private).chain(public).collect();
                json!({ "droplet": {
                    "id": 3_164_494, "name": "jump", "status": if self.on { "active" } else { "off" },
                    "locked": changing.is_some(), "networks": { "v4": v4, "v6": [] },
                } })
            }
            Like::Hetzner => {
                let status = match (changing, self.on) {
                    (Some(true), _) => "starting",
                    (Some(false), _) => "stopping",
                    (None, true) => "running",
                    (None, false) => "off",
                };
                let ipv4 = address.map(|address| json!({ "ip": address, "blocked": false }));
                json!({ "server": {
                    "id": 3_164_494, "name": "jump", "status": status, "locked": false,
                    "public_net": { "ipv4": ipv4, "ipv6": null },
                } })
            }
        };
        Answer { status: 200, body, accepted: None }
    }

    /// EC2's answer to each of the three.
    fn changed(&self) -> Answer {
        let (code, name) = match (self.change.map(|change| change.to_on), self.on) {
            (Some(true), _) => (0, "pending"),
            (Some(false), _) => (64, "stopping"),
            (None, true) => (16, "running"),
            (None, false) => (80, "stopped"),
        };
        let state = format!("<code>{code}</code><name>{name}</name>");
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let space = "xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"";
        let address =
            self.address().map_or_else(String::new, |a| format!("<ipAddress>{a}</ipAddress>"));
        let _ = write!(
            xml,
            "<DescribeInstancesResponse {space}><requestId>r</requestId><reservationSet><item><instancesSet><item>\
             <instanceId>{EC2_ID}</instanceId><instanceState>{state}</instanceState>\
             <currentState>{state}</currentState>{address}\
             </item></instancesSet></item></reservationSet></DescribeInstancesResponse>"
        );
        Answer { status: 200, body: xml.into(), accepted: None }
    }

    /// An error as this provider writes it.
    #[must_use]
    pub fn error(&self, status: u16, code: &str, text: &str) -> Answer {
        let body = match self.like {
            Like::Ec2 => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
                 <Message>{text}</Message></Error></Errors><RequestID>r</RequestID></Response>"
            )
            .into(),
            Like::Digitalocean => json!({ "id": code, "message": text, "request_id": "r" }),
            Like::Hetzner => json!({ "error": { "code": code, "message": text } }),
        };
        Answer { status, body, accepted: None }
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
