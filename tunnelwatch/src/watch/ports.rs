//! What is seen of a tunnel's ports, and what follows from it: no port is touched here.

use std::time::{Duration, Instant};

use notifier::daemon::words;
use notifier::event::Status;

use crate::proof::Identity;

/// How long a port that has not answered is left alone: a little, as it may have been a moment's silence,
/// and then longer than the two minutes without a touch that sshd of Debian 12 takes to end a session by
/// `ClientAliveInterval 15` and `ClientAliveCountMax 3`.
const LEFT_ALONE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(240)];

/// How long the same listener is believed that has proved who it is: a comparison is 20 KB.
const BELIEVED: Duration = Duration::from_secs(3600);

/// How long one is not asked again that has proved to be another, and one that has proved nothing: that may
/// have been a line which had just come back.
const DISBELIEVED: Duration = Duration::from_secs(120);
const DOUBTED: Duration = Duration::from_secs(30);

/// Comparisons in vain after which somebody does not prove who it is; one may be a line that is full.
const MOST_VAIN: u32 = 2;

/// What a look at a tunnel's ports has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It answers on this port.
    Up(u16),
    /// Nobody listens.
    NoListener,
    /// Somebody listens, and nothing comes back: most often a session whose client is gone.
    Silent,
    /// Nobody answers at its address inside the VPN.
    NoAnswer,
    /// Somebody answers, and it is not known yet whether it is the right host.
    Unsure,
    /// Somebody answers who does not prove to be one of the hosts in `host-keys`.
    Unproved,
    /// Another host than those in `host-keys`.
    WrongHost,
}

/// How much worse one thing is than another: what is worse is told though it was told that it is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It cannot be used.
    Away,
    /// It may be somebody else.
    Unproved,
    /// It is somebody else, who may ask for passwords.
    Wrong,
}

impl Grade {
    /// As it is kept over a restart.
    pub fn word(self) -> &'static str {
        match self {
            Self::Away => "",
            Self::Unproved => "unproved",
            Self::Wrong => "wrong-host",
        }
    }

    /// What it means for who comes, in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Away => "it cannot be used",
            Self::Unproved => "what answers in its place does not prove who it is",
            Self::Wrong => "another host answers in its place",
        }
    }

    /// The same read again.
    pub fn of_word(word: &str) -> Self {
        match word {
            "wrong-host" => Self::Wrong,
            "unproved" => Self::Unproved,
            _ => Self::Away,
        }
    }
}

impl Seen {
    /// What it is, in words for a message of one line.
    fn text(self) -> &'static str {
        match self {
            Self::Up(_) => "it answers",
            Self::NoListener => "no session holds its port on the jump host",
            Self::Silent => "its port is held by a session that does not answer",
            Self::NoAnswer => "nobody answers at its address inside the VPN",
            Self::Unsure | Self::Unproved => "what answers in its place does not prove who it is",
            Self::WrongHost => "another host answers in its place",
        }
    }

    /// Which of two ports says how the tunnel is: a wrong host is worth more than a right one
    /// elsewhere, as people come to either port.
    fn rank(self) -> u8 {
        match self {
            Self::NoListener => 0,
            Self::Silent | Self::NoAnswer => 1,
            Self::Unproved => 2,
            Self::Unsure => 3,
            Self::Up(_) => 4,
            Self::WrongHost => 5,
        }
    }

    /// What is seen when both are.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    /// How bad it is; nothing for what is well.
    fn grade(self) -> Option<Grade> {
        match self {
            Self::Up(_) | Self::Unsure => None,
            Self::NoListener | Self::Silent | Self::NoAnswer => Some(Grade::Away),
            Self::Unproved => Some(Grade::Unproved),
            Self::WrongHost => Some(Grade::Wrong),
        }
    }
}

/// What is remembered of a port that has not answered.
#[derive(Debug, Clone, Copy)]
pub struct Quiet {
    inode: u64,
    since: Instant,
    /// How often it was asked in vain before.
    asked: u32,
}

