//! `./dev demo`: logins reach a phone, on a throwaway machine, told in the terminal.
//!
//! Everything is real but the phone company: sshd, libpam, the module, the sender. All of it
//! lives in the namespaces of one [`Host`], which end with this process however that ends, so
//! nothing has to be removed by hand, also after Ctrl-C or `kill -9`.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{CONFIG, DEADLINE, Host, KNOWN, UNKNOWN, require};
use bastion_tests::login::Stack;
use bastion_tests::process::Daemon;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::sender::{AS_BASTION, LOGIN, TO, sms};
use bastion_tests::wait::wait_until;

/// How far the sender's clock is put forward while the line is down. Age is told by the boot
/// clock, so a time namespace is all it takes.
const OUTAGE: Duration = Duration::from_secs(41 * 60);

/// Time in which an SMS that must not be sent would have been: ten times what one takes.
const QUIET: Duration = Duration::from_secs(1);

/// Columns of the output where the terminal's are not known, and the least and most used.
const WIDTH: usize = 130;
const WIDTHS: (usize, usize) = (60, 140);

fn main() -> ExitCode {
    // A rig that cannot work panics with a text for a person; unwinding ends the machine.
    std::panic::set_hook(Box::new(|info| eprintln!("\ndemo: {}", reason(info))));
    match std::panic::catch_unwind(tell_the_story) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn reason(info: &PanicHookInfo) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

fn tell_the_story() {
    require("bastion");
    require("libpam_bastion.so");
    let begin = now_us();
    let mut demo = Demo::new();
    demo.heading("A throwaway machine with sshd, libpam, bastion run, and a stand-in for Twilio");
    demo.note(
        "It lives in namespaces of its own: no packet leaves it, no file of yours is touched.",
    );
    demo.note("What makes it tell, one line in /etc/pam.d/sshd:");
    let stack = demo.host.read("/etc/pam.d/sshd");
    demo.note(&format!("  {}", stack.lines().last().unwrap_or_default()));
    demo.follow("sender-started", |demo| demo.logged("bastion", "sender-started"));

    demo.heading(&format!("1. alice logs in from {UNKNOWN}, where nobody knows her"));
    let told = demo.login("alice", UNKNOWN);
    let sms_after = demo.follow_sms().saturating_sub(demo.at_of("pam_bastion", "login"));
    demo.follow("logout", |demo| demo.logged("pam_bastion", "logout"));
    demo.note("(each logout is logged; from here on they are not shown)");
    demo.logouts = false;

    demo.heading(&format!("2. bob logs in from {KNOWN}, which the configuration knows as good"));
    let known = demo.login("bob", KNOWN);
    demo.follow("login", |demo| demo.logged("pam_bastion", "login"));
    demo.check_quiet();

    demo.heading("3. The line to the provider is cut; alice logs in again");
    demo.provider.fault(&Fault::new(Act::Refuse));
    let dark = demo.login("alice", UNKNOWN);
    demo.follow("alert-deferred", |demo| demo.logged("bastion", "alert-deferred"));
    demo.show_queue();

    demo.heading("4. 41 minutes later, still no line (the sender restarts, its clock put forward)");
    let forward = demo.put_forward();

    demo.heading("5. The line is back");
    demo.step_us = now_us();
    demo.provider.heal();
    let late = demo.follow_sms().saturating_sub(demo.step_us);
    demo.follow("alert-sent", |demo| demo.logged("bastion", "alert-sent"));
    if forward {
        let last = demo.provider.accepted().pop().map(|sms| sms.body().to_owned());
        assert!(last.is_some_and(|text| text.contains("41 min late")), "it does not say how late");
    }

    demo.heading("How long it took");
    demo.took("ssh without pam_bastion", demo.bare);
    demo.took("ssh, known good", known);
    demo.took("ssh, told", told);
    demo.took("ssh, told, provider cut off", dark);
    demo.took("session opened to SMS at provider", sms_after);
    demo.took("line back to late SMS at provider", late);
    demo.note("(one sample each, of a debug build; ./dev bench measures)");
    let style = demo.style;
    drop(demo);
    let all = seconds(now_us().saturating_sub(begin));
    println!("\n{}", style.bold(&format!("Done in {all}; the machine and all it held are gone.")));
}

/// The machine, what runs in it, and what of it has been told.
struct Demo {
    style: Style,
    sender: Option<Daemon>,
    provider: Provider,
    host: Host,
    /// Syslog lines and messages told so far.
    told: (usize, usize),
    /// Those of them that earlier steps told.
    before: (usize, usize),
    /// Whether to tell logouts.
    logouts: bool,
    /// When the step began, in microseconds since 1970.
    step_us: u64,
    /// Time that a client takes without the module, in microseconds.
    bare: u64,
}

impl Demo {
    fn new() -> Self {
        let mut host = Host::new();
        let provider = Provider::start(&host);
        let key = host.fingerprint("/root/.ssh/id_ed25519.pub");
        let keys = format!("keys = {{ \"{key}\" = \"alice laptop\" }}\n");
        host.write_token(AUTH_TOKEN);
        host.write_config(&format!("{LOGIN}{keys}{}", sms(&provider.url())));
        host.start_sshd();
        host.set_stack(Stack::Bare);
        let bare = micros(host.ssh(&["alice@jump", "true"]).ok().took);
        host.set_stack(Stack::Bastion);
        let sender = Some(host.spawn_sender());
        let (told, step_us) = ((0, 0), now_us());
        Self {
            style: Style::detect(),
            sender,
            provider,
            host,
            told,
            before: told,
            logouts: true,
            step_us,
            bare,
        }
    }

    /// Begins a step.
    fn heading(&mut self, text: &str) {
        println!("\n{}", self.style.bold(text));
        self.before = self.told;
        self.step_us = now_us();
    }

    fn note(&self, text: &str) {
        println!("  {text}");
    }

    fn took(&self, what: &str, us: u64) {
        println!("  {what:<36}{:>8}", seconds(us));
    }

    /// Logs in, telling what syslog gets meanwhile. Answers how long the client took, in
    /// microseconds.
    fn login(&mut self, user: &str, from: &str) -> u64 {
        let to = format!("{user}@jump");
        println!("  {}", self.style.bold(&format!("$ ssh -b {from} {to} true")));
        self.step_us = now_us();
        let host = &self.host;
        let output = std::thread::scope(|scope| {
            let client = scope.spawn(|| host.ssh(&["-b", from, &to, "true"]).ok());
            let _ = wait_until(DEADLINE, || client.is_finished());
            client.join()
        });
        let output = output.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        micros(output.took)
    }

    /// Tells what comes until `done`.
    fn follow(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let came = wait_until(DEADLINE, || {
            let done = done(self);
            self.tell_news();
            done
        });
        assert!(came, "waited {DEADLINE:?} in vain for {what}: {:#?}", self.host.syslog_lines());
    }

    /// Tells what comes until an SMS is told. Answers when it came.
    fn follow_sms(&mut self) -> u64 {
        let seen = self.told.1;
        self.follow("an SMS", |demo| demo.provider.accepted().len() > seen);
        self.provider.accepted().get(seen).map_or(0, |sms| sms.at_us)
    }

    /// Syslog lines and messages that have come since the last time, in the order of arrival.
    fn tell_news(&mut self) {
        let lines = self.host.syslog_lines();
        let accepted = self.provider.accepted();
        let mut news: Vec<(u64, String)> = Vec::new();
        for line in lines.iter().skip(self.told.0) {
            if line.event() == "logout" && !self.logouts {
                continue;
            }
            let since = line.at_us.saturating_sub(self.step_us);
            let text = format!("{}: {}", line.tag, line.text);
            news.push((line.at_us, self.style.record(&seconds(since), &text)));
        }
        for sms in accepted.iter().skip(self.told.1) {
            news.push((sms.at_us, self.style.boxed(&format!("SMS to {TO}"), sms.body())));
        }
        news.sort_by_key(|(at_us, _)| *at_us);
        for (_, text) in news {
            print!("{text}");
        }
        let _ = std::io::stdout().flush();
        self.told = (lines.len(), accepted.len());
    }

    /// When `tag` logged `event` in this step; 0 when it did not.
    fn at_of(&self, tag: &str, event: &str) -> u64 {
        let lines = self.host.syslog_lines();
        let mut lines = lines.iter().skip(self.before.0);
        lines.find(|line| line.tag == tag && line.event() == event).map_or(0, |line| line.at_us)
    }

    fn logged(&self, tag: &str, event: &str) -> bool {
        self.at_of(tag, event) > 0
    }

    fn check_quiet(&mut self) {
        let seen = self.told.1;
        let sent = wait_until(QUIET, || self.provider.accepted().len() > seen);
        assert!(!sent, "a known-good login was told: {:#?}", self.provider.accepted());
        self.note("logged, and no SMS");
    }

    fn show_queue(&self) {
        println!("  {}", self.style.bold("$ bastion queue"));
        for line in self.host.sh(&format!("/artefacts/bastion queue --config {CONFIG}")).lines() {
            self.note(line);
        }
    }

    /// Restarts the sender with its clock put forward, and follows until it has tried. Answers
    /// whether this kernel can.
    fn put_forward(&mut self) -> bool {
        if let Some(sender) = &mut self.sender {
            sender.signal(libc::SIGTERM);
            assert_eq!(sender.wait(DEADLINE), Some(0), "SIGTERM ends the sender cleanly");
        }
        // In the story it never stopped; else the next one would tell of 41 minutes without a sender.
        self.host.sh("rm -f /var/lib/bastion/alive.json");
        let seconds = OUTAGE.as_secs().to_string();
        let mut words =
            vec!["unshare", "--time", "--fork", "--kill-child", "--boottime", &seconds, "--"];
        let can = self.host.run(&[&words[..], &["true"]].concat()).code == Some(0);
        if !can {
            words.clear();
            self.note(
                "this kernel has no time namespaces: the clock stays, and so it will not say late",
            );
        }
        words.extend(AS_BASTION);
        words.extend(["/artefacts/bastion", "run", "--config", CONFIG]);
        self.sender = Some(self.host.spawn(&words));
        self.follow("alert-deferred", |demo| demo.logged("bastion", "alert-deferred"));
        can
    }
}

/// How the output looks: in colour on a terminal that wants it, else plain.
#[derive(Debug, Clone, Copy)]
struct Style {
    colour: bool,
    width: usize,
}

impl Style {
    fn detect() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let width = columns.filter(|known| *known > 0).unwrap_or(WIDTH).clamp(WIDTHS.0, WIDTHS.1);
        Self { colour: terminal && !dumb && !set("NO_COLOR"), width }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// A syslog line, with the time since the step began.
    fn record(self, time: &str, text: &str) -> String {
        let margin = format!("  {}  ", self.paint("2", &format!("{time:>8}")));
        let lines = wrap(text, self.width.saturating_sub(12));
        format!("{margin}{}\n", lines.join(&format!("\n{:12}  ", "")))
    }

    fn boxed(self, title: &str, text: &str) -> String {
        let lines = wrap(text, 60);
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let rule = "-".repeat(width.saturating_sub(title.len() + 1));
        let mut out = format!("{:12}.- {title} {rule}.\n", "");
        for line in lines {
            let fill = " ".repeat(width.saturating_sub(line.chars().count()));
            out.push_str(&format!("{:12}| {}{fill} |\n", "", self.paint("1;32", &line)));
        }
        out + &format!("{:12}'{}'\n", "", "-".repeat(width + 2))
    }
}

/// `text` in lines of at most `width` characters, cut at spaces; a longer word stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// `us` microseconds for a person: `31 ms`, `2.1 s`.
fn seconds(us: u64) -> String {
    match us {
        0..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

fn now_us() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
