//! Who writes down name servers, each in a way of its own. Pure.

use std::net::{IpAddr, Ipv4Addr};

/// `DNS=` of systemd-networkd's files on a link and on a lease: `DNS=192.0.2.53 2001:db8::53`, where an
/// address may have a port and a name behind it.
#[must_use]
pub fn networkd(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("DNS="));
    lines.flat_map(str::split_whitespace).filter_map(address).collect()
}

/// `nameserver` of resolv.conf(5).
#[must_use]
pub fn resolv_conf(text: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next())?.and_then(address)
    };
    text.lines().filter_map(line).collect()
}

/// The name servers of an interface's last leases in dhclient.leases(5).
#[must_use]
pub fn dhclient(text: &str, interface: &str) -> Vec<IpAddr> {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    let (mut of_ours, mut found) = (false, Vec::new());
    for line in text.lines() {
        let line = line.trim().trim_end_matches(';');
        if line.starts_with("lease") && line.ends_with('{') {
            (of_ours, found) = (false, Vec::new());
        } else if let Some(name) = line.strip_prefix("interface ") {
            of_ours = name.trim().trim_matches('"') == interface;
        } else if let Some(list) = line.strip_prefix("option domain-name-servers ") {
            found = list.split(',').filter_map(|word| address(word.trim())).collect();
        } else if let Some(list) = line.strip_prefix("option dhcp6.name-servers ") {
            found = list.split(',').filter_map(|word| address(word.trim())).collect();
        }
        // A lease of IPv6 has braces within; what counts stands at its end, outside of them.
        if line == "}" && of_ours && !found.is_empty() {
            let is_six = found.first().is_some_and(IpAddr::is_ipv6);
            *(if is_six { &mut six } else { &mut four }) = found.clone();
        }
    }
    four.extend(six);
    four
}

/// Option 6 of a DHCP packet as it came (RFC 2131, RFC 2132), which is what dhcpcd keeps.
#[must_use]
pub fn dhcp_packet(packet: &[u8]) -> Vec<IpAddr> {
    const COOKIE: [u8; 4] = [99, 130, 83, 99];
    let Some(options) = packet.get(236..).and_then(|rest| rest.strip_prefix(&COOKIE[..])) else {
        return Vec::new();
    };
    let (mut rest, mut found) = (options, Vec::new());
    while let [kind, behind @ ..] = rest {
        match kind {
            0 => rest = behind,
            255 => break,
            _ => {
                let Some((length, behind)) = behind.split_first() else { break };
                let Some((value, behind)) = behind.split_at_checked(usize::from(*length)) else {
                    break;
                };
                if *kind == 6 {
                    let addresses = value.chunks_exact(4);
                    found.extend(
                        addresses.map(|a| IpAddr::from(Ipv4Addr::new(a[0], a[1], a[2], a[3]))),
                    );
                }
                rest = behind;
            }
        }
    }
    found
}

/// What `resolvectl dns wwan0` prints: `Link 3 (wwan0): 192.0.2.53 2001:db8::53`.
#[must_use]
pub fn resolvectl(text: &str) -> Vec<IpAddr> {
    let lists = text.lines().filter_map(|line| line.strip_prefix("Link ")?.split_once("): "));
    lists.flat_map(|(_, list)| list.split_whitespace()).filter_map(address).collect()
}

/// What `nmcli -t -e no -f IP4.DNS,IP6.DNS device show wwan0` prints: `IP4.DNS[1]:192.0.2.53`.
#[must_use]
pub fn nmcli(text: &str) -> Vec<IpAddr> {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        let is_dns = key.starts_with("IP4.DNS") || key.starts_with("IP6.DNS");
        if is_dns { address(value.trim()) } else { None }
    };
    text.lines().filter_map(value).collect()
}

