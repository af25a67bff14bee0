//! How sshd is set up, by its own words: `sshd -T` (sshd(8), sshd_config(5)).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::Role;
use super::finding::{Finding, Severity};
use super::programs::Answer;
use super::units::Sections;
use Severity::{Critical, Note, Warning};

/// Its answer as it is asked for, with settings that hold for anybody from anywhere
/// (192.0.2.1 is no `Match Address`'s, RFC 5737). A `Match` on what is not said here would be an error of its own.
pub const FOR_ANYBODY: [&str; 3] =
    ["-T", "-C", "user=nobody,host=localhost,addr=192.0.2.1,laddr=192.0.2.2,lport=22,rdomain="];

/// The same for root, of whom a `Match User root` may speak.
pub const FOR_ROOT: [&str; 3] =
    ["-T", "-C", "user=root,host=localhost,addr=192.0.2.1,laddr=192.0.2.2,lport=22,rdomain="];

/// Most users who are asked for: each is a process.
const MAX_USERS: usize = 20;

/// Shells that let nobody in.
const NO_SHELLS: [&str; 3] = ["nologin", "false", "sync"];

/// What makes a change count: in the drop-in that the host has of ours, or one before all others.
fn reload(role: Role) -> String {
    let file = match role {
        Role::Jump => "10-jump.conf",
        Role::Internal => "10-internal.conf",
        Role::Other => "10-own.conf",
    };
    format!("in /etc/ssh/sshd_config.d/{file}, then: sshd -t && systemctl reload ssh")
}

/// Who may log in, by a list of users as passwd(5) has it, and how many more there are than are asked for. root is
/// asked for by himself.
#[must_use]
pub fn users(passwd: &str) -> (Vec<String>, usize) {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, _, shell] = fields[..] else { return None };
        let shell = shell.rsplit('/').next().unwrap_or_default();
        // A comma would be the end of the name in the question.
        let can_be_asked = !name.is_empty() && !name.contains([',', '=']);
        (uid != "0" && can_be_asked && !NO_SHELLS.contains(&shell)).then(|| name.to_owned())
    };
    let mut users: Vec<String> = passwd.lines().filter_map(of).collect();
    let more = users.len().saturating_sub(MAX_USERS);
    users.truncate(MAX_USERS);
    (users, more)
}

/// The question for a user of whom a `Match User` or a `Match Group` may speak.
#[must_use]
pub fn for_user(name: &str) -> [String; 3] {
    FOR_ANYBODY.map(|word| word.replace("user=nobody", &format!("user={name}")))
}

/// The question for a user who comes from this host itself, as through a tunnel that ends here.
#[must_use]
pub fn for_user_from_here(name: &str) -> [String; 3] {
    for_user(name).map(|word| {
        word.replace("addr=192.0.2.1,laddr=192.0.2.2", "addr=127.0.0.1,laddr=127.0.0.1")
    })
}

/// What sshd says of itself.
#[derive(Debug, Default)]
pub struct Effective<'t>(&'t str);

impl<'t> Effective<'t> {
    /// The words of `sshd -T`.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        Self(text)
    }

    /// All values of a key, which stands there in lower case.
    pub fn all<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'t str> + 's {
        let pairs = self.0.lines().filter_map(|line| line.split_once(' '));
        pairs.filter(move |(found, _)| *found == key).map(|(_, value)| value.trim())
    }

    /// The first value of a key; empty where there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> &'t str {
        self.all(key).next().unwrap_or_default()
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.get(key).eq_ignore_ascii_case(value)
    }

    /// The ports it listens on.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let of_address = |address: &str| address.rsplit(':').next()?.parse::<u16>().ok();
        let mut ports: Vec<u16> = self.all("port").filter_map(|port| port.parse().ok()).collect();
        ports.extend(self.all("listenaddress").filter_map(of_address));
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether a password alone, in either of its forms, opens the door.
    fn takes_passwords(&self) -> bool {
        let asks = self.is("passwordauthentication", "yes")
            || (self.is("kbdinteractiveauthentication", "yes") && self.is("usepam", "yes"));
        let ways = self.get("authenticationmethods");
        // A list of lists: each of them is enough, and all of one are needed.
        let by_key = |way: &str| way.split(',').any(|method| method.starts_with("publickey"));
        let needs_key = !matches!(ways, "" | "any") && ways.split_whitespace().all(by_key);
        asks && !needs_key
    }
}