impl Quiet {
    /// Of a listener that has not answered now; `before` is what is known of the port.
    #[must_use]
    pub fn new(inode: u64, before: Option<Self>, now: Instant) -> Self {
        let asked = before.filter(|was| was.inode == inode).map_or(0, |was| was.asked + 1);
        Self { inode, since: now, asked }
    }

    /// Whether this listener is best left alone for now.
    #[must_use]
    pub fn rests(&self, inode: u64, now: Instant) -> bool {
        let [least, most] = LEFT_ALONE;
        let rest = if self.asked == 0 { least } else { most };
        self.inode == inode && now.saturating_duration_since(self.since) < rest
    }
}

/// What is known of whose key is behind a port.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compared {
    last: Option<(Option<u64>, Instant, Identity)>,
    /// Comparisons in vain since the last that was none. Another listener does not end them: who
    /// comes and goes is not to be believed for that.
    vain: u32,
}

impl Compared {
    /// Whether it is time to compare: with another listener always.
    #[must_use]
    pub fn is_due(&self, inode: Option<u64>, now: Instant) -> bool {
        let Some((of, at, found)) = self.last else { return true };
        let rest = match found {
            Identity::Same => BELIEVED,
            Identity::Unknown if self.vain < MOST_VAIN => Duration::ZERO,
            Identity::Unknown => DOUBTED,
            Identity::Other => DISBELIEVED,
        };
        of != inode || now.saturating_duration_since(at) >= rest
    }

    /// Takes in what a comparison has found.
    pub fn learn(&mut self, inode: Option<u64>, found: Identity, now: Instant) {
        self.vain = if found == Identity::Unknown { self.vain + 1 } else { 0 };
        self.last = Some((inode, now, found));
    }

    /// Nobody answers any more: who comes next is compared.
    pub fn gone(&mut self) {
        self.last = None;
    }

    /// What is seen on a port that answers.
    #[must_use]
    pub fn seen(&self, port: u16) -> Seen {
        match self.last {
            Some((_, _, Identity::Same)) => Seen::Up(port),
            Some((_, _, Identity::Other)) => Seen::WrongHost,
            _ if self.vain < MOST_VAIN => Seen::Unsure,
            _ => Seen::Unproved,
        }
    }
}

/// What was told of a tunnel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tale {
    /// Since when it is down.
    pub down_since: Option<Instant>,
    /// What was told of that.
    pub told: Option<Grade>,
}

