//! Who listens where others can reach it, by `ss -Hltunp` (ss(8)): on the guard of a back door that is sshd,
//! and what the administrator has said is wanted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::finding::{Finding, Severity};
use super::programs::Answer;
use crate::config::check::{OpenPort, Protocol};

/// How it is asked.
pub const ARGUMENTS: [&str; 1] = ["-Hltunp"];

/// Ports of DHCP's clients, which have to hear answers.
const DHCP: [u16; 2] = [68, 546];

/// First port that the kernel gives to who asks for none (ip_local_port_range): a UDP socket there is most
/// likely somebody's who asks, and not who answers.
const EPHEMERAL: u16 = 32768;

/// The id of what is found here.
pub const OPEN: &str = "open-port";

/// Somebody who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Socket {
    protocol: Protocol,
    address: String,
    port: u16,
    /// `None`: nobody's, or we may not know.
    program: Option<String>,
}

/// What is open that should not be. `sshd` are the ports that it says it listens on.
#[must_use]
pub fn judge(answer: &Answer, sshd: &[u16], accepted: &[OpenPort]) -> Vec<Finding> {
    if matches!(answer, Answer::Missing) {
        let fix = "apt install iproute2";
        return vec![Finding::unknown(
            "ports-unheard",
            "ss",
            "is not there to say who listens",
            fix,
        )];
    }
    if let Some(unheard) = answer.unheard("ports-unheard", "ss -ltunp") {
        return vec![unheard];
    }
    let Some(text) = answer.good() else {
        let said = answer.first_words();
        return vec![Finding::unknown("ports-unheard", "ss", said, "run it by hand: ss -ltunp")];
    };
    let mut open: BTreeMap<(Protocol, u16, Option<String>), Vec<String>> = BTreeMap::new();
    for socket in text.lines().filter_map(parse) {
        if socket.is_wanted(sshd, accepted) {
            continue;
        }
        let Socket { protocol, port, program, address } = socket;
        let addresses = open.entry((protocol, port, program)).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    open.into_iter()
        .map(|((protocol, port, program), addresses)| {
            finding(protocol, port, program.as_deref(), &addresses)
        })
        .collect()
}

/// What is found again a moment later. Who looks a name up has a port for a moment as well (getaddrinfo(3) sorts addresses
/// by it), and has gone before his name can be read.
#[must_use]
pub fn lasting(found: Vec<Finding>, again: &[Finding]) -> Vec<Finding> {
    let is_open = |one: &Finding| one.id == OPEN;
    let heard = again.is_empty() || again.iter().any(is_open);
    let lasts = |one: &Finding| !is_open(one) || again.iter().any(|two| two.subject == one.subject);
    found.into_iter().filter(|one| !heard || lasts(one)).collect()
}

fn finding(protocol: Protocol, port: u16, program: Option<&str>, addresses: &[String]) -> Finding {
    let who = program.unwrap_or("the kernel (WireGuard, NFS) or a program we may not know");
    let word = protocol.as_str();
    let asks = protocol == Protocol::Udp && port >= EPHEMERAL && program.is_some();
    let severity = if asks { Severity::Note } else { Severity::Warning };
    let stop = match program {
        Some("sshd" | "sshd-session") => {
            "it is a forward of a session, by GatewayPorts (set it to no), or another sshd (ps -fC sshd)".to_owned()
        }
        Some(_) => format!(
            "stop it, or have it listen on 127.0.0.1: systemctl status $(fuser {port}/{word} 2>/dev/null)"
        ),
        None => format!("see: ss -lnp sport = :{port}"),
    };
    Finding::new(
        severity,
        OPEN,
        format!("port {port}/{word}"),
        format!("{who} listens on {}, where others can reach it", addresses.join(" and ")),
        format!(
            "{stop}; or, if it is wanted, in bastion.toml: [check] open-ports = [\"{port}/{word}\"]"
        ),
    )
}

impl Socket {
    fn is_wanted(&self, sshd: &[u16], accepted: &[OpenPort]) -> bool {
        let name = self.program.as_deref();
        // systemd holds the port where ssh.socket is used.
        let is_sshd = self.protocol == Protocol::Tcp
            && sshd.contains(&self.port)
            && matches!(name, None | Some("sshd" | "systemd"));
        let is_dhcp = self.protocol == Protocol::Udp && DHCP.contains(&self.port);
        self.is_local()
            || is_sshd
            || is_dhcp
            || accepted.iter().any(|one| one.is(self.protocol, self.port))
    }

    fn is_local(&self) -> bool {
        let (address, interface) = self.address.split_once('%').unwrap_or((&self.address, ""));
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        interface == "lo" || address.parse().is_ok_and(is_loopback)
    }
}

/// A line: protocol, state, two queues, who listens where, who may come from where, and the processes.
fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace();
    let protocol = match words.next()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let (address, port) = words.nth(3)?.rsplit_once(':')?;
    // A program's name may have blanks and quotes in it: it stands between the first two.
    let program = line.split_once("users:((\"").and_then(|(_, rest)| rest.split_once("\",pid="));
    Some(Socket {
        protocol,
        // An interface stands behind the brackets: [fe80::1]%eth0.
        address: address.to_owned(),
        port: port.parse().ok()?,
        program: program.map(|(name, _)| name.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as ss of iproute2 6.1 prints them, with tabs and runs of blanks.
    const SAID: &str = "\
udp   UNCONN 0      0            127.0.0.53%lo:53        0.0.0.0:*    users:((\"systemd-resolve\",pid=401,fd=13))
udp   UNCONN 0      0         192.0.2.5%eth0:68        0.0.0.0:*    users:((\"systemd-network\",pid=399,fd=20))
udp   UNCONN 0      0                 0.0.0.0:5353      0.0.0.0:*    users:((\"avahi-daemon\",pid=500,fd=12))
udp   UNCONN 0      0                 0.0.0.0:41641     0.0.0.0:*    users:((\"rsyslogd\",pid=600,fd=9))
udp   UNCONN 0      0                 0.0.0.0:51820     0.0.0.0:*
udp   UNCONN 0      0                    [::]:51820        [::]:*
udp   UNCONN 0      0      [fe80::1]%eth0:546         [::]:*    users:((\"dhclient\",pid=77,fd=5))
tcp   LISTEN 0      128               0.0.0.0:2022      0.0.0.0:*    users:((\"sshd\",pid=700,fd=3))
tcp   LISTEN 0      128                  [::]:2022         [::]:*    users:((\"sshd\",pid=700,fd=4))
tcp   LISTEN 0      128             127.0.0.1:2222      0.0.0.0:*    users:((\"sshd\",pid=800,fd=9))
tcp   LISTEN 0      128               0.0.0.0:2223      0.0.0.0:*    users:((\"sshd\",pid=800,fd=10))
tcp   LISTEN 0      4096                    *:9100            *:*    users:((\"node_exporter\",pid=900,fd=3))
tcp   LISTEN 0      5                 0.0.0.0:8080      0.0.0.0:*    users:((\"a \"b\" c\",pid=901,fd=3),(\"x\",pid=902,fd=3))
tcp   LISTEN 0      5                   [::1]:631          [::]:*    users:((\"cupsd\",pid=903,fd=7))
tcp   LISTEN 0      5      [::ffff:127.0.0.1]:8005            *:*    users:((\"java\",pid=904,fd=7))
garbage
";

    fn said(text: &str) -> Answer {
        Answer::Said { code: Some(0), out: text.into(), err: String::new() }
    }

    fn subjects(accepted: &[&str]) -> Vec<String> {
        let accepted: Vec<_> = accepted.iter().map(|text| OpenPort::parse(text).unwrap()).collect();
        let findings = judge(&said(SAID), &[2022], &accepted);
        findings.iter().map(|one| format!("{} {}", one.severity.as_str(), one.subject)).collect()
    }

    #[test]
    fn what_others_can_reach_is_found_and_what_is_wanted_is_not() {
        let all = [
            "warning port 2223/tcp",
            "warning port 8080/tcp",
            "warning port 9100/tcp",
            "warning port 5353/udp",
            "note port 41641/udp",
            "warning port 51820/udp",
        ];
        assert_eq!(subjects(&[]), all);
        let some = ["2223", "8080/tcp", "9100/udp", "51820/udp", "41641"];
        assert_eq!(subjects(&some), ["warning port 9100/tcp", "warning port 5353/udp"]);
        let findings = judge(&said(SAID), &[2022], &[]);
        let text = |subject: &str| findings.iter().find(|one| one.subject == subject).unwrap();
        assert!(text("port 2223/tcp").fix.contains("GatewayPorts"));
        assert!(text("port 8080/tcp").text.starts_with("a \"b\" c listens on 0.0.0.0,"));
        assert!(text("port 51820/udp").text.contains("the kernel"));
        assert!(text("port 51820/udp").text.contains("0.0.0.0 and [::]"));
        assert!(text("port 9100/tcp").fix.contains("[check] open-ports = [\"9100/tcp\"]"));
    }

    #[test]
    fn a_port_that_was_there_for_a_moment_is_none() {
        let two = |lines: &str, again: &Answer| {
            let found = lasting(judge(&said(lines), &[], &[]), &judge(again, &[], &[]));
            found.into_iter().map(|one| one.subject).collect::<Vec<_>>()
        };
        let stays = "tcp LISTEN 0 5 0.0.0.0:2223 0.0.0.0:*\n";
        let both = format!("{stays}udp UNCONN 0 0 *:44734 *:*\n");
        assert_eq!(two(&both, &said(&both)), ["port 2223/tcp", "port 44734/udp"]);
        assert_eq!(two(&both, &said(stays)), ["port 2223/tcp"]);
        assert_eq!(two(&both, &said("")), [""; 0]);
        // Who was not heard takes nothing back.
        let unheard = Answer::Unheard("did not end".into());
        assert_eq!(two(&both, &unheard), ["port 2223/tcp", "port 44734/udp"]);
    }

    #[test]
    fn only_sshd_has_its_ports() {
        let line = "tcp LISTEN 0 5 0.0.0.0:2022 0.0.0.0:* users:((\"nc\",pid=1,fd=3))";
        assert_eq!(judge(&said(line), &[2022], &[]).len(), 1);
        let line = line.replace("nc", "systemd");
        assert!(judge(&said(&line), &[2022], &[]).is_empty());
        assert_eq!(judge(&said(&line), &[], &[]).len(), 1);
    }

    #[test]
    fn an_ss_that_says_nothing_leaves_it_unknown() {
        let refused =
            Answer::Said { code: Some(255), out: String::new(), err: "Cannot open\n".into() };
        for answer in [Answer::Missing, Answer::Unheard("did not end".into()), refused] {
            let findings = judge(&answer, &[], &[]);
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].severity, Severity::Unknown);
        }
    }
}