/// What is wrong with what sshd says of single users, where it is well for anybody; `more` were not asked for.
#[must_use]
pub fn judge_users(
    anybody: &Answer,
    users: &[(String, Answer)],
    more: usize,
    role: Role,
) -> Vec<Finding> {
    let Some(text) = anybody.good() else { return Vec::new() };
    let mut findings = Vec::new();
    if Effective::new(text).takes_passwords() {
        return findings;
    }
    let lets_in = |(_, answer): &&(String, Answer)| {
        answer.good().is_some_and(|text| Effective::new(text).takes_passwords())
    };
    let named: Vec<&str> = users.iter().filter(lets_in).map(|(name, _)| name.as_str()).collect();
    if !named.is_empty() {
        let severity = if role == Role::Jump { Critical } else { Warning };
        let names = named.join(", ");
        let text =
            format!("lets {names} in by a password, by a Match block; robots guess day and night");
        let fix = "first see that the key of each works; grep -rn -A9 '^ *Match' /etc/ssh/sshd_config*, take \
                   PasswordAuthentication yes out there, then: sshd -t && systemctl reload ssh";
        findings.push(Finding::new(severity, "sshd-user-passwords", "sshd", text, fix));
    }
    if more > 0 {
        let text = format!(
            "{more} users more than {MAX_USERS} may log in, and what Match blocks say of them is not looked at"
        );
        let fix = "sshd -T -C user=NAME,host=localhost,addr=192.0.2.1 | grep -i password";
        findings.push(Finding::new(Note, "sshd-users", "sshd", text, fix));
    }
    findings
}

/// Whether wrong keys through the tunnel, which are all from 127.0.0.1 here, would shut it for everybody
/// (PerSourcePenalties, on by default since OpenSSH 9.8).
fn punishes_the_tunnel(all: &Effective<'_>) -> bool {
    let is_on = !matches!(all.get("persourcepenalties"), "" | "no");
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    let has = |entry: &str| match entry.parse::<IpNet>() {
        Ok(network) => network.contains(&local),
        Err(_) => entry.parse() == Ok(local),
    };
    is_on && !all.get("persourcepenaltyexemptlist").split(',').map(str::trim).any(has)
}

/// What is wrong with how sshd treats those who come through a tunnel that ends here, whatever else this host is.
#[must_use]
pub fn judge_penalties(anybody: &Answer, sections: Sections) -> Option<Finding> {
    let all = Effective::new(anybody.good().filter(|_| sections.tunnel)?);
    punishes_the_tunnel(&all).then(|| {
        let text = "shuts the tunnel for minutes when somebody shows it four wrong keys: for sshd all who come through \
                    it are 127.0.0.1 (PerSourcePenalties)";
        let fix = "PerSourcePenaltyExemptList 127.0.0.0/8,::1, as in \
                   /usr/share/doc/pam-bastion/examples/ssh/sshd_config.d/internal-9.8.conf: copy it to \
                   /etc/ssh/sshd_config.d/11-internal-9.8.conf, then: sshd -t && systemctl reload ssh";
        Finding::new(Critical, "sshd-penalties", "sshd", text, fix)
    })
}

