//! `allowances.toml`, beside the configuration: known-good places for a time, as `bastion allow`
//! grants them. Each ends by itself.
//!
//! ```toml
//! [[allow]]
//! from = ["203.0.113.0/24"]
//! users = ["alice"]
//! until = 2027-01-31T18:00:00Z
//! granted = 2027-01-29T18:00:00Z
//! by = "alice"
//! boot = "5f0e..."
//! boot-end-s = 190000
//! ```
//!
//! An entry is a `[[login.allow]]` with an end, read by the same reader. What is wrong in it leaves
//! it out; a file that cannot be trusted or understood has no allowances in it. No file, no
//! allowances: that is no mistake.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{ConfigError, Document, Finding, Section, login, moment, read_trusted};
use crate::clock::{BootStamp, Stamp};
use crate::known_good::{Granted, Miss, Now, Rule};

/// The file's name, in the directory of the configuration.
pub const FILE: &str = "allowances.toml";

/// Longest time that a place may be allowed for. What is longer belongs into the configuration,
/// where somebody reads it.
pub const MAX_FOR: Duration = Duration::from_secs(90 * 86_400);

/// Most entries: each login may have to walk them all.
pub const MAX_ENTRIES: usize = 100;

/// Largest file read, in bytes: 100 entries with a user and a key are some 30 KB.
pub const MAX_BYTES: u64 = 64 * 1024;

/// A place that is known good for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// What has to hold. It has an end and says when it was granted.
    pub rule: Rule,
    /// Who granted it, in words; empty when the file does not say.
    pub by: String,
}

/// What the file holds.
#[derive(Debug, Default)]
pub struct Allowances {
    /// In the order of the file, those that are over as well.
    pub list: Vec<Allowance>,
    /// What was left out, and why.
    pub findings: Vec<Finding>,
}

/// Where the allowances of the configuration at `config` are.
#[must_use]
pub fn path(config: &Path) -> PathBuf {
    config.with_file_name(FILE)
}

/// Reads the allowances of the configuration at `config`; none where there is no file. The file is
/// one that may be trusted as the configuration itself, and no link: it is only ever written by
/// rename. Never waits.
///
/// # Errors
///
/// As [`super::read_file`].
pub fn load(config: &Path) -> Result<Allowances, ConfigError> {
    match read_trusted(&path(config), libc::O_NOFOLLOW, MAX_BYTES) {
        Ok(source) => Ok(parse(&source.text, unix_seconds(source.modified))),
        Err(ConfigError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Allowances::default())
        }
        Err(error) => Err(error),
    }
}

/// Reads the text of the file, which was written at `written_s` (seconds since 1970).
#[must_use]
pub fn parse(text: &str, written_s: i64) -> Allowances {
    let mut document = Document::parse(text);
    let broken = document.is_broken();
    let read = document.tables("allow", |number, section| entry(number, section, written_s));
    let count = read.len();
    let mut list: Vec<Allowance> = read.into_iter().flatten().collect();
    let mut findings = document.finish(&["allow"]);
    if count > MAX_ENTRIES {
        let message = format!("more than {MAX_ENTRIES} entries; known-good takes what is for long");
        findings.push(Finding { line: 0, key: "allow".into(), message });
    }
    if broken || count > MAX_ENTRIES {
        // A stray quote can move a condition from one entry to another: trust none of it.
        list.clear();
    }
    Allowances { list, findings }
}

fn entry(number: &str, section: &mut Section<'_, '_>, written_s: i64) -> Option<Allowance> {
    let before = section.findings();
    section.need("from").need("until");
    let mut rule = login::conditions(String::new(), section);
    let granted_s = moment::read(section, "granted").unwrap_or(written_s);
    let by = section.get_or("by", String::new());
    let boot = section.get::<String>("boot").zip(section.get::<u32>("boot-end-s"));
    let until_s = rule.until?;
    if until_s.saturating_sub(granted_s) > max_for_s() {
        let days = MAX_FOR.as_secs() / 86_400;
        section.reject_section(format!(
            "ends more than {days} days after it was granted; what is for long belongs into \
             known-good or [[login.allow]]"
        ));
    }
    rule.granted = Some(Granted {
        at_s: granted_s,
        boot_end: boot.map(|(id, end)| BootStamp { id: id.value, ms: u64::from(end.value) * 1000 }),
    });
    rule.name = name(number, &rule);
    let sound = section.findings() == before && !section.has_unread_keys();
    sound.then_some(Allowance { rule, by })
}

