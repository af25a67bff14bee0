//! `linkprobe check-config`: what is wrong with each `[[link]]`, found on this machine and without a packet.
//! `bastion check` runs it.

use std::path::Path;

use notifier::channel::http::read_ca_file;
use notifier::exit::{Failure, print};

use crate::check::chosen;
use crate::config::{Link, Settings};
use crate::line::{Line, Trouble};

/// Says what is wrong with the file at `path`, or that nothing is; answers the exit code.
///
/// # Errors
///
/// All findings, a line each.
pub fn check_config(path: &Path) -> Result<u8, Failure> {
    let settings = Settings::load(path).map_err(Failure::config)?;
    let links = chosen(&settings, None)?;
    let found: Vec<String> = links.into_iter().flat_map(findings).collect();
    Failure::all(found.into_iter().map(Failure::config).collect())?;
    print(&format!("{}: nothing is wrong with what linkprobe does\n", path.display()));
    Ok(0)
}

/// What the file alone does not show. That a line is down is no mistake in the file.
fn findings(link: &Link) -> Vec<String> {
    let missing = match Line::of(link).trouble() {
        Some(trouble @ Trouble::NoInterface(_)) => Some(format!("interface: {trouble}")),
        Some(trouble @ Trouble::NotOurs(_)) => Some(format!("source: {trouble}")),
        _ => None,
    };
    let certificates = link.ca_file.as_deref().map(read_ca_file).and_then(Result::err);
    let certificates = certificates.map(|why| format!("ca-file: {why}"));
    let found = missing.into_iter().chain(certificates);
    found.map(|what| format!("link {}: {what}", link.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacks_is_found_and_each_line_is_named() {
        let found = |keys: &str| {
            let text = format!("[[link]]\nname = \"backup\"\n{keys}");
            let settings = Settings::parse(&text).unwrap();
            findings(&settings.links[0])
        };
        assert_eq!(found("interface = \"lo\""), Vec::<String>::new());
        let two = found("interface = \"nosuch0\"\nca-file = \"/nonexistent/ca.pem\"");
        assert_eq!(two.len(), 2, "{two:?}");
        assert!(two[0].starts_with("link backup: interface: there is no interface nosuch0"));
        assert!(two[1].starts_with("link backup: ca-file: /nonexistent/ca.pem"), "{two:?}");
        let one = found("source = \"192.0.2.99\"");
        assert_eq!(one, ["link backup: source: no interface has the address 192.0.2.99"]);
    }
}
