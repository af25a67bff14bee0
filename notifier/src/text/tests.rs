mod digests;
mod new;
mod set_clock;
mod via;
mod went_on;

use super::plain::{body_in, subject_in};
use super::sms::compose;
use super::*;
use crate::event::{AlertId, Certificate, ConditionFault, FORMAT, Note, Report, Tally, Unit};
use crate::message::{Message, New};

const HASH: &str = "SHA256:Cn8jgNmT4nTCs5DE8J9h3t0ToYGqKxtGF44kFZFlEI0";
const DAY: u64 = 86_400_000;

/// A zone of the tests' own: whatever the moment, it is 22 Nov 2026, 02:14:07 UTC.
fn fixed(_: i64) -> Option<LocalTime> {
    let zone = "UTC".to_owned();
    Some(LocalTime {
        year: 2026,
        month: 11,
        day: 22,
        weekday: 0,
        hour: 2,
        minute: 14,
        second: 7,
        zone,
    })
}

fn stamp(unix_ms: u64) -> Stamp {
    Stamp { unix_ms, boot: None }
}

fn event(what: What) -> Event {
    Event {
        version: FORMAT,
        id: AlertId::parse("k7f3q2").unwrap(),
        at: stamp(DAY),
        host: "jump".into(),
        severity: Severity::Warning,
        what,
    }
}

fn note(text: &str) -> Event {
    event(What::Note(Note { text: text.to_owned() }))
}

fn key(name: Option<&str>, key_id: Option<&str>) -> Factor {
    let certificate =
        key_id.map(|id| Certificate { key_id: id.into(), serial: 7, ca: HASH.into() });
    let algorithm = "ssh-ed25519".into();
    let name = name.map(Foreign::from);
    let key = Some(Key { algorithm, fingerprint: HASH.into(), name, certificate });
    Factor { method: "publickey".into(), key }
}

fn method(name: &str) -> Factor {
    Factor { method: name.into(), key: None }
}

fn login(user: &str, source: &str, auth: Vec<Factor>) -> Login {
    Login {
        user: user.into(),
        service: "sshd".into(),
        source: source.parse().ok(),
        auth,
        reason: "not known good".to_owned(),
        pid: 42,
        ..Login::default()
    }
}

fn short(event: &Event, extra: Option<&str>, late_ms: u64, max_segments: usize) -> String {
    let context =
        Context { now: &stamp(DAY + late_ms), local: fixed, new: NOTHING, facts: NO_FACTS };
    compose(event, extra, &context, max_segments)
}

/// Says of an event that all of it is new.
fn is_new(event: &Event) -> Marks {
    Marks::from([(event.id, New { network: true, key: true })])
}

#[test]
fn a_login_in_one_line() {
    let laptop = || key(Some("alice laptop"), None);
    let from = "203.0.113.9";
    let table = [
        (login("alice", from, vec![laptop()]), "alice from 203.0.113.9, key alice laptop"),
        (login("a b", "127.0.0.1", vec![]), "\"a b\" from 127.0.0.1 via tunnel, auth unknown"),
        (login("alice", "::1", vec![method("password")]), "alice from ::1 via tunnel, by password"),
        (login("", "2001:db8::1", vec![]), "(no name) from 2001:db8::1, auth unknown"),
        (login("zoë", "", vec![laptop()]), "zoe from unknown, key alice laptop"),
        (
            login("alice", from, vec![laptop(), method("password")]),
            "alice from 203.0.113.9, key alice laptop + password",
        ),
        (
            login("alice", from, vec![method("keyboard-interactive/pam"), key(None, None)]),
            "alice from 203.0.113.9, by keyboard-interactive + key SHA256:Cn8jgNmT..",
        ),
        (
            login("alice", from, vec![key(None, Some("alice-2026"))]),
            "alice from 203.0.113.9, cert alice-2026",
        ),
        (
            login("alice", from, vec![key(None, Some("a, from \"::1\""))]),
            "alice from 203.0.113.9, cert \"a, from '::1'\"",
        ),
        (
            login("alice", from, vec![key(Some("work"), Some("alice-2026"))]),
            "alice from 203.0.113.9, cert work",
        ),
        (
            login("alice", from, vec![key(None, Some(""))]),
            "alice from 203.0.113.9, cert SHA256:Cn8jgNmT..",
        ),
        (login("alice", from, vec![method("publickey")]), "alice from 203.0.113.9, key unknown"),
        (
            login("alice", from, vec![Factor { method: "hostbased".into(), ..laptop() }]),
            "alice from 203.0.113.9, host key alice laptop",
        ),
        (
            login("alice", from, vec!["a", "b", "c", "d", "e"].into_iter().map(method).collect()),
            "alice from 203.0.113.9, by a + b + c +2 more",
        ),
    ];
    for (login, want) in table {
        let want = format!("jump: login {want}, 22 Nov 02:14:07 UTC #k7f3q2");
        assert_eq!(short(&event(What::Login(login)), None, 0, 1), want);
    }

    let mut named = login("alice", "", vec![]);
    named.source_name = Some("evil \"name\"".into());
    assert_eq!(
        short(&event(What::Login(named)), None, 0, 1),
        "jump: login alice from unknown \"evil 'name'\", auth unknown, 22 Nov 02:14:07 UTC #k7f3q2"
    );
}

