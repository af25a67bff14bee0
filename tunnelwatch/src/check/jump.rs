//! What is to be seen of a tunnel on the jump host, where it ends: who has its ports, and what sshd
//! lets its user do.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use notifier::daemon::told::{Memory, Told};
use notifier::daemon::words;
use notifier::ffi;
use notifier::spool::owner;

use super::ASKS_WITHIN;
use crate::config::{LOOPBACK, Watch};
use crate::external::SYSTEMCTL;
use crate::proof::run;
use crate::ssh;
use crate::tell::seen_down;
use crate::watch::ports::Grade;

/// The daemon, which says what it would do for a user.
const SSHD: &str = "/usr/sbin/sshd";

/// How long that may take.
const MOST: Duration = Duration::from_secs(10);

/// Whose a tunnel is by the manual, where no session says it.
const USUAL_USER: &str = "tunnel";

/// Somewhere that no `Match Address` means (RFC 5737).
const ANYWHERE: &str = "192.0.2.1";

/// What watches here, and where it is known whether it does.
const UNIT: &str = "tunnelwatch-watch.service";
const SYSTEMD: &str = "/run/systemd/system";

/// Checks this side of the tunnels.
pub(super) fn check(watches: &[Watch]) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let listeners = listeners(&read("/proc/net/tcp"), &read("/proc/net/tcp6"));
    let mut findings = Vec::new();
    if !watches.is_empty() && Path::new(SYSTEMD).exists() {
        findings.extend(check_unit());
    }
    findings.extend(told(watches, &seen_down()));
    let mut users = BTreeSet::new();
    for watch in watches {
        let named = |finding| format!("tunnel {}: {finding}", watch.name);
        // Inside a VPN the ports are the other host's.
        let ports = if watch.address == LOOPBACK { &watch.ports[..] } else { &[] };
        for port in ports {
            findings.extend(judge_port(*port, &listeners).into_iter().map(named));
        }
        // As sshd has them, for a tunnel's user.
        let is_of_a_tunnel = |one: &&Listener| {
            one.address == IpAddr::from(Ipv4Addr::LOCALHOST)
                && ports.contains(&one.port)
                && one.uid != 0
        };
        let holders = listeners.iter().filter(is_of_a_tunnel);
        users.extend(holders.filter_map(|one| owner::name_of(one.uid)));
    }
    // sshd's keys are root's, and without them it says nothing.
    if watches.iter().all(|watch| watch.address != LOOPBACK) || ffi::geteuid() != 0 {
        return findings;
    }
    if users.is_empty() && owner::user(USUAL_USER).is_ok_and(|user| user.is_some()) {
        users.insert(USUAL_USER.to_owned());
    }
    for user in users {
        findings.extend(check_sshd(&user));
    }
    findings
}

/// What `tunnelwatch watch` has told of, and not taken back.
fn told(watches: &[Watch], memory: &Memory) -> Vec<String> {
    let of = |watch: &Watch| Some(judge_told(watch, &memory.recall(&watch.name)?));
    watches.iter().filter_map(of).collect()
}

fn judge_told(watch: &Watch, told: &Told) -> String {
    let (name, grade) = (&watch.name, Grade::of_word(&told.cause));
    let fix = match grade {
        Grade::Away => {
            "on its own host: sudo tunnelwatch status, then sudo tunnelwatch check".to_owned()
        }
        Grade::Unproved | Grade::Wrong => {
            let port = watch.ports.first().copied().unwrap_or_default();
            format!(
                "log in through it with no password and no agent until it is known who that is: ss -tlnp 'sport = :{port}'"
            )
        }
    };
    let since = words(told.age());
    format!(
        "tunnel {name}: is down for {since}, as tunnelwatch watch has told: {}; {fix}",
        grade.text()
    )
}

/// Somebody who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    address: IpAddr,
    port: u16,
    uid: u32,
}

/// Who listens, by tables as /proc/net/tcp and tcp6 have them (proc_net(5)).
fn listeners(tcp: &str, tcp6: &str) -> Vec<Listener> {
    let of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = words.get(1)?.split_once(':')?;
        let listener = Listener {
            address: parse_address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            uid: words.get(7)?.parse().ok()?,
        };
        (words.get(3) == Some(&"0A")).then_some(listener)
    };
    tcp.lines().chain(tcp6.lines()).filter_map(of).collect()
}

/// An address as words of 32 bits in the machine's byte order.
pub(crate) fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes: Vec<u8> = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            let bytes: [u8; 16] = bytes.try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// What is wrong with who holds a port.
fn judge_port(port: u16, listeners: &[Listener]) -> Vec<String> {
    let here = || listeners.iter().filter(|one| one.port == port);
    let of = |address: IpAddr| here().find(|one| one.address == address).map(|one| one.uid);
    let who = format!("see who: ss -tlnp 'sport = :{port}'");
    let open = here().find(|one| !one.address.is_loopback()).map(|one| {
        let Listener { address, uid, .. } = one;
        let user = user(*uid);
        format!(
            "port {port} is open to others: {user} listens on {address}; of a tunnel it is by GatewayPorts, \
             which has to be no; {who}"
        )
    });
    let half = match (of(Ipv4Addr::LOCALHOST.into()), of(Ipv6Addr::LOCALHOST.into())) {
        (Some(four), Some(six)) if four != six => Some(format!(
            "port {port} is held by half: {} has it on 127.0.0.1, {} on ::1, and who connects to localhost \
             gets either; {who}",
            user(four),
            user(six)
        )),
        (None, Some(six)) => Some(format!(
            "port {port} is held by half: {} has it on ::1 alone, and the tunnel belongs on 127.0.0.1; {who}",
            user(six)
        )),
        _ => None,
    };
    open.into_iter().chain(half).collect()
}

