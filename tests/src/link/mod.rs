//! Lines to a small internet: what `linkprobe` is tried on. Each line has a provider's machine of
//! its own, on which it is narrow and, if wanted, long.
//!
//! ```text
//! home  line0 ---- near  provider  far ---- out0  internet      a cable all the way
//! home  line0 ---- near  provider  far == relay == out0  internet      with a delay
//! ```
//!
//! The queue of each direction is where the line is narrow: down at the provider's `near`, up at
//! its `far`, by a token bucket filter each (tc-tbf(8)). The delay is made by a process
//! ([`relay`]), as not every kernel has netem. What the world asks for by default is there under
//! its own name and address: see [`names`] and [`speed`].
//!
//! ```no_run
//! use bastion_tests::link::names::Names;
//! use bastion_tests::link::orders::{Act, Order};
//! use bastion_tests::link::speed::Speed;
//! use bastion_tests::link::{Net, SPEED, Shape, Way};
//!
//! let mut net = Net::with(&[Some(Way::of_rtt_ms(50.0))]);
//! let names = Names::start(&net);
//! let mut speed = Speed::start(&net, &[SPEED]);
//! net.lines[0].shape(Some(Shape::mbit(20.0)), Some(Shape::mbit(5.0)));
//! speed.order(&Order::new(Act::status(429)).path("/__down"));
//! let before = net.lines[0].count();
//! let _ = net.home.run(&["curl", "-sS", "http://speed.example.net/garbage.php?ckSize=1"]);
//! println!("{} bytes came", net.lines[0].count().since(before).received);
//! # drop(names);
//! ```

pub mod checks;
pub mod isp;
pub mod lookup;
pub mod names;
pub mod orders;
pub mod relay;
pub mod speed;

use std::process::Command;

use crate::host::Host;
use crate::process::Daemon;
pub use relay::Way;
use relay::{Lag, Relay};

/// A server of tests: `speed.cloudflare.com`, `www.speedtest.net` and `speed.example.net`.
pub const SPEED: &str = "203.0.113.80";
/// Its IPv6 address.
pub const SPEED6: &str = "2001:db8:80::80";
/// Another: `other.example.net`.
pub const OTHER: &str = "203.0.113.81";
/// Its IPv6 address.
pub const OTHER6: &str = "2001:db8:80::81";
/// The name server that the lines' ISPs have their customers ask.
pub const RESOLVER: &str = "203.0.113.53";
/// Its IPv6 address.
pub const RESOLVER6: &str = "2001:db8:80::53";
/// `ns1.google.com`, which says who asks: in IPv4 and in IPv6.
pub const GOOGLE: [&str; 2] = ["216.239.32.10", "2001:4860:4802:32::a"];
/// `resolver1.opendns.com`, which says it as well.
pub const OPENDNS: [&str; 2] = ["208.67.222.222", "2620:119:35::35"];

/// The share of a line's rate that is TCP payload: 1448 of the 1514 bytes of a frame, with time stamps
/// in the TCP header. What a token bucket filter at an Ethernet device counts has no preamble.
pub const PAYLOAD: f64 = 1448.0 / 1514.0;

/// How a home is known on each line; as many lines as there can be. The first is of the ISP that is
/// hoped for, Starlink, the second of another.
const HOMES: [HomeEnd; 2] = [
    HomeEnd { net4: "98.97.32", net6: "2605:59c8:0:1", metric: 700 },
    HomeEnd { net4: "93.192.0", net6: "2003:e0:0:1", metric: 100 },
];

struct HomeEnd {
    net4: &'static str,
    net6: &'static str,
    metric: u32,
}

/// A home, its lines and the internet.
pub struct Net {
    /// The lines: their devices at home are `line0` and `line1`. Where there are two, the default
    /// route leads to the second.
    pub lines: Vec<Line>,
    /// Where `linkprobe` runs.
    pub home: Host,
    /// Where all servers are.
    pub internet: Host,
}