/// What an allowance is called in the log: its number, its place and its end.
fn name(number: &str, rule: &Rule) -> String {
    let until = rule.until.map(moment::write).unwrap_or_default();
    format!("allowance {number} ({} until {until})", places(rule))
}

/// `203.0.113.0/24`, `203.0.113.7`; of several, the first and how many more.
#[must_use]
pub fn places(rule: &Rule) -> String {
    let nets = rule.from.as_deref().unwrap_or_default();
    let Some(first) = nets.first() else { return "nowhere".into() };
    let first = match first.prefix_len() == first.max_prefix_len() {
        true => first.addr().to_string(),
        false => first.to_string(),
    };
    match nets.len() {
        1 => first,
        more => format!("{first} and {} more", more.saturating_sub(1)),
    }
}

/// Whether the time of an allowance is not over at a moment, as far as clocks can tell.
///
/// # Errors
///
/// As [`Rule::check_time`].
pub fn time_left(rule: &Rule, at: &Stamp) -> Result<(), Miss> {
    let unix_s = i64::try_from(at.unix_ms / 1000).unwrap_or(i64::MAX);
    rule.check_time(Now { unix_s, not_before_s: 0 }, at.boot.as_ref())
}

fn max_for_s() -> i64 {
    i64::try_from(MAX_FOR.as_secs()).unwrap_or(i64::MAX)
}

fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or(0)
}

/// The file that holds `list`.
#[cfg(feature = "deliver")]
#[must_use]
pub fn write(list: &[Allowance]) -> String {
    use std::fmt::Write as _;

    let mut text = String::from(
        "# Known-good places for a time, written by \"bastion allow\"; bastion allow --list shows\n\
         # them. The PAM module reads this file at each login. After a change by hand: bastion check.\n",
    );
    for Allowance { rule, by } in list {
        text.push_str("\n[[allow]]\n");
        let from: Option<Vec<String>> =
            rule.from.as_ref().map(|nets| nets.iter().map(ToString::to_string).collect());
        for (key, values) in [("from", &from), ("users", &rule.users), ("keys", &rule.keys)] {
            if let Some(values) = values {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                let _ = writeln!(text, "{key} = [{}]", values.join(", "));
            }
        }
        if let Some(until) = rule.until {
            let _ = writeln!(text, "until = {}", moment::write(until));
        }
        if let Some(granted) = &rule.granted {
            let _ = writeln!(text, "granted = {}", moment::write(granted.at_s));
            if let Some(end) = &granted.boot_end {
                let id = quoted(&end.id);
                // Rounded down: it may end a moment early, never late.
                let _ = writeln!(text, "boot = {id}\nboot-end-s = {}", end.ms / 1000);
            }
        }
        let _ = writeln!(text, "by = {}", quoted(by));
    }
    text
}

