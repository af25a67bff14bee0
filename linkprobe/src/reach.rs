//! One look at a line: whether packets go out by it and come back.
//!
//! By DNS, which carriers let through where they throttle ICMP, and by TCP connections to some targets.
//! Whatever comes back has come back: an answer that says SERVFAIL, or a connection that is refused. A
//! captive portal and a resolver that lies are not seen here.
//!
//! Who is in the line's own network, as most often a router is, answers although the line beyond is
//! dead: what he says counts only where nobody else is asked.

pub mod policy;
mod query;
pub mod routes;
mod tries;

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::line::{Line, Trouble};
use routes::Routes;

/// Most that are asked in a look: each has a socket.
const MOST: usize = 16;

/// What one look has seen.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Why nothing can leave, found on this machine; then nobody was asked.
    pub trouble: Option<Trouble>,
    /// Who was asked, and what came of it.
    pub probes: Vec<Probe>,
    /// What may be the reason on this machine, when nobody has answered.
    pub hint: Option<Hint>,
    /// Bytes sent and received, headers of IP included.
    pub bytes: [u64; 2],
}

/// What on this machine may be the reason that nobody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Nothing is at the other end of the cable, or the radio has no network.
    NoCarrier(String),
    /// A route seems to be missing: those of other tables are not seen.
    NoRoute(Trouble),
    /// What comes by this interface is dropped, as the best route to who sends it is another's.
    StrictFilter(String),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCarrier(name) => write!(f, "the interface {name} has no carrier"),
            Self::NoRoute(trouble) => write!(f, "it seems that {trouble}"),
            Self::StrictFilter(name) => write!(
                f,
                "the reverse path filter of {name} is strict, and the best route is another's: \
                 sysctl net.ipv4.conf.{name}.rp_filter=2"
            ),
        }
    }
}

/// Somebody who may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Who.
    pub to: SocketAddr,
    /// How.
    pub by: By,
    /// Whether he is in the line's own network.
    pub near: bool,
    /// What came of it.
    pub found: Found,
}

/// How somebody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By a question of DNS over UDP.
    Dns,
    /// By a TCP connection.
    Tcp,
}

/// What came of asking somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// He was not asked, as another had answered.
    NotAsked,
    /// He has answered, after so long.
    Answered(Duration),
    /// He has answered, and says that he cannot or will not: in this word of DNS.
    Unwell(Duration, &'static str),
    /// He refuses the connection; a packet came back.
    Refused(Duration),
    /// Nothing came.
    Silent,
    /// Somebody on the way, or the system, says that it cannot be.
    Failed(String),
}

impl Found {
    /// How long it took until something came back.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        match self {
            Self::Answered(took) | Self::Unwell(took, _) | Self::Refused(took) => Some(*took),
            Self::NotAsked | Self::Silent | Self::Failed(_) => None,
        }
    }

    /// Its word in the state file.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotAsked => "not-asked",
            Self::Answered(_) => "answered",
            Self::Unwell(..) => "unwell",
            Self::Refused(_) => "refused",
            Self::Silent => "silent",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            By::Dns if self.to.port() == 53 => write!(f, "{}", self.to.ip()),
            _ => write!(f, "{}", self.to),
        }
    }
}

/// Why a line is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// [`Trouble::NoInterface`].
    NoInterface,
    /// [`Trouble::InterfaceDown`].
    InterfaceDown,
    /// [`Trouble::NoAddress`].
    NoAddress,
    /// [`Trouble::NotOurs`].
    NotOurs,
    /// Nobody answers, and [`Hint::NoCarrier`].
    NoCarrier,
    /// Nobody answers, and [`Hint::NoRoute`].
    NoRoute,
    /// Nobody answers, and [`Hint::StrictFilter`].
    StrictFilter,
    /// Nobody answers.
    Silent,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::NoInterface,
        Self::InterfaceDown,
        Self::NoAddress,
        Self::NotOurs,
        Self::NoCarrier,
        Self::NoRoute,
        Self::StrictFilter,
        Self::Silent,
    ];

    /// Its word in the log and in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NoInterface => "no-interface",
            Self::InterfaceDown => "interface-down",
            Self::NoAddress => "no-address",
            Self::NotOurs => "not-ours",
            Self::NoCarrier => "no-carrier",
            Self::NoRoute => "no-route",
            Self::StrictFilter => "strict-filter",
            Self::Silent => "silent",
        }
    }

    /// The one with this word; silence for any other.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|cause| cause.word() == word).unwrap_or(Self::Silent)
    }

    /// Whether this machine itself knows that nothing can go by the line: then it is so.
    #[must_use]
    pub fn is_certain(self) -> bool {
        !matches!(self, Self::NoRoute | Self::StrictFilter | Self::Silent)
    }
}