#[test]
fn lateness_is_told_from_a_minute_on() {
    let event = event(What::Login(login("alice", "203.0.113.9", vec![method("password")])));
    let table = [
        (0, ""),
        (60_000, ""),
        (61_000, ", told 1 min late"),
        (41 * 60_000, ", told 41 min late"),
        (3_600_000, ", told 1 h late"),
        (47 * 3_600_000, ", told 47 h late"),
        (2 * DAY, ", told 2 days late"),
        (999 * DAY, ", told 999 days late"),
        (1000 * DAY, ", told 999+ days late"),
        (u64::MAX - DAY, ", told 999+ days late"),
    ];
    for (late_ms, want) in table {
        let text = short(&event, None, late_ms, 1);
        assert!(text.ends_with(&format!("22 Nov 02:14:07 UTC{want} #k7f3q2")), "{text}");
    }
}

#[test]
fn time_is_shown_in_the_zone_or_as_a_number() {
    let now = stamp(0);
    let cut = |_| Some(LocalTime { zone: "<+0530-x>".into(), ..fixed(0).unwrap() });
    let table: [(Zone, &str); 3] =
        [(fixed, "22 Nov UTC"), (cut, "22 Nov +0530-"), (|_| None, "@86400")];
    for (local, want) in table {
        assert_eq!(
            Context { now: &now, local, new: NOTHING, facts: NO_FACTS }.moment(&stamp(DAY), day),
            want
        );
    }
    let here = ffi::local_time(86_400).unwrap();
    assert_eq!((here.year, here.month), (1970, 1), "a day after the epoch in every zone");
    assert!([1, 2].contains(&here.day) && here.hour < 24 && !here.zone.is_empty());
    assert_eq!(ffi::local_time(i64::MAX), None);
}

#[test]
fn a_note_in_one_line() {
    let table = [
        (Severity::Info, "disk\n  is\tfull", "note: disk is full"),
        (Severity::Critical, "Größe: 5 €", "CRITICAL: Größe: 5 €"),
        (Severity::Warning, "a\u{1b}[1m“b”", "warning: a\\x1b[1m\"b\""),
    ];
    for (severity, text, want) in table {
        let event = Event { severity, ..note(text) };
        let want = format!("jump: {want} 22 Nov 02:14 UTC #k7f3q2");
        assert_eq!(short(&event, None, 0, 1), want);
    }
    let long = short(&note(&"word ".repeat(800)), None, 41 * 60_000, 1);
    assert!(long.starts_with("jump: warning: word word "), "{long}");
    assert!(long.ends_with(".. 22 Nov 02:14 UTC, told 41 min late #k7f3q2"), "{long}");
    assert_eq!(gsm7::septets(&long), Some(160), "all the room is used: {long}");
}

