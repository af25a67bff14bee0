//! `[login]`: which logins are watched and which are known good.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Document, Section, Value, duration, moment};
use crate::foreign::Foreign;
use crate::known_good::{self, KnownGood, Rule};

/// Longest `hold`: a person who waits for a shell gives up before he waits longer.
pub const MAX_HOLD: Duration = Duration::from_secs(10);

/// `[login]`, with its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// PAM services whose sessions are watched. Default `["sshd"]`. `None`: every service that
    /// calls the module, because what the file says of them cannot be understood.
    pub services: Option<Vec<String>>,
    /// `known-good` and `[[login.allow]]`. Default: nobody is known good.
    pub known_good: KnownGood,
    /// How long an alerting login may wait for the provider's answer. Default 0, most 10 s.
    pub hold: Duration,
    /// The operator's names for keys, by fingerprint.
    pub keys: BTreeMap<String, Foreign>,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            services: Some(vec!["sshd".into()]),
            known_good: KnownGood::default(),
            hold: Duration::ZERO,
            keys: BTreeMap::new(),
        }
    }
}

impl Login {
    /// What stands in for a file that cannot be read: everything is watched and told.
    #[must_use]
    pub fn unreadable() -> Self {
        Self { services: None, ..Self::default() }
    }

    /// Whether the sessions of this PAM service are watched.
    #[must_use]
    pub fn watches(&self, service: &[u8]) -> bool {
        self.services
            .as_ref()
            .is_none_or(|known| known.iter().any(|name| name.as_bytes() == service))
    }
}

/// Reads `[login]`. What cannot be understood is left out, and always so that more is told,
/// not less: a bad entry is no entry, and a rule with any mistake in it is no rule.
pub fn read(document: &mut Document<'_>) -> Login {
    if document.is_broken() {
        // A stray quote can move a key from one table to another: trust none of it.
        document.table("login", |section| section.leave_rest());
        return Login::unreadable();
    }
    document.table("login", section).unwrap_or_default()
}

fn section(section: &mut Section<'_, '_>) -> Login {
    let mut login = Login::default();
    let before = section.findings();
    if let Some(services) = section.parse_list("services", service) {
        if services.is_empty() && section.findings() == before {
            section.reject_section(
                "services is empty; to watch nothing, take the line out of /etc/pam.d/sshd",
            );
        }
        login.services = Some(values(services));
    }
    if section.findings() > before {
        // A name left out would be a service that nobody hears of.
        login.services = None;
    }
    let mut rules = Vec::new();
    if let Some(nets) = section.parse_list("known-good", known_good::parse_net) {
        rules.push(Rule { name: "known-good".into(), from: Some(values(nets)), ..Rule::default() });
    }
    rules.extend(section.tables("allow", allow).into_iter().flatten());
    if entries(&rules) > known_good::MAX_ENTRIES {
        let most = known_good::MAX_ENTRIES;
        section.reject_section(format!(
            "more than {most} entries in known-good and allow; use networks"
        ));
        rules.clear();
    }
    login.known_good = KnownGood { rules };
    if let Some(hold) = section.parse("hold", duration::parse) {
        if hold.value > MAX_HOLD {
            section.reject("hold", &hold, "more than 10s; nobody waits that long for a shell");
        } else {
            login.hold = hold.value;
        }
    }
    for (fingerprint, name) in section.strings("keys") {
        match known_good::parse_fingerprint(&fingerprint) {
            Ok(fingerprint) => {
                login.keys.insert(fingerprint, Foreign::from(name.value.as_str()));
            }
            Err(message) => section.reject("keys", &name, message),
        }
    }
    login
}

fn service(name: &str) -> Result<String, String> {
    if name.is_empty() || name.contains('/') {
        Err(format!(
            "{name:?} is no PAM service; write the bare name of a file in /etc/pam.d, as \"sshd\""
        ))
    } else {
        Ok(name.to_owned())
    }
}

/// One `[[login.allow]]`; `None` when there is any mistake in it, because a condition left
/// out would make the rule wider than its author meant.
fn allow(number: &str, section: &mut Section<'_, '_>) -> Option<Rule> {
    let before = section.findings();
    let rule = conditions(format!("allow {number}"), section);
    if rule.users.is_none()
        && rule.from.is_none()
        && rule.keys.is_none()
        && !section.has_unread_keys()
    {
        section.reject_section("a rule without users, from and keys allows everybody; name them");
    }
    let sound = section.findings() == before && !section.has_unread_keys();
    sound.then_some(rule)
}