/// A line from home to the internet.
pub struct Line {
    /// The ISP's machine.
    pub provider: Host,
    /// The line's device at home.
    pub interface: String,
    /// Home's address on it.
    pub address: String,
    /// Home's IPv6 address on it.
    pub address6: String,
    relay: Option<Relay>,
    home: u32,
    internet: u32,
    outside: String,
    /// How to make the routes to home on the internet's side.
    back: [String; 2],
    crossing: std::cell::Cell<bool>,
    dropped: u64,
}

/// How narrow one direction of a line is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Bits a second of Ethernet frames.
    pub rate: f64,
    /// Bytes that may go at once when there was less before.
    pub burst: f64,
    /// How long a packet may wait, in milliseconds.
    pub queue_ms: f64,
}

impl Shape {
    /// So many bits a second, with a queue of 100 ms and no burst to speak of.
    #[must_use]
    pub fn rate(rate: f64) -> Self {
        // At least what a timer that comes late may not lose, and ten frames.
        Self { rate, burst: (rate / 8.0 * 0.003).max(15_140.0), queue_ms: 100.0 }
    }

    /// So many millions of them.
    #[must_use]
    pub fn mbit(mbit: f64) -> Self {
        Self::rate(mbit * 1e6)
    }

    /// A line that carries so many bits a second of TCP payload.
    #[must_use]
    pub fn carrying(payload: f64) -> Self {
        Self::rate(payload / PAYLOAD)
    }

    /// With a bucket of so many bytes.
    #[must_use]
    pub fn burst(mut self, bytes: f64) -> Self {
        self.burst = bytes;
        self
    }

    /// The words of tc(8).
    fn words(&self) -> String {
        // The queue alone: tc's own "latency" would add the bucket, and make a queue of seconds of it.
        let limit = (self.rate / 8.0 * self.queue_ms / 1e3).max(3028.0);
        format!("tbf rate {:.0} burst {:.0} limit {limit:.0}", self.rate, self.burst)
    }
}

/// What went over a line's device at home so far, Ethernet headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Bytes towards home.
    pub received: u64,
    /// Bytes from home.
    pub sent: u64,
}

impl Count {
    /// Both.
    #[must_use]
    pub fn all(self) -> u64 {
        self.received + self.sent
    }

    /// What was added since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
        }
    }
}

impl Net {
    /// One line, a cable all the way, as wide as the machine can.
    #[must_use]
    pub fn new() -> Self {
        Self::with(&[None])
    }