fn check_unit() -> Option<String> {
    let mut command = ssh::command(Path::new(SYSTEMCTL));
    command.args(["is-active", UNIT]).stdout(Stdio::piped()).stderr(Stdio::null());
    let state = run(&mut command, Instant::now() + MOST)?;
    judge_unit(state.trim())
}

/// What is wrong when systemd says this of the unit.
fn judge_unit(state: &str) -> Option<String> {
    let fix =
        format!("systemctl enable --now {UNIT}, and if it ends again: journalctl -u {UNIT} -n 20");
    (state != "active")
        .then(|| format!("nobody watches the tunnels here, {UNIT} is {state}; {fix}"))
}

fn user(uid: u32) -> String {
    owner::name_of(uid).unwrap_or_else(|| format!("uid {uid}"))
}

fn check_sshd(user: &str) -> Vec<String> {
    let mut command = ssh::command(Path::new(SSHD));
    // A Match on what is not said here would be an error of its own.
    let of =
        format!("user={user},host=localhost,addr={ANYWHERE},laddr=192.0.2.2,lport=22,rdomain=");
    command.args(["-T", "-C", &of]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    match run(&mut command, Instant::now() + MOST) {
        Some(effective) if !effective.is_empty() => judge_sshd(user, &effective),
        _ => vec![format!("{SSHD} could not be asked what it lets {user} do; run: sshd -t")],
    }
}

/// What is wrong with the settings of a tunnel's user, as `sshd -T` prints them.
fn judge_sshd(user: &str, effective: &str) -> Vec<String> {
    let get = |key: &str| {
        let mut lines = effective.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(found, _)| *found == key).map(|(_, value)| value.trim())
    };
    let mut wrong = Vec::new();
    let interval = get("clientaliveinterval").and_then(|value| value.parse::<u64>().ok());
    match interval {
        Some(0) => wrong.push((
            "never asks whether the client is there, so a port stays held when its line is gone".to_owned(),
            "ClientAliveInterval 15",
        )),
        Some(seconds) if seconds > ASKS_WITHIN.as_secs() => wrong.push((
            format!("asks only each {seconds} s whether the client is there, so a port stays held for long"),
            "ClientAliveInterval 15",
        )),
        _ => {}
    }
    if get("clientalivecountmax") == Some("0") {
        let what = "never ends a session whose client does not answer";
        wrong.push((what.to_owned(), "ClientAliveCountMax 3"));
    }
    if get("gatewayports") == Some("yes") {
        let what = "opens the tunnel's port to others";
        wrong.push((what.to_owned(), "GatewayPorts no"));
    }
    if get("allowtcpforwarding").is_some_and(|value| !matches!(value, "yes" | "all")) {
        let what = "permits no forward, or no look through it";
        wrong.push((what.to_owned(), "AllowTcpForwarding yes"));
    }
    if get("disableforwarding") == Some("yes") {
        wrong.push(("permits no forward".to_owned(), "DisableForwarding no"));
    }
    let words = |(what, remedy): (String, &str)| {
        format!(
            "sshd {what}; in /etc/ssh/sshd_config: Match User {user}, {remedy}; then: systemctl reload ssh"
        )
    };
    wrong.into_iter().map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use notifier::clock::Stamp;

    #[test]
    fn who_watches_is_at_work() {
        assert_eq!(judge_unit("active"), None);
        for state in ["inactive", "failed", "activating"] {
            let found = judge_unit(state).unwrap();
            assert!(found.contains(state) && found.contains("systemctl enable --now"), "{found}");
        }
    }

    #[test]
    fn what_watch_has_told_is_a_finding_until_it_is_taken_back() {
        let dir = std::env::temp_dir().join(format!("check-told-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let memory = Memory::within(&dir, "seen-down");
        let text = "[[tunnel-watch]]\nname = \"home\"\nports = [2222]\n\
                    [[tunnel-watch]]\nname = \"office\"\nports = [2223]\n";
        let watches = Settings::parse(text).unwrap().watches;
        assert_eq!(told(&watches, &memory), [""; 0]);
        for (cause, says, fix) in [
            ("", "it cannot be used", "sudo tunnelwatch status"),
            ("unproved", "does not prove who it is", "ss -tlnp 'sport = :2222'"),
            ("wrong-host", "another host answers", "ss -tlnp 'sport = :2222'"),
        ] {
            let since = Stamp::now().before(Duration::from_secs(720));
            let of = Told { since, cause: cause.into(), text: String::new() };
            memory.keep("home", &of).unwrap();
            let found = told(&watches, &memory);
            assert_eq!(found.len(), 1, "{found:?}");
            let (text, remedy) = found[0].rsplit_once("; ").unwrap();
            assert!(text.starts_with("tunnel home: is down for 12 min, "), "{text}");
            assert!(text.contains(says) && remedy.contains(fix), "{found:?}");
        }
        memory.forget("home");
        assert_eq!(told(&watches, &memory), [""; 0]);
        fs::remove_dir_all(dir).unwrap();
    }

    const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

    fn one(address: impl Into<IpAddr>, port: u16, uid: u32) -> Listener {
        Listener { address: address.into(), port, uid }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn who_listens_is_read_from_the_kernel_s_tables() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  2003        0 4711 1\n   \
             1: 0100007F:08AF 0100007F:1234 01 00000000:00000000 00:00000000 00000000  2003        0 4712 1\n   \
             2: 00000000:08B0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n";
        let tcp6 = "  sl  local_address                         remote_address                        st\n   \
             0: 00000000000000000000000001000000:08AE 00000000000000000000000000000000:0000 0A 0:0 0:0 0 2004 0 1\n   \
             1: 00000000000000000000000000000000:08B1 00000000000000000000000000000000:0000 0A 0:0 0:0 0 7 0 1\n";
        let want = [
            one(LOCAL, 2222, 2003),
            one(Ipv4Addr::UNSPECIFIED, 2224, 0),
            one(Ipv6Addr::LOCALHOST, 2222, 2004),
            one(Ipv6Addr::UNSPECIFIED, 2225, 7),
        ];
        assert_eq!(listeners(tcp, tcp6), want);
        assert_eq!(listeners("", "garbage\n: : :\n 0: 7F:1 0 0A 0 0 0 0 0\n"), []);
    }

    #[test]
    fn a_port_is_on_loopback_and_one_s_alone() {
        let six = Ipv6Addr::LOCALHOST;
        let table: [(&[Listener], &[&str]); 9] = [
            (&[], &[]),
            (&[one(LOCAL, 2222, 77)], &[]),
            (&[one(LOCAL, 2222, 77), one(six, 2222, 77)], &[]),
            (&[one(LOCAL, 2222, 77), one(six, 2223, 78), one(Ipv4Addr::UNSPECIFIED, 22, 0)], &[]),
            (
                &[one(LOCAL, 2222, 77), one(six, 2222, 78)],
                &["uid 77 has it on 127.0.0.1, uid 78 on ::1"],
            ),
            (&[one(six, 2222, 77)], &["uid 77 has it on ::1 alone"]),
            (&[one(Ipv4Addr::UNSPECIFIED, 2222, 77)], &["uid 77 listens on 0.0.0.0"]),
            (&[one(Ipv6Addr::UNSPECIFIED, 2222, 77)], &["uid 77 listens on ::"]),
            (
                &[one(Ipv4Addr::new(192, 0, 2, 1), 2222, 77), one(six, 2222, 77)],
                &["uid 77 listens on 192.0.2.1", "on ::1 alone"],
            ),
        ];
        for (listeners, want) in table {
            // Numbers that no user of this machine has.
            let listeners: Vec<Listener> = listeners
                .iter()
                .map(|one| Listener { uid: one.uid.max(1) + 4_000_000_000, ..*one })
                .collect();
            let found = judge_port(2222, &listeners);
            assert_eq!(found.len(), want.len(), "{listeners:?}: {found:?}");
            for (found, want) in found.iter().zip(want) {
                let want = want.replace("uid ", "uid 40000000");
                assert!(found.contains(&want), "{want}: {found}");
            }
        }
    }

    #[test]
    fn sshd_s_settings_for_a_tunnel_are_judged() {
        const GOOD: &str = "port 22\nclientaliveinterval 15\nclientalivecountmax 3\ngatewayports no\n\
                            allowtcpforwarding yes\ndisableforwarding no\n";
        assert_eq!(judge_sshd("tunnel", GOOD), [""; 0]);
        for (old, new, want) in [
            ("interval 15", "interval 0", "ClientAliveInterval 15"),
            ("interval 15", "interval 300", "each 300 s"),
            ("countmax 3", "countmax 0", "ClientAliveCountMax 3"),
            ("gatewayports no", "gatewayports yes", "GatewayPorts no"),
            ("forwarding yes", "forwarding no", "AllowTcpForwarding yes"),
            ("forwarding yes", "forwarding remote", "AllowTcpForwarding yes"),
            ("disableforwarding no", "disableforwarding yes", "DisableForwarding no"),
        ] {
            let found = judge_sshd("tunnel", &GOOD.replacen(old, new, 1));
            assert_eq!(found.len(), 1, "{new}: {found:?}");
            assert!(found[0].contains(want) && found[0].contains("Match User tunnel"), "{found:?}");
        }
        let good = GOOD.replace("gatewayports no", "gatewayports clientspecified");
        assert_eq!(judge_sshd("tunnel", &good), [""; 0], "a bound forward is bound");
    }
}