impl From<&Trouble> for Cause {
    fn from(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::NoInterface(_) => Self::NoInterface,
            Trouble::InterfaceDown(_) => Self::InterfaceDown,
            Trouble::NoAddress(_) => Self::NoAddress,
            Trouble::NotOurs(_) => Self::NotOurs,
            Trouble::NoRoute { .. } => Self::NoRoute,
        }
    }
}

impl Look {
    /// Whether somebody who counts has answered.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.rtt().is_some()
    }

    /// The quickest round trip to somebody who counts.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        counting(&self.probes).filter_map(|probe| probe.found.took()).min()
    }

    /// Why it is down, when it is.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match (&self.trouble, &self.hint) {
            (Some(trouble), _) => Cause::from(trouble),
            (None, Some(Hint::NoCarrier(_))) => Cause::NoCarrier,
            (None, Some(Hint::NoRoute(_))) => Cause::NoRoute,
            (None, Some(Hint::StrictFilter(_))) => Cause::StrictFilter,
            (None, None) => Cause::Silent,
        }
    }

    /// The same in words for a person.
    #[must_use]
    pub fn why(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return trouble.to_string();
        }
        let names = |probes: &mut dyn Iterator<Item = &Probe>| {
            probes.map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let silent = names(&mut counting(&self.probes));
        let near = names(
            &mut self.probes.iter().filter(|probe| probe.near && probe.found.took().is_some()),
        );
        let mut why = match near.as_str() {
            "" => format!("nobody answers of {silent}"),
            near => format!("{near} on this side answers, and nobody beyond it of {silent}"),
        };
        let failed = counting(&self.probes).find_map(|probe| match &probe.found {
            Found::Failed(text) => Some(format!("{probe}: {text}")),
            _ => None,
        });
        if let Some(failed) = failed {
            why += &format!(" ({failed})");
        }
        match &self.hint {
            Some(hint) => format!("{why}; {hint}"),
            None => why,
        }
    }
}

/// Those whose answer says that the line works: who is beyond it, where anybody is.
fn counting(probes: &[Probe]) -> impl Iterator<Item = &Probe> {
    let all_near = probes.iter().all(|probe| probe.near);
    probes.iter().filter(move |probe| all_near || !probe.near)
}

/// Asks everybody at once, and waits for them for `most`; less when the first has answered and the others
/// had as much time again as he took.
#[must_use]
pub fn look(line: &Line, resolvers: &[SocketAddr], targets: &[SocketAddr], most: Duration) -> Look {
    look_with(line, resolvers, targets, &Care { most, ..Care::default() })
}

/// How a look is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Care {
    /// How long it may take.
    pub most: Duration,
    /// How long is waited for an answer until it is asked again, and until the others are asked.
    pub patience: Duration,
    /// Who is asked first, by himself: the others are asked only when he does not answer. Counted among
    /// those who count, name servers first, and beyond the last from the first again.
    pub first: Option<usize>,
}

impl Default for Care {
    fn default() -> Self {
        Self {
            most: Duration::from_millis(2_500),
            patience: Duration::from_millis(700),
            first: None,
        }
    }
}

