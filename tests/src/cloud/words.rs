//! What a request means at each of the clouds, and how each says what there is.

use std::fmt::Write as _;

use notifier::channel::rfc3339;
use serde_json::{Value, json};

use super::{Action, Cloud, EC2_ID, Like, Verb};
use crate::twilio::{Answer, Request};

impl Cloud {
    pub(super) fn verb(&self, request: &Request) -> Option<(Verb, String)> {
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

    pub(super) fn acted(&mut self, kind: &'static str, now: u64, ends: Option<u64>) -> Answer {
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

    pub(super) fn listed(&self, now: u64) -> Answer {
        let all = self.actions.iter().enumerate();
        let shown: Vec<Value> =
            all.map(|(at, action)| self.shown(self.actions.len() - at, action, now)).collect();
        Answer { status: 200, body: json!({ "actions": shown }), accepted: None }
    }

    pub(super) fn described(&self) -> Answer {
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
    pub(super) fn changed(&self) -> Answer {
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