/// A basic string of TOML: quotes, backslashes and control characters escaped.
#[cfg(feature = "deliver")]
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_good::{Facts, KnownGood, Now, Verdict, parse_net};

    const KEY: &str = "SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const NOW: i64 = 1_800_000_000;

    fn allowance(net: &str) -> Allowance {
        let rule = Rule {
            name: String::new(),
            from: Some(vec![parse_net(net).unwrap()]),
            users: None,
            keys: None,
            until: Some(NOW + 3600),
            granted: Some(Granted { at_s: NOW, boot_end: None }),
        };
        Allowance { rule, by: "alice".into() }
    }

    fn found(text: &str) -> Vec<(usize, String)> {
        parse(text, NOW).findings.into_iter().map(|f| (f.line, f.key)).collect()
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut list = vec![allowance("203.0.113.0/24"), allowance("2001:db8::/48")];
        list[1].rule.users = Some(vec!["al\"ice\\\n\u{7f}é".into()]);
        list[1].rule.keys = Some(vec![KEY.into()]);
        list[1].by = "\u{1b}[2J\"".into();
        list[1].rule.granted.as_mut().unwrap().boot_end =
            Some(BootStamp { id: "5f".into(), ms: 77_000 });
        let read = parse(&write(&list), 0);
        assert_eq!(read.findings, []);
        for (i, one) in list.iter_mut().enumerate() {
            one.rule.name = name(&(i + 1).to_string(), &one.rule);
        }
        assert_eq!(read.list, list);
        assert_eq!(list[0].rule.name, "allowance 1 (203.0.113.0/24 until 2027-01-15T09:00:00Z)");
        assert!(parse(&write(&[]), 0).list.is_empty() && found(&write(&[])).is_empty());
    }

    #[test]
    fn an_entry_with_a_mistake_is_left_out_and_the_others_stay() {
        let good = "[[allow]]\nfrom = [\"203.0.113.7\"]\nuntil = 2027-01-15T09:00:00Z\n";
        let table = [
            ("from = [\"203.0.113.7\"]", "allow.1.until"),
            ("until = 2027-01-16", "allow.1.from"),
            ("from = [\"0.0.0.0/0\"]\nuntil = 2027-01-16", "allow.1.from"),
            ("from = [\"x\"]\nuntil = 2027-01-16", "allow.1.from"),
            ("from = [\"203.0.113.9\"]\nuntil = \"2027-01-16\"", "allow.1.until"),
            ("from = [\"203.0.113.9\"]\nuntil = 2027-01-16\nuser = \"a\"", "allow.1.user"),
            ("from = [\"203.0.113.9\"]\nuntil = 2027-01-16\nusers = \"a\"", "allow.1.users"),
            ("from = [\"203.0.113.9\"]\nuntil = 2027-01-16\nkeys = [\"a\"]", "allow.1.keys"),
            ("from = [\"203.0.113.9\"]\nuntil = 2027-01-16\nboot-end-s = -1", "allow.1.boot-end-s"),
            // More than 90 days after the file was written.
            ("from = [\"203.0.113.9\"]\nuntil = 2027-04-16", "allow.1"),
            ("from = [\"203.0.113.9\"]\nuntil = 2027-04-16\ngranted = 2027-01-10", "allow.1"),
        ];
        for (entry, key) in table {
            let text = format!("[[allow]]\n{entry}\n{good}");
            let read = parse(&text, NOW);
            assert_eq!(read.list.len(), 1, "{entry}: {:?}", read.list);
            assert!(read.list[0].rule.name.starts_with("allowance 2 (203.0.113.7 "));
            assert_eq!(read.findings.len(), 1, "{entry}: {:?}", read.findings);
            assert_eq!(read.findings[0].key, key, "{entry}");
            assert!(read.findings[0].line > 0, "{entry}");
        }
    }

    #[test]
    fn a_file_that_is_not_understood_has_no_allowances() {
        let good = write(&[allowance("203.0.113.7")]);
        let many = write(&vec![allowance("203.0.113.7"); MAX_ENTRIES + 1]);
        for text in [
            format!("= 1\n{good}"),
            format!("{good}\nx = ["),
            many,
            "allow = 1".into(),
            "[allow".into(),
        ] {
            let read = parse(&text, NOW);
            assert!(read.list.is_empty() && !read.findings.is_empty(), "{text}");
        }
        assert_eq!(
            parse(&write(&vec![allowance("203.0.113.7"); MAX_ENTRIES]), NOW).list.len(),
            100
        );
        assert_eq!(found(&format!("y = 1\n{good}")), [(1, "y".into())]);
    }

    #[test]
    fn loopback_is_allowed_only_where_it_is_written_out() {
        let verdict = |net: &str| {
            let rules = parse(&write(&[allowance(net)]), 0).list;
            let policy = KnownGood { rules: rules.into_iter().map(|one| one.rule).collect() };
            policy.verdict(&Facts {
                user: b"a",
                source: Some([127, 0, 0, 1].into()),
                keys: &[],
                now: Now { unix_s: NOW, not_before_s: 0 },
                boot: None,
            })
        };
        assert!(matches!(verdict("64.0.0.0/2"), Verdict::Alert(_)));
        assert!(matches!(verdict("127.0.0.1"), Verdict::KnownGood(_)));
    }
}
