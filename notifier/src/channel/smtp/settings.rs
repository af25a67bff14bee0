//! The section of a channel of type `smtp`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;

use super::Smtp;
use super::attempt::Attempts;
use super::dialog::{Names, Security, Server, Trust};
use crate::channel::http::Redactor;
use crate::channel::secret::Secret;
use crate::channel::{Channel, Secrets};
use crate::config::{Section, Value};

/// Longest host name (RFC 1035, 2.3.4), and longest name beside an address.
const MAX_NAME: usize = 253;

/// The words of `tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    /// `starttls`.
    Required,
    /// `implicit`.
    Implicit,
    /// `none`.
    None,
}

/// Reads the section of a channel of this type.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Box<dyn Channel>> {
    let before = section.findings();
    let host = section.need("host").parse("host", parse_host);
    let tls = section.parse("tls", parse_tls);
    let port = section.get::<u32>("port").and_then(|port| match u16::try_from(port.value) {
        Ok(number @ 1..) => Some(number),
        _ => {
            section.reject("port", &port, "1 to 65535; mail is handed in on 587 or 465");
            None
        }
    });
    let username = section.parse("username", parse_username);
    let password =
        section.parse("password-file", |file| secrets.read(file)).map(|password| password.value);
    let from = section.need("from").parse("from", parse_mailbox);
    let envelope_from = section.parse("envelope-from", parse_envelope_from);
    let so_far = section.findings();
    let to = section.need("to").parse_list("to", |text| parse_address(text).map(|_| text.into()));
    // Of a wrong one it has been said what is wrong with it.
    if to.as_ref().is_some_and(Vec::is_empty) && section.findings() == so_far {
        section.reject_section("to is empty; write at least one address");
    }
    let ca_file = section.parse("ca-file", parse_ca_file).map(|file| file.value);
    let hello = section.parse("hello", parse_hello).map_or_else(own_name, |hello| hello.value);

    let mode = tls.as_ref().map_or(Tls::Required, |tls| tls.value);
    if let (Tls::None, Some(tls)) = (mode, &tls) {
        refuse_in_clear(section, tls, host.as_ref(), username.as_ref());
    }
    if username.is_some() != password.is_some() && section.findings() == before {
        section.reject_section("username and password-file belong together; write both or none");
    }
    if section.findings() != before {
        return None;
    }
    let (host, from) = (host?.value, from?.value);
    let sign_in = username.map(|username| username.value).zip(password);
    let display = Redactor::new(&sign_in.as_ref().map(as_sent).unwrap_or_default());
    let names = Names {
        host,
        port: port.unwrap_or(if mode == Tls::Implicit { 465 } else { 587 }),
        signs_in: sign_in.is_some(),
        greets_in_clear: mode != Tls::Implicit,
    };
    let credentials =
        sign_in.map(|(name, password)| Credentials::new(name, password.expose().to_owned()));
    let trust = Trust { ca_file, credentials };
    let security = match mode {
        Tls::Required => Security::StartTls(trust),
        Tls::Implicit => Security::Implicit(trust),
        Tls::None => Security::None,
    };
    Some(Box::new(Smtp {
        server: Arc::new(Server { names, security, hello, display }),
        envelope_from: envelope_from.map_or_else(|| Some(from.email.clone()), |from| from.value),
        from,
        to: to?.into_iter().map(|to| to.value).collect(),
        attempts: Attempts::default(),
    }))
}

/// The password in each form in which it goes over the line: as it is, and in base64 by itself
/// (AUTH LOGIN) and with the name (AUTH PLAIN, RFC 4616).
fn as_sent((name, password): &(String, Secret)) -> Vec<Secret> {
    let password_text = password.expose();
    let plain = format!("\0{name}\0{password_text}");
    // Longest first: one that holds another is taken out whole.
    vec![
        Secret::new(BASE64.encode(plain)),
        Secret::new(BASE64.encode(password_text)),
        password.clone(),
    ]
}

/// In clear goes nothing off this machine, and no password at all.
fn refuse_in_clear(
    section: &mut Section<'_, '_>,
    tls: &Value<Tls>,
    host: Option<&Value<String>>,
    username: Option<&Value<String>>,
) {
    if host.is_some_and(|host| !is_local(&host.value)) {
        section.reject("tls", tls, "mail would go over the network in clear; write starttls");
    } else if username.is_some() {
        section.reject(
            "tls",
            tls,
            "a password never goes in clear; write starttls, or no username",
        );
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A host's name or address.
fn parse_host(text: &str) -> Result<String, String> {
    if is_name(text) || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no host; write its name or address, without a port"))
}

/// Letters, digits and hyphens between dots: a name that can hold nothing else.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    };
    text.len() <= MAX_NAME && text.split('.').all(label)
}

fn parse_tls(text: &str) -> Result<Tls, String> {
    match text {
        "starttls" => Ok(Tls::Required),
        "implicit" => Ok(Tls::Implicit),
        "none" => Ok(Tls::None),
        _ => Err(format!("{text:?} is none of starttls, implicit, none")),
    }
}

fn parse_username(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("has to be the name that the server knows, on one line");
    }
    Ok(text.to_owned())
}