    /// A line for each way: of `None` it is a cable, else it has a [`relay`].
    ///
    /// # Panics
    ///
    /// When they cannot be made, or are more than two.
    #[must_use]
    pub fn with(ways: &[Option<Way>]) -> Self {
        assert!((1..=HOMES.len()).contains(&ways.len()), "one line or two");
        let (home, internet) = (Host::new(), Host::new());
        for host in [&home, &internet] {
            host.sh("echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save
                 echo '4096 131072 6291456' >/proc/sys/net/ipv4/tcp_rmem
                 echo '4096 16384 4194304' >/proc/sys/net/ipv4/tcp_wmem
                 echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter");
        }
        let ours = [SPEED, OTHER, RESOLVER, GOOGLE[0], OPENDNS[0]].map(|a| format!("{a}/32"));
        let sixes = [SPEED6, OTHER6, RESOLVER6, GOOGLE[1], OPENDNS[1]].map(|a| format!("{a}/128"));
        let add = |address: &String| format!("ip address add {address} dev lo nodad\n");
        internet.sh(&ours.iter().chain(&sixes).map(add).collect::<String>());
        home.write("/etc/resolv.conf", format!("nameserver {RESOLVER}\n"), 0o644);
        let lines = ways.iter().enumerate();
        let lines = lines.map(|(number, way)| Line::lay(&home, &internet, number, *way)).collect();
        Self { lines, home, internet }
    }

    /// How servers share the lines, of connections from now on: `cubic`, which they do at first, or
    /// `bbr`.
    ///
    /// # Panics
    ///
    /// When the kernel does not have that.
    pub fn congestion(&self, name: &str) {
        for line in &self.lines {
            line.lead_back(name);
        }
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    fn lay(home: &Host, internet: &Host, number: usize, way: Option<Way>) -> Self {
        let provider = Host::new();
        let HomeEnd { net4, net6, metric } = HOMES[number];
        let (interface, outside) = (format!("line{number}"), format!("out{number}"));
        cable((home, &interface), (&provider, "near"));
        let relay = match way {
            None => {
                cable((&provider, "far"), (internet, &outside));
                None
            }
            Some(way) => {
                let relay = Relay::start((&provider, "far"), (internet, &outside), way);
                for (host, device) in [(&provider, "far"), (internet, &*outside)] {
                    // By default 500 packets: a burst of a wide line would be lost before the relay.
                    host.sh(&format!("ip link set dev {device} txqueuelen 50000"));
                }
                Some(relay)
            }
        };
        // In a row, the devices of which are all up before a route is asked for.
        set_up(&provider, "near", &[&format!("{net4}.1/24"), &format!("{net6}::1/64")]);
        set_up(home, &interface, &[&format!("{net4}.2/24"), &format!("{net6}::2/64")]);
        let (near, far) = (format!("10.200.{number}.1"), format!("10.200.{number}.2"));
        let (near6, far6) = (format!("fd00:200:{number}::1"), format!("fd00:200:{number}::2"));
        set_up(&provider, "far", &[&format!("{near} peer {far}/32"), &format!("{near6}/64")]);
        set_up(internet, &outside, &[&format!("{far} peer {near}/32"), &format!("{far6}/64")]);
        provider.sh(&format!(
            "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             ip route add default via {far} dev far; ip -6 route add default via {far6} dev far"
        ));
        home.sh(&format!(
            "ip route add default via {net4}.1 dev {interface} metric {metric} congctl cubic
             ip -6 route add default via {net6}::1 dev {interface} metric {metric} congctl cubic"
        ));
        let back = [
            format!("ip route replace {net4}.0/24 via {near} dev {outside}"),
            format!("ip -6 route replace {net6}::/64 via {near6} dev {outside}"),
        ];
        let line = Self {
            provider,
            interface,
            address: format!("{net4}.2"),
            address6: format!("{net6}::2"),
            relay,
            home: home.pid(),
            internet: internet.pid(),
            outside,
            back,
            crossing: std::cell::Cell::new(false),
            dropped: 0,
        };
        line.lead_back("cubic");
        line
    }

    /// Makes the routes from the internet to home. With the algorithm in them, as not every kernel
    /// lets a namespace have one that the machine does not allow everybody.
    fn lead_back(&self, congestion: &str) {
        for route in &self.back {
            inside(self.internet, &format!("{route} congctl {congestion}"));
        }
    }

    /// Makes it as narrow as that, or as wide as the machine can; also while something is under
    /// way, which goes on.
    pub fn shape(&self, down: Option<Shape>, up: Option<Shape>) {
        for (device, shape) in [("near", down), ("far", up)] {
            match shape {
                // A new rate for an old filter; or a filter.
                Some(shape) => self
                    .provider
                    .sh(&format!("tc qdisc replace dev {device} root {}", shape.words())),
                None => self.provider.sh(&format!("tc qdisc del dev {device} root 2>&1 || true")),
            };
        }
        // Frames of 1514 bytes, as a real line's, or what is the best for a cable of none: by
        // default Linux hands over 64 KiB at once from veth to veth.
        let segments = if down.is_some() || up.is_some() { 1 } else { 65_535 };
        for (pid, device) in [(self.home, &self.interface), (self.internet, &self.outside)] {
            inside(pid, &format!("ip link set dev {device} gso_max_segs {segments}"));
        }
    }

    /// Makes it as long as that from now on.
    ///
    /// # Panics
    ///
    /// When the line was made as a cable.
    pub fn way(&mut self, way: Way) {
        self.relay.as_mut().expect("a line with a relay").set(way);
    }

    /// How late its relay was since this was asked last; of a cable nothing.
    pub fn lag(&mut self) -> Option<Lag> {
        let lag = self.relay.as_mut().map(Relay::lag)?;
        // Those that found the queue of a relay's device full.
        let ends = [(self.provider.pid(), "far"), (self.internet, &*self.outside)];
        let dropped: u64 = ends.iter().map(|(pid, device)| numbers_of(*pid, device)[11]).sum();
        let before = std::mem::replace(&mut self.dropped, dropped);
        Some(Lag { dropped: lag.dropped + dropped - before, ..lag })
    }

    /// What went over its device at home so far.
    ///
    /// # Panics
    ///
    /// When home is gone.
    #[must_use]
    pub fn count(&self) -> Count {
        let numbers = numbers_of(self.home, &self.interface);
        Count { received: numbers[0].saturating_sub(self.crossed()), sent: numbers[8] }
    }

    /// Lets no packet through, in silence, or again.
    pub fn cut(&self, cut: bool) {
        if cut {
            self.provider.sh("nft add table inet cut; nft add chain inet cut f '{ type filter hook forward priority 0; policy drop; }'");
        } else {
            self.provider.sh("nft delete table inet cut");
        }
    }

    /// Pulls its plug, or puts it in again: home's device has no carrier then.
    pub fn plug(&self, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        self.provider.sh(&format!("ip link set near {state}"));
    }

    /// Other traffic on it, towards home: so many bits a second of frames, by UDP. It ends with what is
    /// answered, and is not in [`Self::count`].
    ///
    /// # Panics
    ///
    /// When it does not begin.
    #[must_use]
    pub fn cross(&self, internet: &Host, rate: f64) -> Daemon {
        if !self.crossing.replace(true) {
            inside(
                self.home,
                &format!(
                    "nft 'add table netdev cross; add chain netdev cross in {{ type filter hook ingress device {} priority 0; }}; \
                     add counter netdev cross crossed; add rule netdev cross in udp dport 9 counter name crossed drop'",
                    self.interface
                ),
            );
        }
        let rate = rate.to_string();
        internet.spawn(&["/rigs/traffic", &format!("{}:9", self.address), &rate])
    }

    /// Bytes of other traffic that came, with their Ethernet headers.
    fn crossed(&self) -> u64 {
        if !self.crossing.get() {
            return 0;
        }
        let text = inside(self.home, "nft list counter netdev cross crossed");
        let after = |word: &str| {
            let number = text.split(word).nth(1)?.split_whitespace().next()?;
            number.parse::<u64>().ok()
        };
        let (packets, bytes) = (after("packets ").unwrap_or(0), after("bytes ").unwrap_or(0));
        // The hook sees a packet without its Ethernet header, and counts what it sees.
        bytes + 14 * packets
    }
}

/// The 16 numbers of a machine's device (proc(5), `/proc/net/dev`): received bytes first, sent
/// bytes at 8, packets that could not be sent at 11. A device that is gone has zeros.
///
/// # Panics
///
/// When the machine is gone.
fn numbers_of(pid: u32, device: &str) -> [u64; 16] {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev"));
    let table = table.expect("the machine is there");
    let name = format!("{device}:");
    let row = table.lines().find_map(|line| line.trim().strip_prefix(&name)).unwrap_or_default();
    let mut numbers = [0; 16];
    for (number, word) in numbers.iter_mut().zip(row.split_whitespace()) {
        *number = word.parse().unwrap_or(0);
    }
    numbers
}

/// Runs a script in the network namespace of a machine.
fn inside(pid: u32, script: &str) -> String {
    let output = Command::new("nsenter")
        .args(["--target", &pid.to_string(), "--net", "--", "sh", "-euc", script])
        .output()
        .expect("nsenter(1) can be run");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Joins two machines by a cable, with a device of this name in each.
fn cable(one: (&Host, &str), two: (&Host, &str)) {
    let made = Command::new("ip")
        .args(["link", "add", one.1, "netns", &one.0.pid().to_string(), "type", "veth"])
        .args(["peer", "name", two.1, "netns", &two.0.pid().to_string()])
        .output()
        .expect("ip(8) can be run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Gives a device its addresses.
fn set_up(host: &Host, device: &str, addresses: &[&str]) {
    let add = |address: &&str| format!("ip address add {address} dev {device}\n");
    let add: String = addresses.iter().map(add).collect();
    host.sh(&format!(
        "echo 0 >/proc/sys/net/ipv6/conf/{device}/accept_dad
         echo 0 >/proc/sys/net/ipv4/conf/{device}/rp_filter
         {add} ip link set {device} up"
    ));
}