#[test]
fn what_is_too_long_gives_way_in_order() {
    let hint = Some("also logged in: bob, carol");
    let of = |host: &str, user: &str, name: &str| {
        let factors = vec![key(Some(name), None), method("password")];
        let what = What::Login(login(user, "203.0.113.9", factors));
        Event { host: host.into(), ..event(what) }
    };
    let with_hint = "22 Nov 02:14:07 UTC (also logged in: bob, carol) #k7f3q2";
    let rest = "22 Nov 02:14:07 UTC #k7f3q2";
    let (long, x50, x60) = ("a".repeat(200), "x".repeat(50), "x".repeat(60));
    let a30 = "a".repeat(30);
    // Where `<` stands, the name takes all the room there is left.
    let table = [
        (
            of("jump", "alice", "laptop"),
            format!("jump: login alice from 203.0.113.9, key laptop + password, {with_hint}"),
        ),
        (
            of("jump", "alice", &x60),
            format!("jump: login alice from 203.0.113.9, key {x60} + password, {rest}"),
        ),
        (
            of("jump", &long, "laptop"),
            format!("jump: login <.. from 203.0.113.9, key laptop + password, {rest}"),
        ),
        (
            of("jump", &long, &x50),
            format!("jump: login <.. from 203.0.113.9, key {x50} + password, {rest}"),
        ),
        (
            of(&long, &long, &long),
            format!("{a30}..: login {a30}.. from 203.0.113.9, key <.. + password, {rest}"),
        ),
    ];
    for (event, want) in table {
        let all = "a".repeat(161_usize.saturating_sub(want.len()));
        assert_eq!(short(&event, hint, 0, 1), want.replace('<', &all));
    }
}

#[test]
fn the_longest_event_there_can_be_fits_one_segment() {
    let awkward = "€ ".repeat(85);
    let name = || Some(Foreign::from(awkward.as_str()));
    let factor = Factor { method: "hostbased".into(), ..key(Some(&awkward), Some("x")) };
    let source = "2001:1db8:1111:2222:3333:4444:5555:6666";
    let what = login(&awkward, source, vec![factor; 2000]);
    let nowhere = Login { source: None, source_name: name(), ..what.clone() };
    let long_zone: Zone = |_| Some(LocalTime { zone: "ABCDEFGH".into(), ..fixed(0).unwrap() });
    let report = event(What::Report(Report {
        since: stamp(DAY),
        logins: 999_999,
        others: 999_999,
        allowances: 999_999,
        lost: u64::MAX,
        tallies: vec![Tally { name: name().unwrap(), good: 1, all: 2, unit: Unit::Times }; 999],
        ..Report::default()
    }));
    let report = Event { host: name().unwrap(), ..report };
    let context =
        Context { now: &stamp(u64::MAX), local: long_zone, new: NOTHING, facts: NO_FACTS };
    let text = compose(&report, None, &context, 1);
    assert_eq!(gsm7::segments(&text), 1, "{text}");
    for login in [what, nowhere] {
        let event = Event {
            host: name().unwrap(),
            severity: Severity::Critical,
            ..event(What::Login(login.clone()))
        };
        let new = is_new(&event);
        let facts = Facts::from([(event.id, Fact::WentOn(vec![Foreign::new(&[b'x'; 256]); 200]))]);
        let context = Context { now: &stamp(u64::MAX), local: long_zone, new: &new, facts: &facts };
        let text = compose(&event, Some(&awkward), &context, 0);
        assert_eq!(gsm7::segments(&text), 1, "{text}");
        assert!(text.contains(": CRITICAL NEW login "), "{text}");
        assert!(text.ends_with(" +999 more, 22 Nov 02:14:07 ABCDEF, told 999+ days late #k7f3q2"));
        let from = login.source.map_or(" from unknown \"".to_owned(), |ip| format!(" from {ip}, "));
        assert!(text.contains(&from), "{text}");
    }
}

