//! Logins that sshd tells of and pam_bastion does not: nobody was told of them.
//!
//! sshd logs `Accepted publickey for ..` and opens the PAM session in one and the same process (also where that
//! is sshd-session, since OpenSSH 9.8), so the two lines have one process id, a moment apart.

use std::time::Duration;

use serde_json::Value;

use super::finding::{Finding, Severity};
use crate::channel::rfc3339;
use crate::ffi;

/// How far apart the two lines may be: a PAM stack before ours may take its time, and the log too.
const APART: Duration = Duration::from_secs(120);

/// Logins younger than this are left for the next look: their record is being written.
const FRESH: Duration = Duration::from_secs(10);

/// How many of them are named.
const NAMED: usize = 5;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    at_ms: u64,
    tag: String,
    pid: u32,
    text: String,
}

/// Where lines come from, and so what they are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The journal, which knows who has said it.
    Journal,
    /// A syslog daemon's file, into which every user may write under any name.
    File,
}

/// How the journal is asked (journalctl(1)), from this moment on.
#[must_use]
pub fn arguments(since_ms: u64) -> Vec<String> {
    let since = format!("--since=@{}", since_ms / 1000);
    let words = [
        "--no-pager",
        "--quiet",
        "-o",
        "json",
        "-t",
        "sshd",
        "-t",
        "sshd-session",
        "-t",
        "pam_bastion",
    ];
    // Of an sshd that the internet sees, nearly all lines are of who did not come in; and of an entry little is
    // needed.
    let fewer = ["--grep", "^(Accepted|login) ", "--all"];
    let fields = ["--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,SYSLOG_PID"];
    // Any user can say that he is sshd (logger -t sshd). Who he is says the kernel.
    let of_root = ["_UID=0"];
    let words = words.into_iter().chain(fewer).chain(fields).map(str::to_owned);
    words.chain([since]).chain(of_root.map(str::to_owned)).collect()
}

/// The lines of a journal, as journalctl(1) prints it. A text that is not UTF-8 is a list of numbers there.
#[must_use]
pub fn of_journal(said: &str) -> Vec<Line> {
    let read = |line: &str| {
        let entry: Value = serde_json::from_str(line).ok()?;
        let get = |key: &str| entry.get(key)?.as_str();
        let text = match entry.get("MESSAGE")? {
            Value::String(text) => text.clone(),
            Value::Array(numbers) => {
                let byte = |number: &Value| u8::try_from(number.as_u64()?).ok();
                let bytes: Vec<u8> = numbers.iter().filter_map(byte).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            _ => return None,
        };
        let at_us: u64 = get("__REALTIME_TIMESTAMP")?.parse().ok()?;
        Some(Line {
            at_ms: at_us / 1000,
            tag: get("SYSLOG_IDENTIFIER")?.to_owned(),
            pid: get("_PID").or_else(|| get("SYSLOG_PID"))?.parse().ok()?,
            text,
        })
    };
    said.lines().filter_map(read).collect()
}

/// The lines of a file as rsyslog writes it, with either of its kinds of time: `2026-11-22T02:14:07.000+01:00` or,
/// in local time and without a year, `Nov 22 02:14:07`.
#[must_use]
pub fn of_file(text: &str, now_ms: u64) -> Vec<Line> {
    let ahead_s = zone_ahead_s(now_ms);
    text.lines().filter_map(|line| of_line(line, now_ms, ahead_s)).collect()
}

fn of_line(line: &str, now_ms: u64, ahead_s: i64) -> Option<Line> {
    let (at_ms, rest) = match line.as_bytes().first()? {
        b'0'..=b'9' => {
            let (time, rest) = line.split_once(' ')?;
            (time_with_zone(time)?, rest)
        }
        _ => (time_without_year(line.get(..15)?, now_ms, ahead_s)?, line.get(15..)?.trim_start()),
    };
    let (_host, rest) = rest.split_once(' ')?;
    let (tag, rest) = rest.split_once('[')?;
    let (pid, text) = rest.split_once("]: ")?;
    let known = matches!(tag, "sshd" | "sshd-session" | "pam_bastion");
    let line =
        || Some(Line { at_ms, tag: tag.to_owned(), pid: pid.parse().ok()?, text: text.to_owned() });
    if known { line() } else { None }
}

/// `2026-11-22T02:14:07.123456+01:00`.
fn time_with_zone(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let zone = text.get(19..)?;
    let zone = zone.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let ahead_s = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let ahead = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if *sign == b'-' { -ahead } else { ahead }
        }
        _ => return None,
    };
    let day = days(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let of_day = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    u64::try_from((day * 86_400 + of_day - ahead_s) * 1000).ok()
}