/// The conditions of a rule, of a `[[login.allow]]` and of an allowance alike. Whether what is left
/// when there are mistakes may be used is for the caller to say.
pub(super) fn conditions(name: String, section: &mut Section<'_, '_>) -> Rule {
    Rule {
        name,
        users: section.parse_list("users", |name| Ok::<_, String>(name.to_owned())).map(values),
        from: section.parse_list("from", known_good::parse_net).map(values),
        keys: section.parse_list("keys", known_good::parse_fingerprint).map(values),
        until: moment::read(section, "until"),
        granted: None,
    }
}

fn values<T>(list: Vec<Value<T>>) -> Vec<T> {
    list.into_iter().map(|value| value.value).collect()
}

fn entries(rules: &[Rule]) -> usize {
    let one = |rule: &Rule| {
        rule.from.as_ref().map_or(0, Vec::len)
            + rule.users.as_ref().map_or(0, Vec::len)
            + rule.keys.as_ref().map_or(0, Vec::len)
    };
    rules.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Finding;

    fn parse(text: &str) -> (Login, Vec<Finding>) {
        let mut document = Document::parse(text);
        let login = read(&mut document);
        (login, document.finish(&["login"]))
    }

    #[test]
    fn the_whole_section_is_read() {
        let (login, findings) = parse(
            r#"
            [login]
            services = ["sshd", "ssh-tunnel"]
            known-good = ["203.0.113.7", "2001:db8:1::/48"]
            hold = "400ms"
            keys = { "SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" = "alice laptop" }
            [[login.allow]]
            users = ["backup"]
            from = ["198.51.100.0/24"]
            until = 2027-01-01
            "#,
        );
        assert_eq!(findings, []);
        assert!(login.watches(b"ssh-tunnel") && !login.watches(b"sudo"));
        assert_eq!(login.hold, Duration::from_millis(400));
        assert_eq!(login.keys.len(), 1);
        assert_eq!(login.known_good.rules.len(), 2);
        assert_eq!(login.known_good.rules[1].until, Some(1_798_761_600));
    }

    #[test]
    fn a_rule_with_a_mistake_is_no_rule() {
        let table = [
            "usres = [\"backup\"]\nfrom = [\"198.51.100.0/24\"]",
            "users = [\"backup\"]\nfrom = [\"198.51.100.0/33\"]",
            "users = \"backup\"\nfrom = [\"198.51.100.0/24\"]",
            "from = [\"198.51.100.0/24\"]\nuntil = \"2027-01-01\"",
            "from = [\"198.51.100.0/24\"]\nuntil = 10:00:00",
            "users = [\"a\"]\nkeys = [\"MD5:aa\"]",
            "until = 2027-01-01",
            "",
        ];
        for rule in table {
            let (login, findings) = parse(&format!("[[login.allow]]\n{rule}\n"));
            assert_eq!(login.known_good.rules, [], "{rule}");
            assert_eq!(findings.len(), 1, "{rule}: {findings:?}");
        }
    }

    #[test]
    fn a_bad_entry_leaves_the_others() {
        let (login, findings) =
            parse("[login]\nknown-good = [\"203.0.113.7\", \"300.1.1.1\", \"::1\"]\n");
        assert_eq!(login.known_good.rules[0].from.as_ref().unwrap().len(), 2);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].line, findings[0].key.as_str()), (2, "login.known-good"));
    }

    #[test]
    fn a_mistake_in_services_watches_more_and_not_less() {
        for services in ["[\"/etc/pam.d/sshd\"]", "[22]", "[]", "\"sshd\"", "[\"sshd\", \"\"]"] {
            let (login, findings) = parse(&format!("[login]\nservices = {services}\n"));
            assert!(login.watches(b"sshd") && login.watches(b"anything"), "{services}");
            assert_eq!(findings.len(), 1, "{services}");
        }
    }

    #[test]
    fn nothing_of_a_file_with_a_syntax_error_is_known_good() {
        let (login, findings) = parse("[login]\nknown-good = [\"203.0.113.7\"]\nhold = \n");
        assert_eq!(login, Login::unreadable());
        assert_eq!(findings.len(), 1, "{findings:?}");
    }
}