#[test]
fn a_body_has_every_fact_a_line() {
    let mut login =
        login("al\nice", "127.0.0.1", vec![key(Some("laptop"), Some("id")), method("password")]);
    login.reason = "x\ny".into();
    let event = event(What::Login(login));
    let context =
        Context { now: &stamp(DAY + 41 * 60_000), local: fixed, new: NOTHING, facts: NO_FACTS };
    let want = format!(
        "id: k7f3q2\nevent: login\nseverity: warning\nhost: jump\nat: 2026-11-22 02:14:07 UTC\n\
         late: 41 min\nuser: al\\x0aice\nservice: sshd\nsource: 127.0.0.1 via tunnel\n\
         auth: publickey\n  key: laptop\n  algorithm: ssh-ed25519\n  fingerprint: {HASH}\n  \
         certificate: id\n  serial: 7\n  ca: {HASH}\nauth: password\nreason: x\\x0ay\npid: 42\n\
         hint: also logged in: bob\n"
    );
    assert_eq!(body_in(&event, Some("also logged in: bob"), &context), want);
    let want = "jump: login al\\x0aice from 127.0.0.1 via tunnel, cert laptop + password, told 41 min late #k7f3q2";
    assert_eq!(subject_in(&event, &context), want);

    let body = body_in(&note("disk\tis full\n\nid: forged\u{1b}"), None, &context);
    assert!(body.ends_with("\ntext:\n  disk is full\n\n  id: forged\\x1b\n"), "{body}");
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.next() % bound).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64)].clone()
    }

    fn text(&mut self) -> String {
        let pieces = [
            "a", "alice", " ", "€", "[", "ë", "e\u{301}", "猫", "\n", "\u{202e}", "\"", "\\", ", ",
            "#", "🐈", "\0",
        ];
        let count = self.one(&[0, 1, 3, 8, 20, 80, 300]);
        (0..count).map(|_| self.one(&pieces)).collect()
    }

    fn name(&mut self) -> Foreign {
        if self.below(8) > 0 {
            return Foreign::from(self.text().as_str());
        }
        let bytes: Vec<u8> = (0..self.below(300)).map(|_| self.next().to_le_bytes()[0]).collect();
        Foreign::new(&bytes)
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    fn factor(&mut self) -> Factor {
        let method = self.one(&["publickey", "hostbased", "password", "keyboard-interactive/pam"]);
        let method = if self.below(9) == 0 { self.name() } else { method.into() };
        let key = self.maybe(|random| Key {
            algorithm: random.name(),
            fingerprint: if random.below(5) == 0 { random.text() } else { HASH.to_owned() },
            name: random.maybe(Self::name),
            certificate: random.maybe(|random| Certificate {
                key_id: random.name(),
                serial: random.next(),
                ca: random.text(),
            }),
        });
        Factor { method, key }
    }

    fn tally(&mut self) -> Tally {
        let [good, all] = [0, 0].map(|_| self.one(&[0, 1, 168, 604_800, u64::MAX]));
        Tally { name: self.name(), good, all, unit: self.one(&[Unit::Times, Unit::Seconds]) }
    }

    fn report(&mut self) -> Report {
        let [logins, others, lost, late_s, allowances] =
            [0; 5].map(|_| self.one(&[0, 1, 2, u64::MAX]));
        let since = stamp(self.one(&[0, DAY, u64::MAX]));
        let tallies = (0..self.one(&[0, 1, 2, 33])).map(|_| self.tally()).collect();
        Report { since, logins, others, lost, late_s, allowances, tallies }
    }

    fn event(&mut self) -> Event {
        let what = if self.below(8) == 0 {
            What::Tally(self.tally())
        } else if self.below(8) == 0 {
            What::Report(self.report())
        } else if self.below(4) == 0 {
            What::Note(Note { text: self.text() + &self.text() })
        } else if self.below(4) == 0 {
            let status = self.one(&[Status::Down, Status::Up]);
            What::Condition(Condition::new(self.name(), status, self.text()))
        } else {
            let ip = self.one(&[
                "203.0.113.9",
                "::1",
                "127.9.9.9",
                "fd00:1:2:3:4:5:6:7",
                "ffff:ffff::1",
            ]);
            What::Login(Login {
                user: self.name(),
                service: self.name(),
                source: self.maybe(|_| ip.parse().unwrap()),
                source_name: self.maybe(Self::name),
                port: self.maybe(|_| 45_192),
                server: self.maybe(|_| ([127, 0, 0, 1], 22).into()),
                auth: (0..self.one(&[0, 1, 1, 2, 3, 9])).map(|_| self.factor()).collect(),
                reason: self.text(),
                pid: 1,
            })
        };
        Event {
            version: FORMAT,
            id: AlertId::from_bits(u32::try_from(self.below(1 << 30)).unwrap()),
            at: stamp(self.one(&[0, DAY, DAY * 20_000, u64::MAX])),
            host: self.name(),
            severity: self.one(&Severity::ALL),
            what,
        }
    }
}