/// `Nov 22 02:14:07`, of the year that makes it the latest that is not to come.
fn time_without_year(text: &str, now_ms: u64, ahead_s: i64) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = i64::try_from(MONTHS.find(text.get(..3)?)? / 3 + 1).ok()?;
    let number = |from: usize, to: usize| text.get(from..to)?.trim().parse::<i64>().ok();
    let of_day = number(7, 9)? * 3600 + number(10, 12)? * 60 + number(13, 15)?;
    let day = number(4, 6)?;
    let now_s = i64::try_from(now_ms / 1000).ok()?;
    let this_year = 1970 + now_s / 31_556_952;
    // A day ahead: the clock may have been set back since.
    let candidates = [this_year + 1, this_year, this_year - 1];
    let at = candidates.map(|year| days(year, month, day) * 86_400 + of_day - ahead_s);
    let at = at.into_iter().find(|at| *at <= now_s + 86_400)?;
    u64::try_from(at * 1000).ok()
}

/// Days since 1970 of a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let shifted = (month + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// By how much this machine's zone is ahead of UTC now.
fn zone_ahead_s(now_ms: u64) -> i64 {
    let Ok(now_s) = i64::try_from(now_ms / 1000) else { return 0 };
    let Some(local) = ffi::local_time(now_s) else { return 0 };
    let day = days(i64::from(local.year), i64::from(local.month), i64::from(local.day));
    let of_day =
        i64::from(local.hour) * 3600 + i64::from(local.minute) * 60 + i64::from(local.second);
    day * 86_400 + of_day - now_s
}

/// Logins that have no record. Those before `since_ms` were before the guard.
#[must_use]
pub fn judge(lines: &[Line], source: Source, since_ms: u64, now_ms: u64) -> Option<Finding> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let until_ms = now_ms.saturating_sub(ms(FRESH));
    let has_record = |login: &Line| {
        let is_its = |line: &&Line| {
            line.tag == "pam_bastion"
                && line.pid == login.pid
                && line.text.starts_with("login ")
                && line.at_ms.abs_diff(login.at_ms) <= ms(APART)
        };
        lines.iter().any(|line| is_its(&line))
    };
    let of_sshd = lines.iter().filter(|line| matches!(line.tag.as_str(), "sshd" | "sshd-session"));
    let untold: Vec<String> = of_sshd
        .filter(|line| (since_ms..=until_ms).contains(&line.at_ms))
        .filter_map(|line| Some((line, accepted(&line.text)?)))
        .filter(|(line, _)| !has_record(line))
        .map(|(line, (user, from))| {
            let at = rfc3339::format(line.at_ms / 1000 * 1000).replace(".000Z", "Z");
            format!("{user} from {from} at {at} (pid {})", line.pid)
        })
        .collect();
    let last = untold.len().saturating_sub(NAMED);
    let named = untold.iter().skip(last).map(String::as_str).collect::<Vec<_>>().join(", ");
    let earlier = if last > 0 { format!(", and {last} earlier") } else { String::new() };
    (!untold.is_empty()).then(|| {
        let forged = match source {
            Source::Journal => "",
            Source::File => " (by auth.log, into which any user of this host may write as sshd)",
        };
        let text = format!("{} of the last day without a record of pam_bastion{forged}: {named}{earlier}", logins(untold.len()));
        let fix = "ask who it was; then see that it cannot happen again: UsePAM yes, bastion enable, and what else \
                   is told here; journalctl -t sshd -t sshd-session -t pam_bastion has all lines";
        Finding::new(Severity::Critical, "untold-login", "sessions", text, fix)
    })
}

fn logins(count: usize) -> String {
    if count == 1 { "1 login".into() } else { format!("{count} logins") }
}

