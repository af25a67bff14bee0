//! `resolvers = "auto"`: the name servers that the line itself was given.
//!
//! They are asked for by whoever configures the interface, as each writes it down in a place of its own.
//! What the whole machine uses may be another line's, which answers nobody here, so that comes after
//! them; and what everybody may use comes last, because somebody has to be asked.

mod ask;
pub mod parse;

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

use crate::line::Line;
use crate::reach::routes::Routes;

/// Who everybody may ask: Cloudflare and Quad9, who do not belong together.
const PUBLIC: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
    IpAddr::V6(Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 9)),
];

/// Most that are asked: resolv.conf(5) takes three, and two families may have some each.
const MOST: usize = 4;

/// Most that is read of a file, in bytes: dhclient's grows by half a KiB each time that a lease is renewed,
/// until it starts anew.
const MAX_FILE: u64 = 1024 * 1024;

/// Name servers, and who says that they are the line's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whom to ask.
    pub servers: Vec<SocketAddr>,
    /// Where that stands, for a person.
    pub from: String,
}

/// Finds those of a line. `has_targets` is whether others are tried who are no name servers: else
/// there has to be one beyond the line's own network, as a router answers what it remembers although
/// its line is dead.
#[must_use]
pub fn find(line: &Line, has_targets: bool) -> Found {
    let own = line.interface.as_deref().and_then(|name| of_interface(Path::new("/"), name));
    let own = own.or_else(|| line.interface.as_deref().and_then(ask::ask));
    let mut found = match own.or_else(|| of_machine(Path::new("/"))) {
        Some(found) => found,
        None => return public(line, "nobody knows of any: public ones"),
    };
    found.servers.truncate(MOST);
    let routes = Routes::read();
    let is_near = |server: &SocketAddr| routes.is_near(line.interface.as_deref(), server.ip());
    if !has_targets && found.servers.iter().all(is_near) {
        let more = public(line, "");
        found.servers.extend(more.servers);
        found.from += ", which is on this side of the line; and public ones";
    }
    found
}

/// The public ones that the line has a way to; all of IPv4 where it has none.
fn public(line: &Line, from: &str) -> Found {
    let at = |address: &IpAddr| SocketAddr::new(*address, 53);
    let mut servers: Vec<SocketAddr> =
        PUBLIC.iter().filter(|address| line.reaches(**address)).map(at).collect();
    if servers.is_empty() {
        servers = PUBLIC.iter().filter(|address| address.is_ipv4()).map(at).collect();
    }
    Found { servers, from: from.to_owned() }
}

/// What the files of whoever configures interfaces say of this one.
fn of_interface(root: &Path, name: &str) -> Option<Found> {
    let index = read(&root.join("sys/class/net").join(name).join("ifindex"));
    let index: u32 = String::from_utf8_lossy(&index).trim().parse().unwrap_or(0);
    let found = |path: &Path, addresses: &[IpAddr]| {
        let servers = usable(addresses, index);
        let from = path.display().to_string();
        (!servers.is_empty()).then_some(Found { servers, from })
    };
    let text = |path: PathBuf, parse: &dyn Fn(&str) -> Vec<IpAddr>| {
        let text = String::from_utf8_lossy(&read(&path)).into_owned();
        found(&path, &parse(&text))
    };
    // systemd-networkd: what is in force, and what DHCP has given.
    for dir in ["links", "leases"] {
        let path = root.join("run/systemd/netif").join(dir).join(index.to_string());
        if let Some(found) = text(path, &parse::networkd) {
            return Some(found);
        }
    }
    // resolvconf and openresolv keep what each program said of an interface; dhcpcd does it by itself.
    for dir in [
        "run/resolvconf/interface",
        "run/resolvconf/interfaces",
        "run/dhcpcd/hook-state/resolv.conf",
    ] {
        for path in files(&root.join(dir), |file| {
            file == name || file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
        }) {
            if let Some(found) = text(path, &parse::resolv_conf) {
                return Some(found);
            }
        }
    }
    // dhclient, by itself and under NetworkManager.
    for dir in ["var/lib/dhcp", "var/lib/NetworkManager", "var/lib/dhclient"] {
        for path in files(&root.join(dir), |file| is_dhclients(file, name)) {
            if let Some(found) = text(path, &|text| parse::dhclient(text, name)) {
                return Some(found);
            }
        }
    }
    for dir in ["var/lib/dhcpcd", "var/lib/dhcpcd5"] {
        for path in files(&root.join(dir), |file| is_dhcpcds(file, name)) {
            if let Some(found) = found(&path, &parse::dhcp_packet(&read(&path))) {
                return Some(found);
            }
        }
    }
    if name.starts_with("ppp") {
        return text(root.join("etc/ppp/resolv.conf"), &parse::resolv_conf);
    }
    None
}

/// `dhclient.leases`, `dhclient.wwan0.leases`, `dhclient-<uuid>-wwan0.lease`, `internal-<uuid>-wwan0.lease`.
fn is_dhclients(file: &str, interface: &str) -> bool {
    let of_all = ["dhclient.leases", "dhclient6.leases"].contains(&file);
    let (stem, kind) = file.rsplit_once('.').unwrap_or(("", ""));
    let ours = stem.ends_with(&format!(".{interface}")) || stem.ends_with(&format!("-{interface}"));
    of_all || (ours && (kind == "lease" || kind == "leases"))
}

/// `wwan0.lease`, `wlan0-Home.lease`, `dhcpcd-wwan0.lease`.
fn is_dhcpcds(file: &str, interface: &str) -> bool {
    let stem = file.strip_suffix(".lease").unwrap_or_default();
    let stem = stem.strip_prefix("dhcpcd-").unwrap_or(stem);
    stem.strip_prefix(interface).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Those of the whole machine, without a stub of its own: behind that stands who knows which line.
fn of_machine(root: &Path) -> Option<Found> {
    ["etc/resolv.conf", "run/systemd/resolve/resolv.conf", "run/NetworkManager/no-stub-resolv.conf"]
        .iter()
        .find_map(|file| {
            let path = root.join(file);
            let text = String::from_utf8_lossy(&read(&path)).into_owned();
            let servers = usable(&parse::resolv_conf(&text), 0);
            let from = format!("{}, which is for the whole machine", path.display());
            (!servers.is_empty()).then_some(Found { servers, from })
        })
}

/// Whom of them packets can go to by an interface; 0 is none.
fn usable(addresses: &[IpAddr], index: u32) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        let server = match address {
            IpAddr::V6(six) if six.is_unicast_link_local() => {
                SocketAddrV6::new(*six, 53, 0, index).into()
            }
            other => SocketAddr::new(*other, 53),
        };
        let has_way =
            index > 0 || !matches!(server, SocketAddr::V6(six) if six.ip().is_unicast_link_local());
        let is_one = !address.is_loopback() && !address.is_unspecified() && !address.is_multicast();
        if has_way && is_one && !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

/// The files of a directory with such names, the newest first.
fn files(dir: &Path, is_one: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_one));
    let mut found: Vec<_> = ours
        .map(|entry| (entry.metadata().and_then(|meta| meta.modified()).ok(), entry.path()))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let is_file = fs::metadata(path).is_ok_and(|meta| meta.is_file());
    if let (true, Ok(file)) = (is_file, File::open(path)) {
        let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests;
