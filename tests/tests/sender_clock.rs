//! The wall clock jumps a day forwards or backwards, under a sender that runs and between two of
//! them: nothing is lost, nothing hammered, nothing told late that is not.

use std::time::{Duration, SystemTime};

use bastion_tests::alert::Draft;
use bastion_tests::clock::DAY;
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host, SPOOL};
use bastion_tests::process::Daemon;
use bastion_tests::provider::{AUTH_TOKEN, Provider, Record};
use bastion_tests::rows::each_row;
use bastion_tests::sender::{LOGIN, ONE_BY_ONE, TO, route, sms};
use bastion_tests::twilio::FILTERED;
use bastion_tests::wait::wait_until;

const ARRIVAL: Duration = Duration::from_secs(60);

/// When the clock jumps, and how far.
#[derive(Debug, Clone, Copy)]
struct Jump {
    by_s: i64,
    /// Between two senders; else under one that runs.
    restart: bool,
}

const JUMPS: [Jump; 4] = [
    Jump { by_s: DAY, restart: false },
    Jump { by_s: -DAY, restart: false },
    Jump { by_s: DAY, restart: true },
    Jump { by_s: -DAY, restart: true },
];

/// A machine with a sender whose wall clock can be set.
struct Rig {
    sender: Daemon,
    provider: Provider,
    host: Host,
}

impl Rig {
    /// With the usual channel, which tells each alert by itself; or `keys` in the place of that.
    fn start(keys: &str) -> Self {
        let host = Host::new();
        let provider = Provider::start(&host);
        host.configure(&provider.url());
        host.write_config(&format!("{LOGIN}{}", sms(&provider.url()).replace(ONE_BY_ONE, keys)));
        let sender = start_sender(&host, 0);
        Self { sender, provider, host }
    }

    fn jump(&mut self, jump: Jump) {
        jump_under(&self.host, &mut self.sender, jump);
    }

    fn send(&self, words: &[&str]) -> String {
        let output = self.host.bastion_at(0, &[&["send"], words].concat()).ok();
        output.text().trim().to_owned()
    }

    /// Publishes these many logins and waits until the sender has them.
    fn queue(&self, numbers: std::ops::Range<u32>) -> Vec<Draft> {
        let drafts: Vec<Draft> = numbers.map(|n| Draft::login(n, "alice").stamped()).collect();
        drafts.iter().for_each(|draft| self.host.publish(draft));
        for draft in &drafts {
            self.host.wait_syslog("bastion", &format!("alert-queued alert={}", draft.id), 1);
        }
        drafts
    }

    /// Each of them is out, and nothing was told that is not so.
    fn check_told(&self, ids: &[String]) {
        for id in ids {
            self.host.wait_room(id, "sent", ARRIVAL);
        }
        assert_eq!(self.host.spool_names("failed"), [""; 0]);
        for sms in self.provider.accepted() {
            let body = sms.body();
            assert!(!body.contains("late"), "{body}");
            assert!(!body.contains("alerts were off") && !body.contains("expired"), "{body}");
        }
    }
}

fn start_sender(host: &Host, later_s: u64) -> Daemon {
    let before = host.events("sender-started");
    let sender = host.spawn_sender_at(later_s);
    host.wait_syslog("bastion", "sender-started", before + 1);
    sender
}

fn jump_under(host: &Host, sender: &mut Daemon, jump: Jump) {
    if jump.restart {
        sender.kill();
    }
    host.set_clock(jump.by_s);
    if jump.restart {
        *sender = start_sender(host, 0);
    } else {
        // It looks at everything anew, and at the clock.
        let before = host.events("try-now");
        sender.signal(libc::SIGUSR1);
        host.wait_syslog("bastion", "try-now", before + 1);
    }
}

fn ids(drafts: &[Draft]) -> Vec<String> {
    drafts.iter().map(|draft| draft.id.clone()).collect()
}

fn seconds_between(first: &Record, second: &Record) -> f64 {
    Duration::from_micros(second.at_us - first.at_us).as_secs_f64()
}

#[test]
fn the_rig_sets_the_wall_clock_and_no_other() {
    let host = Host::new();
    let now = |later_s, off_s| {
        host.set_clock(off_s);
        let read = "date +%s; cut -d. -f1 /proc/uptime";
        let own = host.clock_words(later_s);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let output = host.run(&[&own[..], &["bash", "-c", read]].concat()).ok().text();
        let mut numbers = output.lines().map(|line| line.parse::<i64>().expect("a number"));
        (numbers.next().expect("the time"), numbers.next().expect("the uptime"))
    };
    let (wall, up) = now(0, 0);
    for (later_s, off_s) in [(0, DAY), (0, -DAY), (3600, -DAY)] {
        let (then, since) = now(later_s, off_s);
        assert!((0..30).contains(&(then - off_s - wall)), "{off_s}");
        assert!((0..30).contains(&(since - i64::try_from(later_s).unwrap() - up)), "{later_s}");
    }
}

