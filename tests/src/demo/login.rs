//! Logins reach a phone.

use std::time::Duration;

use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{CONFIG, DEADLINE, Host, KNOWN, UNKNOWN, require};
use bastion_tests::login::Stack;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::sender::{AS_BASTION, LOGIN, sms};
use bastion_tests::wait::wait_until;

use super::Demo;
use super::style::{micros, now_us};

/// How far the sender's clock is put forward while the line is down. Age is told by the boot
/// clock, so a time namespace is all it takes.
const OUTAGE: Duration = Duration::from_secs(41 * 60);

/// Time in which an SMS that must not be sent would have been: ten times what one takes.
const QUIET: Duration = Duration::from_secs(1);

/// Tells the story.
pub fn tell() {
    require("bastion");
    require("libpam_bastion.so");
    let begin = now_us();
    let (mut demo, bare) = set_up();
    demo.heading("A throwaway machine with sshd, libpam, bastion run, and a stand-in for Twilio");
    demo.note(
        "It lives in namespaces of its own: no packet leaves it, no file of yours is touched.",
    );
    demo.note("What makes it tell, one line in /etc/pam.d/sshd:");
    let stack = demo.machines.read("/etc/pam.d/sshd");
    demo.note(&format!("  {}", stack.lines().last().unwrap_or_default()));
    demo.follow("sender-started", |demo| demo.logged("bastion", "sender-started"));

    demo.heading(&format!("1. alice logs in from {UNKNOWN}, where nobody knows her"));
    let told = demo.login("alice", UNKNOWN);
    let sms_after = demo.follow_sms("alice").saturating_sub(demo.at_of("pam_bastion", "login"));
    demo.follow("logout", |demo| demo.logged("pam_bastion", "logout"));
    demo.note("(each logout is logged; from here on they are not shown)");
    demo.hidden = &["logout"];

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
    let late = demo.follow_sms("alice").saturating_sub(demo.step_us);
    demo.follow("alert-sent", |demo| demo.logged("bastion", "alert-sent"));
    if forward {
        let last = demo.provider.accepted().pop().map(|sms| sms.body().to_owned());
        assert!(last.is_some_and(|text| text.contains("41 min late")), "it does not say how late");
    }

    demo.heading("How long it took");
    demo.took("ssh without pam_bastion", bare);
    demo.took("ssh, known good", known);
    demo.took("ssh, told", told);
    demo.took("ssh, told, provider cut off", dark);
    demo.took("session opened to SMS at provider", sms_after);
    demo.took("line back to late SMS at provider", late);
    demo.note("(one sample each, of a debug build; ./dev bench login measures)");
    demo.end(begin);
}

/// The machine, and the time that a client takes without the module, in microseconds.
fn set_up() -> (Demo<Host>, u64) {
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
    let sender = host.spawn_sender();
    (Demo::new(host, provider, sender), bare)
}

impl Demo<Host> {
    /// Logs in. Answers how long the client took, in microseconds.
    fn login(&mut self, user: &str, from: &str) -> u64 {
        let to = format!("{user}@jump");
        self.prompt(&format!("ssh -b {from} {to} true"));
        self.step_us = now_us();
        micros(self.machines.ssh(&["-b", from, &to, "true"]).ok().took)
    }

    fn check_quiet(&mut self) {
        let seen = self.told.1;
        let sent = wait_until(QUIET, || self.provider.accepted().len() > seen);
        assert!(!sent, "a known-good login was told: {:#?}", self.provider.accepted());
        self.note("logged, and no SMS");
    }

    fn show_queue(&self) {
        self.prompt("bastion queue");
        let queue = self.machines.sh(&format!("/artefacts/bastion queue --config {CONFIG}"));
        queue.lines().for_each(|line| self.note(line));
    }

    /// Restarts the sender with its clock put forward, and follows until it has tried. Answers
    /// whether this kernel can.
    fn put_forward(&mut self) -> bool {
        if let Some(sender) = &mut self.sender {
            sender.signal(libc::SIGTERM);
            assert_eq!(sender.wait(DEADLINE), Some(0), "SIGTERM ends the sender cleanly");
        }
        // In the story it never stopped; else the next one would tell of 41 minutes without a sender.
        self.machines.sh("rm -f /var/lib/bastion/alive.json");
        let seconds = OUTAGE.as_secs().to_string();
        let mut words =
            vec!["unshare", "--time", "--fork", "--kill-child", "--boottime", &seconds, "--"];
        let can = self.machines.run(&[&words[..], &["true"]].concat()).code == Some(0);
        if !can {
            words.clear();
            self.note(
                "this kernel has no time namespaces: the clock stays, and so it will not say late",
            );
        }
        words.extend(AS_BASTION);
        words.extend(["/artefacts/bastion", "run", "--config", CONFIG]);
        self.sender = Some(self.machines.spawn(&words));
        self.follow("alert-deferred", |demo| demo.logged("bastion", "alert-deferred"));
        can
    }
}
