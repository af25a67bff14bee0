//! `linkprobe check-config`: what is wrong with each `[[link]]`, found on this machine and without a packet,
//! and how its line is now. `bastion check` runs it.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use notifier::channel::http::read_ca_file;
use notifier::exit::{Failure, print};
use notifier::foreign;

use crate::check::chosen;
use crate::config::{Link, Settings};
use crate::line::{Line, LineError, Trouble};
use crate::reach::{self, Hint};
use crate::resolvers::{self, Found};

/// Says how each line of the file at `path` is now, and what is wrong with the file, or that nothing is; answers
/// the exit code.
///
/// # Errors
///
/// All findings, a line each.
pub fn check_config(path: &Path) -> Result<u8, Failure> {
    let settings = Settings::load(path).map_err(Failure::config)?;
    let mut found = Vec::new();
    let mut last = "nothing is wrong with what linkprobe does";
    for link in chosen(&settings, None)? {
        let line = Line::of(link);
        let trouble = line.trouble();
        found.extend(findings(link, trouble.as_ref()));
        // What is missing is among the findings, and that is all there is to say.
        let now = match trouble {
            Some(trouble) if missing(&trouble).is_some() => continue,
            Some(trouble) => Err(trouble.to_string()),
            None => look(link, &line),
        };
        let said = now.unwrap_or_else(|why| {
            last = "nothing is wrong in the file; see above what is not ready now";
            format!("not ready now: {why}")
        });
        print(&format!("link {}: {said}\n", link.name));
    }
    Failure::all(found.into_iter().map(Failure::config).collect())?;
    print(&format!("{}: {last}\n", path.display()));
    Ok(0)
}

/// What the file alone does not show. That a line is down is no mistake in the file.
fn findings(link: &Link, trouble: Option<&Trouble>) -> Vec<String> {
    let missing = trouble.and_then(missing);
    let certificates = link.ca_file.as_deref().map(read_ca_file).and_then(Result::err);
    let certificates = certificates.map(|why| format!("ca-file: {why}"));
    let found = missing.into_iter().chain(certificates);
    found.map(|what| format!("link {}: {what}", link.name)).collect()
}

/// What this machine has not at all: it may be misspelt.
fn missing(trouble: &Trouble) -> Option<String> {
    match trouble {
        Trouble::NoInterface(_) => Some(format!("interface: {trouble}")),
        Trouble::NotOurs(_) => Some(format!("source: {trouble}")),
        Trouble::InterfaceDown(_) | Trouble::NoAddress(_) | Trouble::NoRoute { .. } => None,
    }
}

/// How a line is used that is ready, or why it is not, as far as this machine knows.
fn look(link: &Link, line: &Line) -> Result<String, String> {
    let found = match &link.resolvers {
        Some(servers) => Found { servers: servers.clone(), from: String::new() },
        None => resolvers::find(line, !link.targets.is_empty()),
    };
    if let Some(hint) = reach::foresee(line, &found.servers, &link.targets) {
        return Err(by_main_table(&hint, || has_more_tables(&read_tables())));
    }
    let asked = || found.servers.iter().chain(&link.targets).map(SocketAddr::ip);
    let address = asked().find(|to| line.reaches(*to)).map(|to| line.address_towards(to));
    match (&address, asked().next().map(|to| line.address_towards(to))) {
        (None, Some(Err(LineError::Line(trouble)))) => Err(trouble.to_string()),
        _ => Ok(ready(line, address.and_then(Result::ok), &found)),
    }
}

/// A hint, which knows the main routing table alone.
fn by_main_table(hint: &Hint, has_more: impl FnOnce() -> bool) -> String {
    if matches!(hint, Hint::NoCarrier(_)) || !has_more() {
        return hint.to_string();
    }
    format!("{hint} (routes of other tables, which \"ip rule\" lists, are not seen here)")
}

/// Most that is read of the routing tables, in bytes: a machine that has all routes of the internet has more.
const MAX_TABLES: u64 = 1024 * 1024;

