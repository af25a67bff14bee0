//! EC2's Query API (version 2016-11-15): a form, signed, and XML for an answer.
//!
//! StopInstances asks the machine's own system to shut down, and AWS itself forces it after some minutes. Both verbs
//! say yes to a machine that is as wanted already.

use std::net::IpAddr;

use linkprobe::http::Answer;
use notifier::channel::secret::Secret;
use notifier::clock::unix_ms;
use roxmltree::{Document, Node};

use crate::api::{Api, clock_of};
use crate::call::{Fault, Later, Machine, Report, State, Trouble};
use crate::sign::{self, Key};

/// A clock that is further off than this is what is wrong: AWS takes requests of five minutes.
const CLOCK_MS: u64 = 4 * 60 * 1000;

/// An instance.
pub struct Instance {
    /// The way to the API.
    pub api: Api,
    /// Its id.
    pub id: String,
    /// Where it is.
    pub region: String,
    /// Who asks.
    pub key_id: String,
    /// And with what.
    pub secret: Secret,
}

/// The address of the API of a region.
#[must_use]
pub fn endpoint(region: &str) -> String {
    // China is a partition of its own (docs.aws.amazon.com/general/latest/gr/rande.html).
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://ec2.{region}.amazonaws.com{end}")
}

impl Instance {
    fn ask(&self, action: &str) -> Result<Report, Trouble> {
        let wrong = |why: String| Trouble::new(Fault::Config, why);
        // Neither has a character that a form would encode: the reader of the file sees to that.
        let body = format!("Action={action}&InstanceId.1={}&Version=2016-11-15", self.id);
        let url = self.api.url("/");
        let key = Key { id: &self.key_id, secret: &self.secret, region: &self.region };
        let headers = sign::headers(&key, &url, body.as_bytes())
            .map_err(|why| wrong(format!("the request cannot be signed: {why}")))?;
        let headers: Vec<(&str, String)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let answer = self.api.ask(&url, &headers, Some(body.as_bytes()))?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let document = Document::parse(&text).ok();
        if !(200..300).contains(&answer.status) {
            return Err(self.refused(&answer, document.as_ref()));
        }
        let found = document.and_then(|document| read(&document, &self.id));
        found.ok_or_else(|| self.api.strange(&answer))
    }

    fn refused(&self, answer: &Answer, document: Option<&Document<'_>>) -> Trouble {
        let of = |name| document.and_then(|document| text_of(document.root(), name));
        let code = of("Code").unwrap_or_default();
        let mut why = self.api.said(answer.status, code, of("Message").unwrap_or_default());
        let fault = fault(code);
        if fault == Some(Fault::Refused) {
            let off = clock_of(answer).map_or(0, |there| there.abs_diff(unix_ms()));
            why += &match code {
                _ if off > CLOCK_MS => {
                    format!("; this machine's clock is {} min off", off / 60_000)
                }
                "RequestExpired" => "; check this machine's clock".into(),
                "UnauthorizedOperation" => "; its policy has to allow ec2:DescribeInstances, and \
                     ec2:StartInstances and ec2:StopInstances on this instance"
                    .into(),
                _ => "; check access-key-id, secret-key-file and region".into(),
            };
        }
        match fault {
            // Where the limit is of requests, the answer may say until when.
            Some(Fault::Later(Later::Rate, _)) | None => {
                let usual = self.api.usual(answer, why.clone());
                match (fault, usual.fault) {
                    (Some(_), Fault::Later(_, wait)) => {
                        Trouble::new(Fault::Later(Later::Rate, wait), why)
                    }
                    (Some(rate), _) => Trouble::new(rate, why),
                    (None, _) => usual,
                }
            }
            Some(fault) => Trouble::new(fault, why),
        }
    }
}

impl Machine for Instance {
    fn describe(&self) -> Result<Report, Trouble> {
        self.ask("DescribeInstances")
    }

    fn start(&self) -> Result<Report, Trouble> {
        self.ask("StartInstances")
    }

    fn stop(&self) -> Result<Report, Trouble> {
        self.ask("StopInstances")
    }
}

/// Whose fault an error code is
/// (docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html); `None` where its status has to say it.
fn fault(code: &str) -> Option<Fault> {
    Some(match code {
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InstanceLimitExceeded"
        | "VcpuLimitExceeded" => Fault::Later(Later::Capacity, None),
        "IncorrectInstanceState" | "IncorrectState" | "ResourceBusy" => {
            Fault::Later(Later::Busy, None)
        }
        "RequestLimitExceeded" | "Throttling" | "ThrottlingException" => {
            Fault::Later(Later::Rate, None)
        }
        "InternalError" | "InternalFailure" | "Unavailable" | "ServiceUnavailable" => {
            Fault::Later(Later::Server, None)
        }
        "AuthFailure"
        | "UnauthorizedOperation"
        | "AccessDenied"
        | "Blocked"
        | "ExpiredToken"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "OptInRequired"
        | "PendingVerification"
        | "RequestExpired"
        | "SignatureDoesNotMatch" => Fault::Refused,
        "InvalidInstanceID.NotFound" => Fault::Gone,
        _ => return None,
    })
}