fn parse_address(text: &str) -> Result<Address, String> {
    let wrong = || {
        format!(
            "{text:?} is no address; write name@host.example, in ASCII (xn--.. for other letters)"
        )
    };
    // What is not ASCII needs SMTPUTF8, which few servers have.
    if !text.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

/// `name@host.example`, or `A name <name@host.example>`.
fn parse_mailbox(text: &str) -> Result<Mailbox, String> {
    if text.len() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(format!(
            "{text:?} is no sender; write it on one line: Name <name@host.example>"
        ));
    }
    match text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((name, address)) => {
            let name = name.trim().trim_matches('"');
            let name = (!name.is_empty()).then(|| name.to_owned());
            Ok(Mailbox::new(name, parse_address(address)?))
        }
        None => Ok(Mailbox::new(None, parse_address(text)?)),
    }
}

fn parse_envelope_from(text: &str) -> Result<Option<Address>, String> {
    if text == "<>" { Ok(None) } else { parse_address(text).map(Some) }
}

fn parse_ca_file(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err(format!("{text:?} is no absolute path; it has to start with a /"));
    }
    let trust = Trust { ca_file: Some(text.into()), credentials: None };
    match trust.parameters("localhost") {
        Ok(_) => Ok(text.into()),
        Err(failure) => Err(failure.wrong().to_owned()),
    }
}

fn parse_hello(text: &str) -> Result<ClientId, String> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        _ if is_name(text) => Ok(ClientId::Domain(text.to_owned())),
        Some(address) => match address.trim_start_matches("IPv6:").parse() {
            Ok(IpAddr::V4(ip)) => Ok(ClientId::Ipv4(ip)),
            Ok(IpAddr::V6(ip)) => Ok(ClientId::Ipv6(ip)),
            Err(_) => Err(format!("{text:?} holds no address")),
        },
        None => Err(format!("{text:?} is no host name; write this machine's, or [its address]")),
    }
}

/// This machine's name, where the kernel has one that can be said to a server.
fn own_name() -> ClientId {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        name if is_name(name) => ClientId::Domain(name.to_owned()),
        _ => ClientId::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_settings_can_hold_a_second_line() {
        for bad in
            ["", "a b", "mx\r\nQUIT", "mx.example:25", "-", "mx..example", "h\u{e9}", "[::1]"]
        {
            let name_like = bad == "-";
            assert_eq!(parse_host(bad).is_ok(), name_like, "{bad:?}");
        }
        for good in ["mx.example", "192.0.2.1", "::1", "localhost"] {
            assert!(parse_host(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ops",
            "ops@",
            "@example.org",
            "ops@example.org\r\nBcc: x@y.z",
            "ops@example.org, dev@example.org",
            "ops@example.org>",
            "<ops@example.org>",
            "ops @example.org",
            "gr\u{f6}\u{df}e@example.org",
            "ops@example.org\0",
        ] {
            assert!(parse_address(bad).is_err(), "{bad:?}");
        }
        assert!(parse_address("ops@xn--mnchen-3ya.example").is_ok());
        let why = parse_address("ops@m\u{fc}nchen.example").unwrap_err();
        assert!(why.contains("xn--"), "{why}");
        for bad in ["A\nB <a@b.example>", "a@b.example\r\nBcc: c@d.example", "A <a b@c.example>"] {
            assert!(parse_mailbox(bad).is_err(), "{bad:?}");
        }
        for bad in ["a\nb", "a b", "[1.2.3]", ""] {
            assert!(parse_hello(bad).is_err(), "{bad:?}");
        }
        assert!(parse_username("a\nb").is_err());
    }

    #[test]
    fn a_sender_has_a_name_or_none_and_may_want_no_bounces() {
        let table = [
            ("bastion@jump.example", "bastion@jump.example"),
            ("Bastion <bastion@jump.example>", "Bastion <bastion@jump.example>"),
            ("\"B, astion\" <b@jump.example>", "\"B, astion\" <b@jump.example>"),
            ("<b@jump.example>", "b@jump.example"),
        ];
        for (text, want) in table {
            assert_eq!(parse_mailbox(text).unwrap().to_string(), want);
        }
        assert_eq!(parse_envelope_from("<>"), Ok(None));
        assert!(parse_envelope_from("bounces@example.org").unwrap().is_some());
        assert!(parse_envelope_from("").is_err());
    }

    #[test]
    fn the_password_is_known_in_each_form_in_which_it_is_sent() {
        let secrets = as_sent(&("alice".into(), Secret::new("hunter2hunter2".into())));
        let display = Redactor::new(&secrets);
        // printf '\0alice\0hunter2hunter2' | base64; printf hunter2hunter2 | base64
        let said = "AGFsaWNlAGh1bnRlcjJodW50ZXIy aHVudGVyMmh1bnRlcjI= hunter2hunter2 alice";
        assert_eq!(display.shown(said), "<redacted> <redacted> <redacted> alice");
    }

    #[test]
    fn in_clear_means_this_machine() {
        for (host, local) in
            [("localhost", true), ("127.0.0.1", true), ("::1", true), ("mx.example", false)]
        {
            assert_eq!(is_local(host), local, "{host}");
        }
    }
}
