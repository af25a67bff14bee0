//! DigitalOcean's API v2 (docs.digitalocean.com/reference/api): a droplet, which is paid in full while it is off.

use std::net::IpAddr;

use serde_json::Value;

use crate::bearer::{Action, Error, Kind, Ways, text};
use crate::call::{Fault, Later, Report, State};

/// The address of the API.
pub const ENDPOINT: &str = "https://api.digitalocean.com/v2";

/// A droplet's ways.
pub struct Droplet;

impl Ways for Droplet {
    const MACHINES: &'static str = "/droplets";
    const LAST: &'static str = "per_page=10";

    fn to_do(kind: Kind) -> (&'static str, &'static str) {
        let body = match kind {
            Kind::Start | Kind::Other => r#"{"type":"power_on"}"#,
            Kind::Shutdown => r#"{"type":"shutdown"}"#,
            Kind::PowerOff => r#"{"type":"power_off"}"#,
        };
        ("/actions", body)
    }

    fn read(json: &Value) -> Option<Report> {
        let droplet = &json["droplet"];
        let state = match droplet["status"].as_str()? {
            "new" => State::Starting,
            "active" => State::On,
            "off" => State::Off,
            "archive" => State::Gone,
            _ => return None,
        };
        let address = ["v4", "v6"].iter().find_map(|family| {
            let networks = droplet["networks"][family].as_array()?;
            let public = networks.iter().find(|network| text(network, "type") == "public")?;
            text(public, "ip_address").parse::<IpAddr>().ok()
        });
        Some(Report::new(state, address))
    }

    fn action(json: &Value) -> Option<Action> {
        let kind = match text(json, "type") {
            "power_on" => Kind::Start,
            "shutdown" => Kind::Shutdown,
            "power_off" => Kind::PowerOff,
            "power_cycle" | "reboot" => Kind::Other,
            _ => return None,
        };
        let is_under_way = text(json, "status") == "in-progress";
        Some(Action { kind, is_under_way, begun: text(json, "started_at").to_owned() })
    }

    fn error(status: u16, json: &Value) -> Error {
        let code = text(json, "id");
        let fault = match (status, code) {
            // In its own words: a 404 of somebody else's is a wrong address.
            (404, "not_found") => Some(Fault::Gone),
            // "Droplet already has a pending event.", and whatever else does not fit its state.
            (409 | 422 | 423, _) => Some(Fault::Later(Later::Busy, None)),
            _ => None,
        };
        Error { code: code.to_owned(), message: text(json, "message").to_owned(), fault }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_droplet_is_read() {
        let of = |status: &str, networks: Value| {
            Droplet::read(&json!({ "droplet": { "status": status, "networks": networks } }))
        };
        let private = json!({ "ip_address": "10.0.0.2", "type": "private" });
        let public = json!({ "ip_address": "198.51.100.7", "type": "public" });
        let six = json!({ "ip_address": "2001:db8::7", "type": "public" });
        let found = |state, address: Option<&str>| {
            Some(Report { state, address: address.map(|address| address.parse().unwrap()) })
        };
        for (status, networks, want) in [
            (
                "active",
                json!({ "v4": [private, public], "v6": [six] }),
                found(State::On, Some("198.51.100.7")),
            ),
            (
                "active",
                json!({ "v4": [private], "v6": [six] }),
                found(State::On, Some("2001:db8::7")),
            ),
            ("active", json!({ "v4": [private] }), found(State::On, None)),
            ("new", Value::Null, found(State::Starting, None)),
            ("off", json!({ "v4": [public] }), found(State::Off, None)),
            ("archive", Value::Null, found(State::Gone, None)),
            ("dancing", Value::Null, None),
        ] {
            assert_eq!(of(status, networks.clone()), want, "{status} {networks}");
        }
        assert_eq!(Droplet::read(&json!({ "message": "hi" })), None);
    }
}