/// [`look`], with more care.
#[must_use]
pub fn look_with(
    line: &Line,
    resolvers: &[SocketAddr],
    targets: &[SocketAddr],
    care: &Care,
) -> Look {
    if let Some(trouble) = line.trouble() {
        return Look { trouble: Some(trouble), ..Look::default() };
    }
    let routes = Routes::read();
    let probes =
        probes(resolvers, targets, |to| routes.is_near(line.interface.as_deref(), to.ip()));
    let mut look = tries::look(line, probes, care);
    if look.trouble.is_none() && !look.is_up() {
        look.hint = hint(line, &look.probes, &routes, &Files);
    }
    look
}

/// Addresses that are beyond any line, for where nobody else is.
const BEYOND: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
];

/// What on this machine would keep answers from coming, by its main routing table; nobody is asked.
#[must_use]
pub fn foresee(line: &Line, resolvers: &[SocketAddr], targets: &[SocketAddr]) -> Option<Hint> {
    foresee_by(line, resolvers, targets, &Routes::read(), &Files)
}

fn foresee_by(
    line: &Line,
    resolvers: &[SocketAddr],
    targets: &[SocketAddr],
    routes: &Routes,
    known: &impl Known,
) -> Option<Hint> {
    let interface = line.interface.as_deref()?;
    let is_near = |to: SocketAddr| routes.is_near(Some(interface), to.ip());
    let mut probes = probes(resolvers, targets, is_near);
    // That there is a way to a router is not that there is one beyond it.
    if probes.iter().all(|probe| probe.near) {
        let to = BEYOND.into_iter().find(|to| routes.lead_to(interface, *to)).unwrap_or(BEYOND[0]);
        let to = SocketAddr::new(to, 53);
        probes.push(Probe { to, by: By::Dns, near: false, found: Found::NotAsked });
    }
    hint(line, &probes, routes, known)
}

/// Those who may be asked, each once.
fn probes(
    resolvers: &[SocketAddr],
    targets: &[SocketAddr],
    is_near: impl Fn(SocketAddr) -> bool,
) -> Vec<Probe> {
    let resolvers = resolvers.iter().map(|to| (*to, By::Dns));
    let mut probes: Vec<Probe> = Vec::new();
    for (to, by) in resolvers.chain(targets.iter().map(|to| (*to, By::Tcp))) {
        if probes.len() < MOST && !probes.iter().any(|probe| (probe.to, probe.by) == (to, by)) {
            probes.push(Probe { to, by, near: is_near(to), found: Found::NotAsked });
        }
    }
    probes
}

/// What is known of an interface by its files.
trait Known {
    /// Whether it has a carrier; a radio's may not be known.
    fn has_carrier(&self, interface: &str) -> Option<bool>;

    /// Whether its reverse path filter is the strict one (ip-sysctl: the larger of the two counts).
    fn is_strict(&self, interface: &str) -> bool;
}

struct Files;

impl Known for Files {
    fn has_carrier(&self, interface: &str) -> Option<bool> {
        let path = Path::new("/sys/class/net").join(interface).join("carrier");
        Some(fs::read_to_string(path).ok()?.trim() == "1")
    }

    fn is_strict(&self, interface: &str) -> bool {
        let of = |name: &str| {
            let path = Path::new("/proc/sys/net/ipv4/conf").join(name).join("rp_filter");
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        };
        of("all").max(of(interface)) == 1_u8
    }
}