impl Tale {
    /// What is to be told of what was seen: of a change that lasts, once; of a stranger at once.
    pub fn learn(
        &mut self,
        seen: Seen,
        home: Option<u16>,
        alert_after: Duration,
        now: Instant,
    ) -> Option<(Status, String)> {
        if let Seen::Up(port) = seen {
            let since = self.down_since.take();
            let told = self.told.take();
            let down = since.map(|at| now.saturating_duration_since(at)).filter(|_| told.is_some());
            let place =
                if home == Some(port) { String::new() } else { format!(", on port {port}") };
            return Some((Status::Up, format!("down for {}{place}", words(down?))));
        }
        // What is not known changes nothing.
        let grade = seen.grade()?;
        let since = *self.down_since.get_or_insert(now);
        let late = now.saturating_duration_since(since) >= alert_after;
        let news = self.told.is_none_or(|told| grade > told);
        if !news || !(late || grade == Grade::Wrong) {
            return None;
        }
        self.told = Some(grade);
        Some((Status::Down, format!("{}, as seen from the jump host", seen.text())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn what_lasts_is_told_once_what_is_worse_once_more_and_its_end_with_its_length() {
        let start = Instant::now();
        let mut tale = Tale::default();
        let no_session = Some((Status::Down, "no session"));
        let stranger = Some((Status::Down, "another host answers"));
        for (second, seen, want) in [
            (0, Seen::Up(2222), None),
            (30, Seen::Silent, None),
            (60, Seen::Up(2222), None),
            (100, Seen::Silent, None),
            (399, Seen::NoListener, None),
            (400, Seen::NoListener, no_session),
            (500, Seen::Silent, None),
            (510, Seen::Unsure, None),
            (520, Seen::Unproved, Some((Status::Down, "does not prove"))),
            (525, Seen::NoListener, None),
            (530, Seen::WrongHost, stranger),
            (540, Seen::WrongHost, None),
            (550, Seen::Unproved, None),
            (700, Seen::Up(2223), Some((Status::Up, "down for 10 min, on port 2223"))),
            // At once, but for one that may only be slow.
            (800, Seen::WrongHost, stranger),
            (900, Seen::Up(2222), Some((Status::Up, "down for 100 s"))),
            (1000, Seen::Unproved, None),
            (1010, Seen::Unsure, None),
            (1300, Seen::Unproved, Some((Status::Down, "does not prove"))),
        ] {
            let told = tale.learn(seen, Some(2222), Duration::from_secs(300), at(start, second));
            let same = match (&told, want) {
                (Some((status, text)), Some((of, part))) => *status == of && text.contains(part),
                (told, want) => told.is_none() && want.is_none(),
            };
            assert!(same, "{second} s: {told:?}");
        }
        for grade in [Grade::Away, Grade::Unproved, Grade::Wrong] {
            assert_eq!(Grade::of_word(grade.word()), grade);
        }
    }

    #[test]
    fn a_port_that_is_silent_is_touched_twice_and_then_left_alone_for_sshd_to_end() {
        let start = Instant::now();
        let mut quiet: Option<Quiet> = None;
        let mut touched = Vec::new();
        for second in 0..600 {
            let now = at(start, second);
            if !quiet.is_some_and(|was| was.rests(7, now)) {
                touched.push(second);
                quiet = Some(Quiet::new(7, quiet, now));
            }
        }
        assert_eq!(touched, [0, 10, 250, 490]);
        assert!(!quiet.unwrap().rests(8, at(start, 491)), "another listener");
    }

    #[test]
    fn who_has_proved_who_he_is_is_believed_and_who_has_not_is_asked_again() {
        use Identity::{Other, Same, Unknown};
        let start = Instant::now();
        let mut compared = Compared::default();
        assert!(compared.is_due(Some(1), start));
        for (second, inode, found, want, next) in [
            (0, 1, Same, Seen::Up(2222), 3600),
            (3600, 1, Unknown, Seen::Unsure, 0),
            (3630, 1, Unknown, Seen::Unproved, 30),
            (3750, 1, Same, Seen::Up(2222), 3600),
            (3800, 2, Unknown, Seen::Unsure, 0),
            // Who comes and goes is not believed for that.
            (3830, 3, Unknown, Seen::Unproved, 30),
            (3840, 4, Unknown, Seen::Unproved, 30),
            (3900, 5, Other, Seen::WrongHost, 120),
            (3910, 6, Unknown, Seen::Unsure, 0),
        ] {
            let inode = Some(inode);
            compared.learn(inode, found, at(start, second));
            assert_eq!(compared.seen(2222), want, "{second} s");
            assert!(compared.is_due(inode, at(start, second + next)), "{second} s");
            assert!(next == 0 || !compared.is_due(inode, at(start, second + next - 1)));
            assert!(compared.is_due(Some(99), at(start, second)), "another listener");
        }
        compared.gone();
        assert!(compared.is_due(None, at(start, 4000)));
    }

    #[test]
    fn of_two_ports_the_stranger_counts_before_the_right_host_and_that_before_the_rest() {
        for (one, other, want) in [
            (Seen::NoListener, Seen::Silent, Seen::Silent),
            (Seen::Silent, Seen::Up(2223), Seen::Up(2223)),
            (Seen::Unproved, Seen::Up(2223), Seen::Up(2223)),
            (Seen::Unsure, Seen::NoListener, Seen::Unsure),
            (Seen::WrongHost, Seen::Up(2223), Seen::WrongHost),
        ] {
            assert_eq!((one.and(other), other.and(one)), (want, want));
        }
    }
}