/// Who came in from where, by `Accepted publickey for alice from 203.0.113.9 port 5022 ssh2: ..`. A name may
/// have anything in it, so its end is looked for from the other side.
fn accepted(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("Accepted ")?;
    let (_method, rest) = rest.split_once(" for ")?;
    let (rest, _) = rest.rsplit_once(" port ")?;
    rest.rsplit_once(" from ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_313_647_000;

    fn line(at_s: u64, tag: &str, pid: u32, text: &str) -> Line {
        Line { at_ms: NOW - 3_600_000 + at_s * 1000, tag: tag.into(), pid, text: text.into() }
    }

    const CAME: &str =
        "Accepted publickey for alice from 203.0.113.9 port 5022 ssh2: ED25519 SHA256:abc";
    const TOLD: &str =
        "login verdict=alert alert=k7f3q2 user=\"alice\" service=\"sshd\" from=203.0.113.9";

    fn untold(lines: &[Line]) -> Option<String> {
        judge(lines, Source::Journal, NOW - 86_400_000, NOW).map(|finding| finding.text)
    }

    #[test]
    fn a_login_without_its_record_is_found_and_no_other() {
        let came = |at| line(at, "sshd", 7, CAME);
        let told = |at, pid| line(at, "pam_bastion", pid, TOLD);
        let fine: [&[Line]; 8] = [
            &[],
            &[came(0), told(0, 7)],
            &[told(0, 7), came(0)],
            &[line(0, "sshd-session", 7, CAME), told(60, 7)],
            &[line(0, "sshd", 7, "Failed password for alice from 203.0.113.9 port 1 ssh2")],
            &[line(0, "sshd", 7, "Partial publickey for alice from 203.0.113.9 port 1 ssh2")],
            // Another program's words.
            &[line(0, "cron", 7, CAME)],
            // Its record is being written.
            &[line(3595, "sshd", 7, CAME)],
        ];
        for lines in fine {
            assert_eq!(untold(lines), None, "{lines:?}");
        }
        let found: [&[Line]; 5] = [
            &[came(0)],
            &[came(0), told(0, 8)],
            // The number is another's by then.
            &[came(0), told(1000, 7)],
            &[came(0), line(0, "pam_bastion", 7, "logout seconds=1 user=\"alice\"")],
            &[came(0), line(0, "sshd", 7, TOLD)],
        ];
        for lines in found {
            let text = untold(lines).unwrap();
            assert!(
                text.contains("alice from 203.0.113.9 at 2026-11-2") && text.contains("pid 7"),
                "{text}"
            );
        }
        // Before the guard was there.
        assert_eq!(judge(&[came(0)], Source::Journal, NOW - 3_599_000, NOW), None);
        let of_file = judge(&[came(0)], Source::File, 0, NOW).unwrap().text;
        assert!(of_file.contains("any user of this host may write"), "{of_file}");
        let many: Vec<Line> = (0..9).map(|pid| line(0, "sshd", pid, CAME)).collect();
        let text = untold(&many).unwrap();
        assert!(
            text.starts_with("9 logins")
                && text.contains("(pid 8)")
                && text.ends_with("and 4 earlier"),
            "{text}"
        );
        assert!(!text.contains("(pid 3)"), "{text}");
    }

    #[test]
    fn a_name_cannot_make_itself_another_place() {
        let table = [
            (CAME, Some(("alice", "203.0.113.9"))),
            (
                "Accepted password for a from 10.0.0.1 port 22 from 203.0.113.9 port 5022 ssh2",
                Some(("a from 10.0.0.1 port 22", "203.0.113.9")),
            ),
            (
                "Accepted keyboard-interactive/pam for bob from 2001:db8::1 port 5 ssh2",
                Some(("bob", "2001:db8::1")),
            ),
            ("Accepted", None),
            ("Accepted publickey for alice", None),
        ];
        for (text, want) in table {
            assert_eq!(accepted(text), want, "{text}");
        }
    }

    #[test]
    fn a_journal_is_read_as_journalctl_prints_it() {
        // Of systemd 252, cut to some of its fields.
        let said = r#"{"__REALTIME_TIMESTAMP":"1795313600123456","_PID":"4711","SYSLOG_IDENTIFIER":"sshd","SYSLOG_PID":"4711","MESSAGE":"Accepted publickey for alice from 203.0.113.9 port 5022 ssh2","_UID":"0"}
{"__REALTIME_TIMESTAMP":"1795313600223456","SYSLOG_IDENTIFIER":"pam_bastion","SYSLOG_PID":"4711","MESSAGE":[108,111,103,105,110,32,255]}
{"__REALTIME_TIMESTAMP":"x","SYSLOG_IDENTIFIER":"sshd","_PID":"1","MESSAGE":null}
garbage
"#;
        let lines = of_journal(said);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(
            (lines[0].at_ms, lines[0].pid, lines[0].tag.as_str()),
            (1_795_313_600_123, 4711, "sshd")
        );
        assert_eq!((lines[1].pid, lines[1].text.as_str()), (4711, "login \u{fffd}"));
    }

    #[test]
    fn a_file_is_read_with_either_time() {
        let text = "2026-11-22T03:14:07.123456+01:00 jump sshd[4711]: Accepted publickey for a from ::1 port 5 ssh2\n\
                    2026-11-22T02:14:07Z jump pam_bastion[4711]: login verdict=alert\n\
                    2026-11-22T02:14:07Z jump cron[1]: x\n\
                    2026-11-22T02:14:07Z jump kernel: x\n\
                    2026-11-22Tx jump sshd[1]: x\n\
                    \n\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4} x\n";
        let lines = of_file(text, NOW);
        let times: Vec<u64> = lines.iter().map(|line| line.at_ms).collect();
        assert_eq!(times, [1_795_313_647_000; 2], "{lines:?}");
        assert_eq!((lines[0].pid, lines[0].tag.as_str()), (4711, "sshd"));
        // In a zone two hours ahead, the day before, and of the year before.
        let old = |text: &str| time_without_year(text, NOW, 7200);
        assert_eq!(old("Nov 22 04:14:07"), Some(NOW));
        assert_eq!(old("Nov  2 04:14:07"), Some(NOW - 20 * 86_400_000));
        assert_eq!(old("Dec 22 04:14:07"), Some(NOW - 335 * 86_400_000));
        assert_eq!(old("Foo 22 04:14:07"), None);
    }

    #[test]
    fn the_zone_of_this_machine_is_known() {
        let ahead = zone_ahead_s(NOW);
        assert!(ahead.abs() <= 14 * 3600 && ahead % 900 == 0, "{ahead}");
    }
}
