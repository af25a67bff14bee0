//! Hetzner's Cloud API v1 (docs.hetzner.cloud): a server, which is paid in full until it is deleted.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use crate::bearer::{Action, Error, Kind, Ways, text};
use crate::call::{Fault, Later, Report, State};

/// The address of the API.
pub const ENDPOINT: &str = "https://api.hetzner.cloud/v1";

/// A server's ways.
pub struct Server;

impl Ways for Server {
    const MACHINES: &'static str = "/servers";
    const LAST: &'static str = "sort=started:desc&per_page=10";

    fn to_do(kind: Kind) -> (&'static str, &'static str) {
        let path = match kind {
            Kind::Start | Kind::Other => "/actions/poweron",
            Kind::Shutdown => "/actions/shutdown",
            Kind::PowerOff => "/actions/poweroff",
        };
        (path, "")
    }

    fn read(json: &Value) -> Option<Report> {
        let server = &json["server"];
        let state = match server["status"].as_str()? {
            "initializing" | "starting" => State::Starting,
            "running" => State::On,
            "stopping" => State::Stopping,
            "off" => State::Off,
            // Nobody can reach it meanwhile, and it is not off: it is where it was afterwards, and was not stopped.
            "rebuilding" | "migrating" | "unknown" => State::Starting,
            "deleting" => State::Gone,
            _ => return None,
        };
        let net = &server["public_net"];
        let four = text(&net["ipv4"], "ip").parse::<IpAddr>().ok();
        Some(Report::new(state, four.or_else(|| first_of(text(&net["ipv6"], "ip")))))
    }

    fn action(json: &Value) -> Option<Action> {
        let kind = match text(json, "command") {
            "start_server" => Kind::Start,
            "shutdown_server" => Kind::Shutdown,
            "stop_server" => Kind::PowerOff,
            "reboot_server" | "reset_server" => Kind::Other,
            _ => return None,
        };
        let is_under_way = text(json, "status") == "running";
        Some(Action { kind, is_under_way, begun: text(json, "started").to_owned() })
    }

    fn error(status: u16, json: &Value) -> Error {
        let error = &json["error"];
        let code = text(error, "code");
        let fault = match (status, code) {
            (_, "resource_unavailable" | "placement_error" | "resource_limit_exceeded") => {
                Some(Fault::Later(Later::Capacity, None))
            }
            // In its own words: a 404 of somebody else's is a wrong address.
            (404, "not_found") => Some(Fault::Gone),
            (422, "invalid_input") => None,
            (409 | 412 | 422 | 423, _) => Some(Fault::Later(Later::Busy, None)),
            _ => None,
        };
        Error { code: code.to_owned(), message: text(error, "message").to_owned(), fault }
    }
}

/// Of IPv6 a server has a network; its images take the first address of it (docs.hetzner.com, "Primary IPs").
fn first_of(network: &str) -> Option<IpAddr> {
    let (base, _) = network.split_once('/')?;
    let base: Ipv6Addr = base.parse().ok()?;
    Some(Ipv6Addr::from_bits(base.to_bits() | 1).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_is_read() {
        let four = json!({ "ip": "198.51.100.7" });
        let six = json!({ "ip": "2001:db8:5::/64" });
        let found = |state, address: Option<&str>| {
            Some(Report { state, address: address.map(|address| address.parse().unwrap()) })
        };
        for (status, net, want) in [
            (
                "running",
                json!({ "ipv4": four, "ipv6": six }),
                found(State::On, Some("198.51.100.7")),
            ),
            (
                "running",
                json!({ "ipv4": null, "ipv6": six }),
                found(State::On, Some("2001:db8:5::1")),
            ),
            ("starting", json!({ "ipv4": four }), found(State::Starting, Some("198.51.100.7"))),
            ("initializing", Value::Null, found(State::Starting, None)),
            ("unknown", json!({ "ipv4": four }), found(State::Starting, Some("198.51.100.7"))),
            ("migrating", Value::Null, found(State::Starting, None)),
            ("stopping", json!({ "ipv4": four }), found(State::Stopping, None)),
            ("off", json!({ "ipv4": four }), found(State::Off, None)),
            ("deleting", Value::Null, found(State::Gone, None)),
            ("dancing", Value::Null, None),
        ] {
            let server = json!({ "server": { "status": status, "public_net": net } });
            assert_eq!(Server::read(&server), want, "{server}");
        }
    }

    #[test]
    fn an_error_is_whose_fault_it_is() {
        for (status, code, want) in [
            (423, "locked", Some(Fault::Later(Later::Busy, None))),
            (409, "conflict", Some(Fault::Later(Later::Busy, None))),
            (412, "placement_error", Some(Fault::Later(Later::Capacity, None))),
            (409, "resource_unavailable", Some(Fault::Later(Later::Capacity, None))),
            (404, "not_found", Some(Fault::Gone)),
            (404, "", None),
            (422, "invalid_input", None),
            (401, "unauthorized", None),
            (429, "rate_limit_exceeded", None),
        ] {
            let error =
                Server::error(status, &json!({ "error": { "code": code, "message": "m" } }));
            assert_eq!((error.fault, error.code.as_str()), (want, code), "{status}");
        }
    }
}