/// The routing tables of IPv4, as the kernel shows all of them; nothing where it does not.
fn read_tables() -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open("/proc/net/fib_trie") {
        let _ = file.take(MAX_TABLES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether there are tables beside the main one and that of the machine's own addresses (net/ipv4/fib_trie.c,
/// `fib_table_print`).
fn has_more_tables(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("Id "))
}

/// The way of a line that is ready: `by wwan0, 98.97.32.2, asks the name server 203.0.113.53`.
fn ready(line: &Line, address: Option<IpAddr>, found: &Found) -> String {
    let shown = |address: Option<IpAddr>| address.map(|address| address.to_string());
    let by = match (&line.interface, line.source) {
        (Some(name), source) => [Some(format!("by {name}")), shown(source.or(address))],
        (None, Some(source)) => [Some(format!("from {source}")), None],
        (None, None) => [Some("by the default route".to_owned()), shown(address)],
    };
    let by: Vec<String> = by.into_iter().flatten().collect();
    let name = |server: &SocketAddr| match server.port() {
        53 => server.ip().to_string(),
        _ => server.to_string(),
    };
    let names: Vec<String> = found.servers.iter().map(name).collect();
    let asks = match names.as_slice() {
        [] => "asks no name server".to_owned(),
        [one] => format!("asks the name server {one}"),
        all => format!("asks the name servers {}", all.join(", ")),
    };
    let from = match found.from.as_str() {
        "" => String::new(),
        from => format!(" ({})", foreign::visible(from.as_bytes())),
    };
    format!("{}, {asks}{from}", by.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(keys: &str) -> Link {
        let text = format!("[[link]]\nname = \"backup\"\n{keys}");
        Settings::parse(&text).unwrap().links.remove(0)
    }

    #[test]
    fn what_the_machine_lacks_is_found_and_each_line_is_named() {
        let found = |keys: &str| {
            let link = link(keys);
            findings(&link, Line::of(&link).trouble().as_ref())
        };
        assert_eq!(found("interface = \"lo\""), Vec::<String>::new());
        let two = found("interface = \"nosuch0\"\nca-file = \"/nonexistent/ca.pem\"");
        assert_eq!(two.len(), 2, "{two:?}");
        assert!(two[0].starts_with("link backup: interface: there is no interface nosuch0"));
        assert!(two[1].starts_with("link backup: ca-file: /nonexistent/ca.pem"), "{two:?}");
        let one = found("source = \"192.0.2.99\"");
        assert_eq!(one, ["link backup: source: no interface has the address 192.0.2.99"]);
    }

    #[test]
    fn what_may_be_misspelt_is_a_mistake_and_how_a_line_is_now_is_none() {
        let (name, to) = (|| "wwan0".to_owned(), "192.0.2.53".parse().unwrap());
        let table = [
            (Trouble::NoInterface(name()), Some("interface: there is no interface wwan0")),
            (Trouble::NotOurs(to), Some("source: no interface has the address 192.0.2.53")),
            (Trouble::InterfaceDown(name()), None),
            (Trouble::NoAddress(name()), None),
            (Trouble::NoRoute { interface: Some(name()), to }, None),
        ];
        for (trouble, want) in table {
            let found = missing(&trouble);
            assert_eq!(found.is_some(), want.is_some(), "{trouble}");
            assert!(found.unwrap_or_default().starts_with(want.unwrap_or_default()), "{trouble}");
        }
    }

    #[test]
    fn a_line_that_is_ready_is_told_as_it_was_read() {
        let table = [
            (
                Some("wwan0"),
                None,
                Some("98.97.32.2"),
                &["203.0.113.53:53"][..],
                "",
                "by wwan0, 98.97.32.2, asks the name server 203.0.113.53",
            ),
            (
                Some("wwan0"),
                None,
                None,
                &["203.0.113.53:5353", "[2001:db8::53]:53"],
                "resolvectl",
                "by wwan0, asks the name servers 203.0.113.53:5353, 2001:db8::53 (resolvectl)",
            ),
            (
                None,
                Some("192.0.2.10"),
                Some("192.0.2.10"),
                &["203.0.113.53:53"],
                "/run/a\nb",
                "from 192.0.2.10, asks the name server 203.0.113.53 (/run/a\\x0ab)",
            ),
            (
                None,
                None,
                Some("192.0.2.10"),
                &[],
                "",
                "by the default route, 192.0.2.10, asks no name server",
            ),
        ];
        for (interface, source, address, servers, from, want) in table {
            let address_of = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            let interface = interface.map(str::to_owned);
            let line = Line { interface, source: address_of(source) };
            let servers = servers.iter().map(|server| server.parse().unwrap()).collect();
            let found = Found { servers, from: from.to_owned() };
            assert_eq!(ready(&line, address_of(address), &found), want);
        }
    }

    #[test]
    fn what_the_main_table_alone_says_is_told_as_that_where_there_are_more() {
        let one = "Main:\n  +-- 0.0.0.0/0 3 0 5\nLocal:\n  +-- 0.0.0.0/0 3 0 5\n";
        let two = format!("Id 200:\n  |-- 0.0.0.0\n     /0 universe UNICAST\n{one}");
        let unseen = " (routes of other tables, which \"ip rule\" lists, are not seen here)";
        let (carrier, strict) =
            (Hint::NoCarrier("wwan0".into()), Hint::StrictFilter("wwan0".into()));
        let to = "192.0.2.53".parse().unwrap();
        let route = Hint::NoRoute(Trouble::NoRoute { interface: Some("wwan0".into()), to });
        for (hint, tables, more) in [
            (&strict, "", ""),
            (&strict, one, ""),
            (&strict, &two, unseen),
            (&route, one, ""),
            (&route, &two, unseen),
            (&carrier, &two, ""),
        ] {
            let said = by_main_table(hint, || has_more_tables(tables));
            assert_eq!(said, format!("{hint}{more}"), "{tables}");
        }
    }

    #[test]
    fn a_line_of_this_machine_is_read_and_one_without_a_way_is_not_ready() {
        let look = |keys: &str| {
            let link = link(keys);
            look(&link, &Line::of(&link))
        };
        let own = "source = \"127.0.0.1\"\nresolvers = [\"127.0.0.9\"]";
        let want = "from 127.0.0.1, asks the name server 127.0.0.9";
        assert_eq!(look(own), Ok(want.to_owned()));
        let why = look("interface = \"lo\"\nresolvers = [\"192.0.2.53\"]").unwrap_err();
        assert!(why.starts_with("it seems that no route leads to 192.0.2.53 by lo"), "{why}");
    }
}