#[test]
fn whatever_the_event_the_short_message_fits_and_keeps_what_matters() {
    let mut random = Random(31_972);
    for round in 0..1000 {
        let event = random.event();
        let extra = random.maybe(Random::text);
        let late_ms = random.one(&[0, 59_000, 7_200_000, 40 * DAY]);
        let now = stamp(event.at.unix_ms.saturating_add(late_ms));
        let max_segments = random.one(&[0, 1, 1, 1, 2, 3, 10]);
        let new = if random.below(3) == 0 { is_new(&event) } else { Marks::new() };
        let facts = match random.maybe(Random::name) {
            Some(name) => Facts::from([(event.id, Fact::WentOn(vec![name]))]),
            None => Facts::new(),
        };
        let context = Context { now: &now, local: fixed, new: &new, facts: &facts };
        let text = compose(&event, extra.as_deref(), &context, max_segments);

        let why = format!("round {round}, {max_segments} segments: {text:?} of {event:?}");
        assert!(gsm7::septets(&text).is_some(), "{why}");
        assert!(gsm7::segments(&text) <= max_segments.max(1), "{why}");
        assert!(!text.contains(|c: char| c.is_control()), "{why}");
        assert!(text.ends_with(&format!(" #{}", event.id)), "{why}");
        if let Some(late) = context.lateness(&event.at) {
            assert!(text.contains(&format!("UTC, told {late} late")), "{why}");
        }
        match &event.what {
            What::Note(_)
            | What::Condition(_)
            | What::Tally(_)
            | What::Report(_)
            | What::Back(_) => {
                assert!(text.contains(" 22 Nov 02:14 UTC"), "{why}");
            }
            What::Login(login) => {
                assert_eq!(
                    text.contains(": NEW login ") || text.contains(": CRITICAL NEW login "),
                    !new.is_empty(),
                    "{why}"
                );
                assert!(text.contains(", 22 Nov 02:14:07 UTC"), "{why}");
                let from = login.source.map_or("unknown".to_owned(), |ip| ip.to_string());
                assert!(text.contains(&format!(" from {from}")), "{why}");
                assert_eq!(text.contains("via tunnel"), login.via_tunnel(), "{why}");
            }
        }

        let subject = subject_in(&event, &context);
        assert!(subject.len() <= 998 && !subject.contains('\n'), "{why}");
        let body = body_in(&event, extra.as_deref(), &context);
        assert!(body.ends_with('\n') && !body.contains(|c: char| c.is_control() && c != '\n'));
        let ids = body.lines().filter(|line| line.starts_with("id:")).count();
        assert_eq!(ids, 1, "no value may forge a line: {body}");
        let message = Message { hint: extra, ..Message::new(event, now, "+15550101") };
        assert!(sms(&message, max_segments).ends_with(&text[text.len() - 8..]));
        assert!(super::body(&message).lines().count() >= 5);
        assert!(!super::subject(&message).is_empty());
    }
}

fn digest_of(events: &[Event], late_ms: u64) -> String {
    let context =
        Context { now: &stamp(2 * DAY + late_ms), local: clock, new: NOTHING, facts: NO_FACTS };
    let events: Vec<&Event> = events.iter().collect();
    digest::line(&events, None, &context, &Alphabet::GSM7, |text| gsm7::segments(text) == 1)
}

/// A zone of the digests' tests: UTC, from 17:00 on 22 Nov when the first day of the epoch begins.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]
fn clock(unix_s: i64) -> Option<LocalTime> {
    let minute = (unix_s - 86_400) / 60;
    let (hour, minute, day) = (17 + minute / 60, minute % 60, 22);
    let (day, hour) = if hour < 24 { (day, hour) } else { (day + 1, hour - 24) };
    let (day, hour, minute, second) = (day, hour as u8, minute as u8, 0);
    Some(LocalTime {
        year: 2026,
        month: 11,
        day,
        weekday: 0,
        hour,
        minute,
        second,
        zone: "UTC".into(),
    })
}

fn at_minute(minute: u64, event: Event) -> Event {
    Event { at: stamp(DAY + minute * 60_000), ..event }
}

fn condition(name: &str, status: Status, minute: u64) -> Event {
    let what = What::Condition(Condition::new(name.into(), status, "no banner".to_owned()));
    at_minute(minute, event(what))
}