/// `192.0.2.53`, `192.0.2.53:53#dns.example`, `[2001:db8::53]:53`, `fe80::1%wwan0`. Another port than 53 is
/// for what is not DNS over UDP.
fn address(word: &str) -> Option<IpAddr> {
    let word = word.split('#').next().unwrap_or_default();
    if let Some((inside, behind)) = word.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (behind.is_empty() || behind == ":53").then(|| inside.parse().ok())?;
    }
    let word = word.split('%').next().unwrap_or_default();
    let plain = word.parse::<IpAddr>().ok();
    plain.or_else(|| word.strip_suffix(":53")?.parse::<Ipv4Addr>().ok().map(IpAddr::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(found: &[IpAddr]) -> String {
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn systemd_s_files_are_read() {
        let link = "# This is private data. Do not parse.\nADMIN_STATE=configured\nOPER_STATE=routable\n\
                    NETWORK_FILE=/etc/systemd/network/wwan0.network\nREQUIRED_FOR_ONLINE=yes\n\
                    DNS=192.0.2.53 2001:db8::53 192.0.2.54:53#dns.example [2001:db8::54]:53 \
                    192.0.2.55:853#dot.example fe80::1%wwan0\nDOMAINS=example.net\nLLMNR=yes\nMDNS=no\n";
        let want = "192.0.2.53 2001:db8::53 192.0.2.54 2001:db8::54 fe80::1";
        assert_eq!(words(&networkd(link)), want);
        let lease = "# This is private data. Do not parse.\nADDRESS=192.168.8.100\nNETMASK=255.255.255.0\n\
                     ROUTER=192.168.8.1\nSERVER_ADDRESS=192.168.8.1\nDNS=192.168.8.1 192.168.8.2\n\
                     OPTION_DNS=9.9.9.9\n";
        assert_eq!(words(&networkd(lease)), "192.168.8.1 192.168.8.2");
        assert_eq!(words(&networkd("")), "");
    }

    #[test]
    fn resolv_conf_is_read() {
        let text = "# by dhcpcd from wwan0.dhcp\nsearch example.net\nnameserver 192.0.2.53\n\
                    nameserver\t2001:db8::53 # a remark\n;nameserver 9.9.9.9\n nameserver 192.0.2.54\n\
                    nameserver x\noptions edns0\n";
        assert_eq!(words(&resolv_conf(text)), "192.0.2.53 2001:db8::53 192.0.2.54");
    }

    #[test]
    fn the_last_leases_of_the_interface_count() {
        let text = r#"default-duid "\000\001";
lease {
  interface "wwan0";
  fixed-address 10.64.3.7;
  option subnet-mask 255.255.255.248;
  option domain-name-servers 10.64.0.1,10.64.0.2;
  renew 4 2026/11/19 10:15:02;
}
lease {
  interface "eth0";
  option domain-name-servers 192.168.1.1;
}
lease {
  interface "wwan0";
  option domain-name-servers 10.64.0.9, 10.64.0.10;
  expire 4 2026/11/19 12:15:02;
}
lease6 {
  interface "wwan0";
  ia-na 12:34:56:78 {
    starts 1700000000;
    iaaddr 2001:db8::7 {
      max-life 600;
    }
  }
  option dhcp6.name-servers 2001:db8::53;
}
lease {
  interface "wwan0";
  fixed-address 10.64.3.9;
}
"#;
        assert_eq!(words(&dhclient(text, "wwan0")), "10.64.0.9 10.64.0.10 2001:db8::53");
        assert_eq!(words(&dhclient(text, "eth0")), "192.168.1.1");
        assert_eq!(words(&dhclient(text, "eth1")), "");
    }

    #[test]
    fn a_packet_of_dhcp_is_read_and_a_broken_one_is_none() {
        let mut packet = vec![0; 236];
        packet.extend([
            99, 130, 83, 99, 53, 1, 5, 0, 6, 8, 192, 0, 2, 53, 192, 0, 2, 54, 51, 4, 0, 0,
        ]);
        packet.extend([14, 16, 255, 6, 4, 9, 9, 9, 9]);
        assert_eq!(words(&dhcp_packet(&packet)), "192.0.2.53 192.0.2.54");
        for end in 0..packet.len() {
            assert!(dhcp_packet(&packet[..end]).len() <= 2, "{end}");
        }
        packet[236] = 0;
        assert_eq!(words(&dhcp_packet(&packet)), "");
        assert_eq!(words(&dhcp_packet(b"lease {")), "");
    }

    #[test]
    fn what_commands_print_is_read() {
        let text = "Link 3 (wwan0): 192.0.2.53 2001:db8::53 fe80::1%3\n";
        assert_eq!(words(&resolvectl(text)), "192.0.2.53 2001:db8::53 fe80::1");
        assert_eq!(words(&resolvectl("Link 3 (wwan0):\n")), "");
        assert_eq!(words(&resolvectl("Failed to resolve interface \"x\": No such device\n")), "");
        let text = "IP4.DNS[1]:192.0.2.53\nIP4.DNS[2]:192.0.2.54\nIP6.DNS[1]:2001:db8::53\n";
        assert_eq!(words(&nmcli(text)), "192.0.2.53 192.0.2.54 2001:db8::53");
        assert_eq!(words(&nmcli("Error: Device 'x' not found.\n")), "");
    }
}