/// What is wrong with what sshd says, `tunnel_user` being whether there is one for tunnelwatch to ask of.
#[must_use]
pub fn judge(anybody: &Answer, root: &Answer, role: Role, tunnel_user: bool) -> Vec<Finding> {
    let reload = reload(role);
    let found = |severity, id, text: &str, fix: &str| Finding::new(severity, id, "sshd", text, fix);
    if matches!(anybody, Answer::Missing) {
        let fix = "apt install openssh-server, if people are to come in here";
        return vec![found(Note, "sshd-missing", "there is no sshd on this host", fix)];
    }
    if let Some(unheard) = anybody.unheard("sshd-unheard", "sshd -T") {
        return vec![unheard];
    }
    let Some(text) = anybody.good() else {
        let said = anybody.first_words();
        let fix = match said.contains("privilege separation directory") {
            true => "systemctl start ssh, which makes it",
            false => "sshd -t, and mend what it names; a restart of sshd would fail now",
        };
        let text = format!("cannot say how it is set up: {said}");
        return vec![found(Critical, "sshd-settings", &text, fix)];
    };
    let (all, of_root) = (Effective::new(text), Effective::new(root.good().unwrap_or(text)));
    let jump = role == Role::Jump;
    let mut findings = Vec::new();
    let mut wrong = |severity, id, text: &str, key: &str| {
        findings.push(found(severity, id, text, &format!("{key} {reload}")));
    };
    if !all.is("usepam", "yes") {
        let text = "UsePAM is no, so pam_bastion is never asked and no login is told";
        wrong(Critical, "sshd-use-pam", text, "UsePAM yes");
    }
    if all.is("permitemptypasswords", "yes") && all.takes_passwords() {
        let text = "who has no password comes in without one";
        wrong(Critical, "sshd-empty-passwords", text, "PermitEmptyPasswords no");
    }
    if all.takes_passwords() {
        let severity = if jump { Critical } else { Warning };
        let key = match all.is("passwordauthentication", "yes") {
            true => "PasswordAuthentication no and KbdInteractiveAuthentication no",
            false => "KbdInteractiveAuthentication no",
        };
        let text = "lets people in by a password, which robots guess day and night";
        wrong(severity, "sshd-passwords", text, &format!("first see that your key works; {key}"));
    }
    if of_root.is("permitrootlogin", "yes") && of_root.takes_passwords() {
        let text = "lets root in by a password";
        wrong(Critical, "sshd-root-login", text, "PermitRootLogin no");
    } else if jump && !of_root.is("permitrootlogin", "no") {
        let text = "lets root in, of whom nobody can say who it was";
        let key = "first see that you get in as another user with sudo; PermitRootLogin no";
        wrong(Warning, "sshd-root-login", text, key);
    }
    if !all.is("gatewayports", "no") {
        let text = "opens the ports of forwards to the whole network";
        wrong(Warning, "sshd-gateway-ports", text, "GatewayPorts no");
    }
    if !all.is("permittunnel", "no") {
        let text = "lets users put this host on their network (PermitTunnel)";
        wrong(Warning, "sshd-permit-tunnel", text, "PermitTunnel no");
    }
    if matches!(all.get("loglevel"), "SILENT" | "QUIET" | "FATAL" | "ERROR") {
        let text = "logs no logins, so one without a record cannot be found";
        wrong(Warning, "sshd-log-level", text, "LogLevel VERBOSE");
    }
    if jump {
        if all.is("allowtcpforwarding", "no") || all.is("disableforwarding", "yes") {
            let text = "permits no forward, so nobody gets through to the internal host (ssh -J)";
            wrong(Warning, "sshd-forwarding", text, "AllowTcpForwarding local");
        } else if !all.is("allowtcpforwarding", "local") {
            let text = "lets every user open ports here, where the tunnel's user alone needs it";
            wrong(Note, "sshd-forwarding", text, "AllowTcpForwarding local");
        }
        // Of the tunnel's own user tunnelwatch check speaks.
        if !tunnel_user
            && (all.is("clientaliveinterval", "0") || all.is("clientalivecountmax", "0"))
        {
            let text = "never ends a session whose client is gone, so after an outage a tunnel's port stays held";
            wrong(
                Critical,
                "sshd-client-alive",
                text,
                "ClientAliveInterval 15 and ClientAliveCountMax 3",
            );
        }
        if all.ports().contains(&22) {
            let text = "listens on port 22, where all robots knock first; move it in a second session, and the \
                        firewall's rule and the tunnel's port with it";
            wrong(Note, "sshd-port", text, "Port 2022");
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of OpenSSH 9.2p1 with Debian's own settings.
    const DEBIAN: &str = include_str!("samples/sshd-T.debian12");

    fn said(text: &str) -> Answer {
        Answer::Said { code: Some(0), out: text.into(), err: String::new() }
    }

    /// The ids that are found when `changes` are made to what Debian has, `key value`.
    fn ids(role: Role, changes: &[&str]) -> Vec<String> {
        let mut text = DEBIAN.to_owned();
        for change in changes {
            let key = change.split(' ').next().unwrap();
            let line = text.lines().find(|line| line.split(' ').next() == Some(key));
            text = text.replace(&format!("\n{}\n", line.unwrap()), &format!("\n{change}\n"));
        }
        let findings = judge(&said(&text), &said(&text), role, false);
        assert!(findings.iter().all(|one| !one.fix.is_empty()), "{findings:?}");
        findings.iter().map(|one| format!("{} {}", one.severity.as_str(), one.id)).collect()
    }

    #[test]
    fn each_setting_is_judged_by_what_the_host_is() {
        use Role::{Internal, Jump, Other};
        let keys = "passwordauthentication no";
        // What the drop-ins of etc/ssh make of it.
        let ours = [
            keys,
            "permitrootlogin no",
            "allowtcpforwarding local",
            "clientaliveinterval 15",
            "port 2022",
            "listenaddress 0.0.0.0:2022",
        ];
        let with = |more: &'static str| [&ours[..], &[more]].concat();
        let plain = |role, change| ids(role, &[keys, change]);
        assert_eq!(ids(Other, &[]), ["warning sshd-passwords"]);
        assert_eq!(ids(Other, &[keys]), [""; 0]);
        assert_eq!(ids(Internal, &[keys]), [""; 0]);
        assert_eq!(
            ids(Jump, &[]),
            [
                "critical sshd-passwords",
                "warning sshd-root-login",
                "note sshd-forwarding",
                "critical sshd-client-alive",
                "note sshd-port"
            ]
        );
        assert_eq!(plain(Other, "usepam no"), ["critical sshd-use-pam"]);
        assert_eq!(plain(Other, "permittunnel yes"), ["warning sshd-permit-tunnel"]);
        assert_eq!(plain(Internal, "gatewayports yes"), ["warning sshd-gateway-ports"]);
        assert_eq!(plain(Internal, "gatewayports clientspecified"), ["warning sshd-gateway-ports"]);
        assert_eq!(plain(Other, "loglevel SILENT"), ["warning sshd-log-level"]);
        assert_eq!(plain(Other, "permitrootlogin yes"), [""; 0], "by a key, on no jump host");
        assert_eq!(plain(Other, "kbdinteractiveauthentication yes"), ["warning sshd-passwords"]);
        assert_eq!(
            ids(Other, &["permitrootlogin yes", "permitemptypasswords yes"]),
            ["critical sshd-empty-passwords", "warning sshd-passwords", "critical sshd-root-login"]
        );
        assert_eq!(
            ids(Other, &["authenticationmethods publickey,keyboard-interactive publickey"]),
            [""; 0],
            "a second factor is no password alone"
        );
        assert_eq!(
            ids(Other, &["authenticationmethods publickey password"]),
            ["warning sshd-passwords"]
        );
        // The port stands there twice, by address and family.
        let listens = |change: &'static str| {
            let mut changes = ours.to_vec();
            changes.push(change);
            ids(Jump, &changes)
        };
        assert_eq!(listens("maxsessions 10"), ["note sshd-port"], "it has [::]:22 still");
        let six = DEBIAN.replace("[::]:22", "[::]:2022");
        assert!(Effective::new(&six).ports().contains(&22));
        for (change, want) in [
            ("allowtcpforwarding no", "warning sshd-forwarding"),
            ("allowtcpforwarding remote", "note sshd-forwarding"),
            ("clientaliveinterval 0", "critical sshd-client-alive"),
            ("clientalivecountmax 0", "critical sshd-client-alive"),
            ("permitrootlogin without-password", "warning sshd-root-login"),
        ] {
            assert!(ids(Jump, &with(change)).contains(&want.to_owned()), "{change}");
        }
    }

    #[test]
    fn a_remedy_names_the_drop_in_of_the_host() {
        for (role, file) in [
            (Role::Jump, "10-jump.conf"),
            (Role::Internal, "10-internal.conf"),
            (Role::Other, "10-own.conf"),
        ] {
            let found = judge(&said(DEBIAN), &said(DEBIAN), role, true);
            assert!(found[0].fix.contains(&format!("sshd_config.d/{file},")), "{found:?}");
        }
    }

    #[test]
    fn the_tunnel_is_not_to_be_shut_by_wrong_keys() {
        let keys = DEBIAN.replace("\npasswordauthentication yes", "\npasswordauthentication no");
        let on = "persourcepenalties crash:90.000000 authfail:5.000000 max:600.000000\n";
        let with = |more: &str| format!("{keys}{more}");
        for (text, want) in [
            (with(""), false),
            (with("persourcepenalties no\n"), false),
            (with(on), true),
            (with(&format!("{on}persourcepenaltyexemptlist none\n")), true),
            (with(&format!("{on}persourcepenaltyexemptlist ::1,10.0.0.0/8\n")), true),
            (with(&format!("{on}persourcepenaltyexemptlist 10.0.0.0/8,127.0.0.0/8\n")), false),
            (with(&format!("{on}persourcepenaltyexemptlist 127.0.0.1\n")), false),
        ] {
            let found = |tunnel, tunnel_watch| {
                let sections = Sections { tunnel, tunnel_watch, ..Sections::default() };
                judge_penalties(&said(&text), sections).is_some()
            };
            assert_eq!(found(true, false), want, "{text}");
            assert_eq!(found(true, true), want, "one that is a jump host as well: {text}");
            assert!(
                !found(false, true) && !found(false, false),
                "nobody comes through a tunnel there"
            );
        }
    }

    #[test]
    fn who_may_log_in_is_asked_for_and_no_more_than_some() {
        let passwd = "root:x:0:0::/root:/bin/bash\nsync:x:4:65534::/bin:/bin/sync\n\
                      a:x:1000:1000:A,,,:/home/a:/bin/bash\nb:x:1:1::/:/usr/sbin/nologin\n\
                      c:x:2:2::/:/bin/false\nd:x:3:3::/:\ne,f:x:5:5::/:/bin/sh\ngarbage\n";
        assert_eq!(users(passwd), (vec!["a".to_owned(), "d".to_owned()], 0));
        let many: String = (1..=25).map(|n| format!("u{n}:x:{n}:{n}::/:/bin/sh\n")).collect();
        let (asked, more) = users(&many);
        assert_eq!((asked.len(), more), (20, 5));
        assert_eq!(for_user("a")[2].replace("user=a,", "user=nobody,"), FOR_ANYBODY[2]);
    }

    #[test]
    fn a_match_block_that_lets_one_user_in_is_found() {
        let keys = DEBIAN.replace("\npasswordauthentication yes", "\npasswordauthentication no");
        let one = |name: &str, text: &str| (name.to_owned(), said(text));
        let users = [one("alice", &keys), one("bob", DEBIAN)];
        let found = judge_users(&said(&keys), &users, 0, Role::Internal);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].severity == Warning && found[0].text.contains("lets bob in"), "{found:?}");
        assert_eq!(judge_users(&said(&keys), &users, 3, Role::Jump)[0].severity, Critical);
        assert_eq!(judge_users(&said(&keys), &users[..1], 3, Role::Jump)[0].id, "sshd-users");
        assert_eq!(judge_users(&said(&keys), &users[..1], 0, Role::Jump), []);
        assert_eq!(judge_users(&said(DEBIAN), &users, 0, Role::Jump), [], "that is told of all");
        assert_eq!(judge_users(&Answer::Missing, &users, 0, Role::Jump), []);
    }

    #[test]
    fn root_has_settings_of_his_own() {
        let keys = DEBIAN.replace("\npasswordauthentication yes", "\npasswordauthentication no");
        let root = DEBIAN.replace("\npermitrootlogin without-password", "\npermitrootlogin yes");
        let findings = judge(&said(&keys), &said(&root), Role::Other, true);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].id, "sshd-root-login");
    }

    #[test]
    fn an_sshd_that_cannot_say_it_is_told_with_its_own_words() {
        let table = [
            (Answer::Missing, Note, "sshd-missing", "no sshd"),
            (
                Answer::Unheard("did not end within 10 s".into()),
                Severity::Unknown,
                "sshd-unheard",
                "did not end",
            ),
            (
                Answer::Said {
                    code: Some(255),
                    out: String::new(),
                    err: "/etc/ssh/sshd_config: line 3: Bad configuration option: Nosuch\r\n"
                        .into(),
                },
                Critical,
                "sshd-settings",
                "line 3: Bad configuration option: Nosuch",
            ),
            (
                Answer::Said {
                    code: Some(255),
                    out: String::new(),
                    err: "Missing privilege separation directory: /run/sshd\r\n".into(),
                },
                Critical,
                "sshd-settings",
                "/run/sshd",
            ),
        ];
        for (answer, severity, id, part) in table {
            let findings = judge(&answer, &answer, Role::Jump, false);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!((findings[0].severity, findings[0].id), (severity, id));
            assert!(findings[0].text.contains(part) && !findings[0].fix.is_empty(), "{findings:?}");
        }
    }
}