#[test]
fn what_waits_is_told_once_and_not_late() {
    each_row(&JUMPS, |jump| {
        let mut rig = Rig::start(ONE_BY_ONE);
        rig.provider.fault(&Fault::new(Act::Refuse));
        let mut all = ids(&rig.queue(1..6));
        all.push(rig.send(&["by a script"]));
        rig.host.wait_room(&all[5], "queue", ARRIVAL);
        rig.jump(*jump);
        all.push(rig.send(&["after the jump"]));
        rig.host.wait_room(&all[6], "queue", ARRIVAL);
        rig.provider.heal();
        rig.sender.signal(libc::SIGUSR1);
        rig.check_told(&all);
        for id in &all {
            assert_eq!(rig.provider.copies(id), 1, "{jump:?}");
        }
        assert_eq!(rig.provider.posts().len(), all.len(), "{jump:?}");
        // And back again, with nothing to do: nobody is told of a silence that never was.
        rig.jump(Jump { by_s: 0, ..*jump });
        let last = rig.send(&["all is well"]);
        rig.check_told(&[last]);
        assert_eq!(rig.provider.accepted().len(), all.len() + 1, "{jump:?}");
    });
}

#[test]
fn waits_of_our_own_are_as_long_as_they_were() {
    each_row(&JUMPS, |jump| {
        let mut rig = Rig::start(ONE_BY_ONE);
        rig.provider.fault(&Fault::status(500));
        let alert = rig.queue(1..2).remove(0);
        let posts = |count| {
            let came = || rig.provider.posts().len() >= count;
            assert!(wait_until(ARRIVAL, came), "{:#?}", rig.provider.requests());
        };
        posts(3);
        // What became of it is on disk: a kill before that makes it a doubt, and doubts are quick.
        let state = || rig.host.read(&format!("{SPOOL}/queue/{}.state", alert.name()));
        let settled = || state().contains(r#""phase":"doubtful","tries":3"#);
        assert!(wait_until(DEADLINE, settled), "{}", state());
        if jump.restart {
            rig.sender.kill();
            rig.host.set_clock(jump.by_s);
            rig.sender = start_sender(&rig.host, 0);
        } else {
            rig.host.set_clock(jump.by_s);
        }
        posts(5);
        // 2, 2, 4 and 8 s, each a fifth less at most; and a restart looks after 2 s at the earliest.
        let posts = rig.provider.posts();
        let took = seconds_between(&posts[2], &posts[4]);
        assert!(took >= 0.8 * 12.0 - 0.2, "{jump:?}: hammered, {took} s");
        assert!(took <= 1.2 * 12.0 + 8.0, "{jump:?}: {took} s");
        rig.provider.heal();
        rig.check_told(std::slice::from_ref(&alert.id));
        assert_eq!(rig.provider.copies(&alert.id), 1, "{jump:?}");
    });
}

#[test]
fn a_provider_that_said_when_to_come_back_is_believed_whatever_the_clock_says() {
    let rows: Vec<(Jump, bool)> =
        JUMPS.iter().flat_map(|jump| [(*jump, false), (*jump, true)]).collect();
    each_row(&rows, |(jump, by_date)| {
        let mut rig = Rig::start(ONE_BY_ONE);
        // A clock that was wrong all along, where the provider names a moment.
        if *by_date {
            rig.jump(Jump { by_s: -jump.by_s, ..*jump });
        }
        let asked = Duration::from_secs(10);
        let after = match by_date {
            true => httpdate::fmt_http_date(SystemTime::now() + asked),
            false => asked.as_secs().to_string(),
        };
        rig.provider.fault(&Fault::status(429).retry_after(&after).times(1));
        let alerts = rig.queue(1..4);
        rig.host.wait_syslog("bastion", "channel-trouble", 1);
        rig.jump(*jump);
        rig.check_told(&ids(&alerts));
        let posts = rig.provider.posts();
        let least = match httpdate::parse_http_date(&after) {
            Ok(date) => {
                let first = SystemTime::UNIX_EPOCH + Duration::from_micros(posts[0].at_us);
                date.duration_since(first).unwrap_or_default()
            }
            Err(_) => asked,
        };
        let waited = seconds_between(&posts[0], &posts[1]);
        assert!(waited >= least.as_secs_f64(), "{jump:?}: {waited} s, asked for {least:?}");
        assert!(waited <= asked.as_secs_f64() + 8.0, "{jump:?}: {waited} s");
        assert_eq!(posts.len(), alerts.len() + 1, "{jump:?}");
    });
}

#[test]
fn a_limit_that_is_partly_used_is_neither_forgotten_nor_longer() {
    each_row(&JUMPS, |jump| {
        let host = Host::new();
        let a = Provider::start_at(&host, "127.0.0.1:8001", false);
        let b = Provider::start_at(&host, "127.0.0.1:8002", false);
        host.write_token(AUTH_TOKEN);
        let channels = [("a", a.url(), [TO]), ("b", b.url(), ["+15550102"])];
        let channels = channels.each_ref().map(|(name, url, to)| (*name, url.as_str(), &to[..]));
        let config = format!("{LOGIN}{}", route("1h", &channels));
        host.write_config(&config.replacen("1000000", "3", 1));
        let mut sender = start_sender(&host, 0);
        let send = |count: usize| {
            for _ in 0..count {
                let id = host.bastion_at(0, &["send", "x"]).ok().text().trim().to_owned();
                host.wait_room(&id, "sent", ARRIVAL);
            }
            (a.accepted().len(), b.accepted().len())
        };
        assert_eq!(send(2), (2, 0));
        jump_under(&host, &mut sender, *jump);
        assert_eq!(send(2), (3, 1), "{jump:?}");
        jump_under(&host, &mut sender, Jump { by_s: 0, ..*jump });
        assert_eq!(send(1), (3, 2), "{jump:?}");
        // An hour later by the clock that nobody can set, whatever the other says.
        sender.kill();
        host.set_clock(jump.by_s);
        let _sender = start_sender(&host, 3660);
        let later = host.bastion_at(3660, &["send", "an hour later"]).ok().text();
        host.wait_room(later.trim(), "sent", ARRIVAL);
        // What says that the sender did not run goes the same way.
        let off = |sms: &Record| sms.body().contains("alerts were off");
        assert!(wait_until(DEADLINE, || a.accepted().iter().any(off)), "{:#?}", b.accepted());
        assert_eq!((a.accepted().len(), b.accepted().len()), (5, 2), "{jump:?}");
    });
}

#[test]
fn a_digest_that_is_pending_is_told_whole() {
    each_row(&JUMPS, |jump| {
        let mut rig = Rig::start("");
        let first = rig.queue(1..2);
        rig.check_told(&ids(&first));
        let others = rig.queue(2..8);
        assert_eq!(rig.provider.accepted().len(), 1, "they wait for company");
        if jump.restart {
            rig.jump(*jump);
        } else {
            // Without SIGUSR1, which ends that wait.
            rig.host.set_clock(jump.by_s);
        }
        rig.check_told(&ids(&others));
        let accepted = rig.provider.accepted();
        assert_eq!(accepted.len(), 2, "{jump:?}: {accepted:#?}");
        assert!(accepted[1].body().contains("6 logins"), "{}", accepted[1].body());
        if !jump.restart {
            assert!(seconds_between(&accepted[0], &accepted[1]) >= 4.5, "{jump:?}");
        }
    });
}

#[test]
fn what_went_down_by_a_wrong_clock_and_came_up_by_a_right_one_is_up() {
    each_row(&[DAY, -DAY], |off_s| {
        let mut rig = Rig::start("");
        rig.provider.fault(&Fault::new(Act::Refuse));
        rig.host.set_clock(*off_s);
        let down = rig.send(&["--down", "tunnel office"]);
        rig.host.wait_room(&down, "queue", ARRIVAL);
        rig.host.set_clock(0);
        let up = rig.send(&["--up", "tunnel office"]);
        rig.host.wait_room(&up, "queue", ARRIVAL);
        rig.provider.heal();
        rig.sender.signal(libc::SIGUSR1);
        rig.check_told(&[down, up]);
        let accepted = rig.provider.accepted();
        assert_eq!(accepted.len(), 1, "{accepted:#?}");
        let body = accepted[0].body();
        assert!(body.contains("tunnel office was down "), "{off_s}: {body}");
        // One minute, or two: no day, by whatever clock.
        let date = |at| rig.host.run(&["date", "-u", "-d", at, "+%-d %b"]).ok().text();
        let (yesterday, tomorrow) = (date("-1 day"), date("+1 day"));
        for other in [yesterday.trim(), tomorrow.trim()] {
            assert!(!body.contains(&format!(" {other} ")), "{off_s}: {body}");
        }
    });
}

#[test]
fn a_true_silence_is_told_with_its_true_length() {
    each_row(&[DAY, -DAY], |off_s| {
        let mut rig = Rig::start(ONE_BY_ONE);
        let marked = || rig.host.read("/var/lib/bastion/alive.json").contains("boot");
        assert!(wait_until(DEADLINE, marked), "it left no mark of being at work");
        rig.sender.kill();
        rig.host.set_clock(*off_s);
        rig.sender = start_sender(&rig.host, 1800);
        let accepted = rig.provider.wait_accepted(1, DEADLINE);
        let body = accepted[0].body();
        let from = body.split("alerts were off from ").nth(1).expect("words of a silence");
        // "22 Nov 23:50 to 23 Nov 00:20 UTC" at midnight, else "22 Nov 17:02 to 17:32 UTC".
        let mut times = from.split(' ').filter(|word| word.contains(':')).map(|time| {
            let (hour, minute) = time.split_once(':').expect("a time");
            let number = |text: &str| text.parse::<i64>().expect("a number");
            number(hour) * 60 + number(minute)
        });
        let (start, end) = (times.next().expect("a start"), times.next().expect("an end"));
        assert!((29..=32).contains(&(end - start).rem_euclid(1440)), "{off_s}: {body}");
        assert!(from.matches(char::is_alphabetic).count() > 0 && !body.contains("late"), "{body}");
    });
}

#[test]
fn what_a_carrier_refuses_is_heard_of_after_a_jump() {
    each_row(&JUMPS, |jump| {
        let host = Host::new();
        let a = Provider::start_at(&host, "127.0.0.1:8001", false);
        let b = Provider::start_at(&host, "127.0.0.1:8002", false);
        host.write_token(AUTH_TOKEN);
        let channels = [("a", a.url(), [FILTERED]), ("b", b.url(), [TO])];
        let channels = channels.each_ref().map(|(name, url, to)| (*name, url.as_str(), &to[..]));
        host.write_config(&format!("{LOGIN}{}", route("1h", &channels)));
        let mut sender = start_sender(&host, 0);
        let alert = Draft::login(1, "alice").stamped();
        host.publish(&alert);
        a.wait_alert(&alert.id, ARRIVAL);
        host.wait_room(&alert.id, "sent", ARRIVAL);
        jump_under(&host, &mut sender, *jump);
        let told = b.wait_alert(&alert.id, ARRIVAL);
        assert!(!told.body().contains("late"), "{}", told.body());
        host.wait_room(&alert.id, "sent", ARRIVAL);
        let asked = a.requests().iter().filter(|request| request.method == "GET").count();
        assert!(asked <= 4, "{jump:?}: asked {asked} times");
        assert_eq!((a.copies(&alert.id), b.copies(&alert.id)), (1, 1), "{jump:?}");
    });
}

#[test]
fn what_is_being_written_while_the_clock_jumps_is_left_to_its_writer() {
    let mut rig = Rig::start(ONE_BY_ONE);
    let slow = Draft::note(1, "half written").stamped();
    let (name, text) = (slow.name(), slow.text());
    let hidden = format!(".{name}");
    rig.host.plant(hidden.as_ref(), &text.as_bytes()[..40]);
    rig.jump(JUMPS[0]);
    // By then the sender has looked at what is there.
    let other = rig.send(&["of somebody else"]);
    rig.check_told(&[other]);
    std::fs::write(rig.host.in_drop(hidden.as_ref()), &text).unwrap();
    let renamed =
        std::fs::rename(rig.host.in_drop(hidden.as_ref()), rig.host.in_drop(name.as_ref()));
    renamed.expect("the writer's file is where it was");
    rig.check_told(&[slow.id]);
}

#[test]
fn an_allowance_is_no_longer_for_any_clock() {
    let host = Host::new();
    host.write_config(LOGIN);
    let place = "198.51.100.7";
    host.bastion_at(0, &["allow", place, "--for", "1h"]).ok();
    let table = [
        // (boot clock, wall clock, known good)
        (0, 0, true),
        (0, DAY, false),
        (0, -DAY, false),
        (0, 600, true),
        (3660, -1800, false),
        (3660, 0, false),
        (1800, 1800, true),
        (1800, 0, true),
    ];
    for (later_s, off_s, good) in table {
        host.set_clock(off_s);
        let said = host.bastion_at(later_s, &["why", place]).ok().text();
        assert_eq!(said.starts_with("known good"), good, "{later_s} {off_s}: {said}");
    }
}