/// How the instance is, out of the answer to any of the three; `None` when it is no such answer.
fn read(document: &Document<'_>, id: &str) -> Option<Report> {
    let is_it = |node: &Node<'_, '_>| {
        node.is_element() && child(*node, "instanceId").is_some_and(|found| found.trim() == id)
    };
    let Some(item) = document.descendants().find(is_it) else {
        // Nobody's: of an instance that has been gone for an hour there is nothing.
        let is_list = document.root_element().has_tag_name_of("DescribeInstancesResponse");
        let is_empty = !document.descendants().any(|node| node.has_tag_name_of("instanceId"));
        return (is_list && is_empty).then(|| State::Gone.into());
    };
    let state = ["instanceState", "currentState"].iter().find_map(|name| {
        let state = item.children().find(|node| node.has_tag_name_of(name))?;
        child(state, "name")
    })?;
    let state = match state.trim() {
        "pending" => State::Starting,
        "running" => State::On,
        "stopping" => State::Stopping,
        "stopped" => State::Off,
        "shutting-down" | "terminated" => State::Gone,
        _ => return None,
    };
    let address = ["ipAddress", "ipv6Address"].iter().find_map(|name| address(child(item, name)?));
    Some(Report::new(state, address))
}

fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok()
}

/// In whatever name space: it holds the version.
trait Tag {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl Tag for Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

/// The text of a child.
fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.has_tag_name_of(name))?.text()
}

/// The text of the first element of that name.
fn text_of<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.descendants().find(|child| child.has_tag_name_of(name))?.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "i-0123456789abcdef0";

    fn told(state: &str, more: &str) -> String {
        format!(
            "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><reservationSet><item>\
             <instancesSet><item><instanceId>{ID}</instanceId><instanceState><code>0</code><name>{state}</name>\
             </instanceState>{more}<networkInterfaceSet><item><association><publicIp>192.0.2.1</publicIp>\
             </association></item></networkInterfaceSet></item></instancesSet></item></reservationSet>\
             </DescribeInstancesResponse>"
        )
    }

    #[test]
    fn an_instance_is_read_out_of_each_answer() {
        let ip = "<ipAddress>198.51.100.7</ipAddress>";
        let six = "<ipv6Address>2001:db8::7</ipv6Address>";
        let start = format!(
            "<StartInstancesResponse><instancesSet><item><instanceId>{ID}</instanceId><currentState><code>0</code>\
             <name>pending</name></currentState><previousState><code>80</code><name>stopped</name></previousState>\
             </item></instancesSet></StartInstancesResponse>"
        );
        for (xml, want) in [
            (told("pending", ""), Some((State::Starting, None))),
            (told("running", ip), Some((State::On, Some("198.51.100.7")))),
            (told("running", &format!("{six}{ip}")), Some((State::On, Some("198.51.100.7")))),
            (told("running", six), Some((State::On, Some("2001:db8::7")))),
            (told("running", "<ipAddress>nowhere</ipAddress>"), Some((State::On, None))),
            (told("stopping", ip), Some((State::Stopping, None))),
            (told("stopped", ""), Some((State::Off, None))),
            (told("terminated", ""), Some((State::Gone, None))),
            (told("dancing", ""), None),
            (told("running", ip).replace(ID, "i-0"), None),
            (start, Some((State::Starting, None))),
            (
                "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>".into(),
                Some((State::Gone, None)),
            ),
            ("<html><body>Sign in</body></html>".into(), None),
        ] {
            let found = read(&Document::parse(&xml).unwrap(), ID);
            let want = want.map(|(state, address)| Report {
                state,
                address: address.map(|address| address.parse().unwrap()),
            });
            assert_eq!(found, want, "{xml}");
        }
    }

    #[test]
    fn an_error_is_whose_fault_it_is() {
        for (code, want) in [
            ("InsufficientInstanceCapacity", Some(Fault::Later(Later::Capacity, None))),
            ("IncorrectInstanceState", Some(Fault::Later(Later::Busy, None))),
            ("RequestLimitExceeded", Some(Fault::Later(Later::Rate, None))),
            ("SignatureDoesNotMatch", Some(Fault::Refused)),
            ("RequestExpired", Some(Fault::Refused)),
            ("InvalidInstanceID.NotFound", Some(Fault::Gone)),
            ("InvalidInstanceID.Malformed", None),
        ] {
            assert_eq!(fault(code), want, "{code}");
        }
    }

    #[test]
    fn a_region_has_its_address() {
        assert_eq!(endpoint("eu-central-1"), "https://ec2.eu-central-1.amazonaws.com");
        assert_eq!(endpoint("cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn");
    }
}