/// Why nobody answers, as far as this machine knows.
fn hint(line: &Line, probes: &[Probe], routes: &Routes, known: &impl Known) -> Option<Hint> {
    let interface = line.interface.as_ref()?;
    if known.has_carrier(interface) == Some(false) {
        return Some(Hint::NoCarrier(interface.clone()));
    }
    let to = counting(probes).next()?.to.ip();
    if !counting(probes).any(|probe| routes.lead_to(interface, probe.to.ip())) {
        let interface = Some(interface.clone());
        return Some(Hint::NoRoute(Trouble::NoRoute { interface, to }));
    }
    let dropped = |probe: &Probe| {
        let best = routes.best(probe.to.ip());
        probe.to.is_ipv4() && best.is_some_and(|best| best != interface)
    };
    let strict = known.is_strict(interface) && counting(probes).all(dropped);
    strict.then(|| Hint::StrictFilter(interface.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(to: &str, by: By, near: bool, found: Found) -> Probe {
        Probe { to: to.parse().unwrap(), by, near, found }
    }

    #[test]
    fn who_counts_is_who_is_beyond_the_line() {
        let answered = |ms| Found::Answered(Duration::from_millis(ms));
        let near = |found| probe("192.168.8.1:53", By::Dns, true, found);
        let far = |found| probe("192.0.2.53:53", By::Dns, false, found);
        let target = |found| probe("203.0.113.50:22", By::Tcp, false, found);
        let ms = Duration::from_millis;
        let table = [
            (vec![near(answered(1))], Some(1)),
            (vec![near(answered(1)), far(Found::Silent)], None),
            (vec![near(answered(1)), far(Found::NotAsked)], None),
            (vec![near(Found::Silent), far(answered(30))], Some(30)),
            (vec![far(answered(30)), target(answered(20))], Some(20)),
            (vec![far(Found::Silent), target(Found::Refused(ms(20)))], Some(20)),
            (vec![far(Found::Unwell(ms(30), "SERVFAIL")), target(Found::Silent)], Some(30)),
            (vec![far(Found::Silent), target(Found::Failed("no route to host".into()))], None),
            (vec![], None),
        ];
        for (probes, want) in table {
            let look = Look { probes, ..Look::default() };
            assert_eq!(look.rtt(), want.map(ms), "{look:?}");
            assert_eq!(look.is_up(), want.is_some());
        }
    }

    #[test]
    fn why_it_is_down_is_said_with_what_may_help() {
        let silent = |to, by| probe(to, by, false, Found::Silent);
        let mut look = Look {
            probes: vec![silent("192.0.2.53:53", By::Dns), silent("[2001:db8::1]:443", By::Tcp)],
            ..Look::default()
        };
        assert_eq!(look.why(), "nobody answers of 192.0.2.53, [2001:db8::1]:443");
        look.probes[1].found = Found::Failed("no route to host".into());
        look.probes.push(probe(
            "192.168.8.1:53",
            By::Dns,
            true,
            Found::Unwell(Duration::from_millis(1), "SERVFAIL"),
        ));
        assert_eq!(
            look.why(),
            "192.168.8.1 on this side answers, and nobody beyond it of 192.0.2.53, \
             [2001:db8::1]:443 ([2001:db8::1]:443: no route to host)"
        );
        assert_eq!(look.cause(), Cause::Silent);
        look.trouble = Some(Trouble::NoAddress("wwan0".into()));
        assert_eq!(
            (look.cause(), look.why().as_str()),
            (Cause::NoAddress, "the interface wwan0 has no address")
        );
        for cause in Cause::ALL {
            assert_eq!(Cause::of_word(cause.word()), cause);
        }
    }

    /// An interface as a test wants it.
    struct Like(Option<bool>, bool);

    impl Known for Like {
        fn has_carrier(&self, _: &str) -> Option<bool> {
            self.0
        }

        fn is_strict(&self, _: &str) -> bool {
            self.1
        }
    }

    #[test]
    fn what_this_machine_knows_of_it_is_said() {
        if cfg!(target_endian = "big") {
            return;
        }
        let line = Line { interface: Some("wwan0".into()), source: None };
        let net = "wwan0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let default = |name: &str, metric: u32| {
            format!("{name}\t00000000\t010200C0\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0\n")
        };
        let one = format!("head\n{net}");
        let second = format!("head\n{net}{}{}", default("wwan0", 700), default("eth0", 100));
        let first = format!("head\n{net}{}{}", default("wwan0", 50), default("eth0", 100));
        let far = || vec![probe("9.9.9.9:53", By::Dns, false, Found::Silent)];
        let both = || [far(), vec![probe("192.0.2.1:53", By::Dns, false, Found::Silent)]].concat();
        let no_route = || {
            let interface = Some("wwan0".to_owned());
            Hint::NoRoute(Trouble::NoRoute { interface, to: "9.9.9.9".parse().unwrap() })
        };
        let table = [
            (&one, far(), Like(None, false), Some(no_route())),
            (&one, both(), Like(Some(true), false), None),
            (&one, far(), Like(Some(false), true), Some(Hint::NoCarrier("wwan0".into()))),
            (&second, far(), Like(Some(true), false), None),
            (&second, far(), Like(None, true), Some(Hint::StrictFilter("wwan0".into()))),
            // Who is on this side would be heard.
            (&second, both(), Like(None, true), None),
            (&first, far(), Like(None, true), None),
        ];
        for (at, (table, probes, known, want)) in table.into_iter().enumerate() {
            let routes = Routes::parse(table, "");
            assert_eq!(hint(&line, &probes, &routes, &known), want, "row {at}");
            assert_eq!(hint(&Line::default(), &probes, &routes, &known), None, "the default's");
        }
    }

    #[test]
    fn what_would_keep_answers_from_coming_is_known_before_anybody_is_asked() {
        if cfg!(target_endian = "big") {
            return;
        }
        let line = Line { interface: Some("wwan0".into()), source: None };
        let net = "head\nwwan0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let default = |name: &str, metric: u32| {
            format!("{name}\t00000000\t010200C0\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0\n")
        };
        let six = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                   fe800000000000000000000000000001 00000400 00000003 00000000 00000003 wwan0\n";
        let out = format!("{net}{}", default("wwan0", 700));
        let second = format!("{out}{}", default("eth0", 100));
        let elsewhere = format!("{net}{}", default("eth0", 100));
        let no_route = |to: &str| {
            let interface = Some("wwan0".to_owned());
            Some(Hint::NoRoute(Trouble::NoRoute { interface, to: to.parse().unwrap() }))
        };
        let no_carrier = Some(Hint::NoCarrier("wwan0".into()));
        let strict = Some(Hint::StrictFilter("wwan0".into()));
        let up = Some(true);
        let (near, far) = ("192.0.2.1:53", "9.9.9.9:53");
        let table = [
            // Routes of both families; name servers, targets; the carrier, the filter.
            (&out, "", vec![far], vec![], Like(up, true), None),
            (&second, "", vec![far], vec![], Like(up, false), None),
            (&second, "", vec![far], vec![], Like(Some(false), true), no_carrier),
            (&second, "", vec![far], vec![], Like(up, true), strict.clone()),
            (&elsewhere, "", vec![far], vec![], Like(up, false), no_route("9.9.9.9")),
            (&elsewhere, "", vec![near], vec![far], Like(None, false), no_route("9.9.9.9")),
            // A router alone does not show whether there is a way out.
            (&elsewhere, "", vec![near], vec![], Like(up, false), no_route("1.1.1.1")),
            (&elsewhere, "", vec![], vec![near], Like(up, false), no_route("1.1.1.1")),
            (&elsewhere, "", vec![], vec![], Like(up, false), no_route("1.1.1.1")),
            (&second, "", vec![near], vec![], Like(up, false), None),
            (&second, "", vec![near], vec![], Like(up, true), strict),
            (&elsewhere, six, vec![near], vec![], Like(up, true), None),
        ];
        let parse = |all: Vec<&str>| -> Vec<SocketAddr> {
            all.into_iter().map(|one| one.parse().unwrap()).collect()
        };
        for (at, (four, six, resolvers, targets, known, want)) in table.into_iter().enumerate() {
            let (resolvers, targets) = (parse(resolvers), parse(targets));
            let routes = Routes::parse(four, six);
            let foreseen = |line| foresee_by(line, &resolvers, &targets, &routes, &known);
            assert_eq!(foreseen(&line), want, "row {at}");
            assert_eq!(foreseen(&Line::default()), None, "the default's");
        }
    }

    #[test]
    fn each_is_asked_once_and_there_is_a_ceiling() {
        let server: SocketAddr = "192.0.2.53:53".parse().unwrap();
        let all = probes(&[server, server], &[server, server], |_| false);
        assert_eq!(all.iter().map(|probe| probe.by).collect::<Vec<_>>(), [By::Dns, By::Tcp]);
        let many: Vec<SocketAddr> =
            (1..100).map(|port| SocketAddr::new(server.ip(), port)).collect();
        assert_eq!(probes(&many, &many, |_| false).len(), MOST);
    }
}
