//! A tunnel is broken in three ways, and heals.

use bastion_tests::host::{DEADLINE, require};
use bastion_tests::process::Daemon;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::sender::sms;
use bastion_tests::tunnel::{Line, PORTS, TUNNEL};
use bastion_tests::wait::wait_until;

use super::Demo;
use super::style::now_us;

/// What makes it look and tell sooner than it does by itself, so that nobody has to wait for minutes.
const SOON: &str = "check-every = \"5s\"\nalert-after = \"4s\"\n";

/// Tells the story.
pub fn tell() {
    require("bastion");
    require("tunnelwatch");
    let begin = now_us();
    let mut demo = set_up();
    demo.heading(
        "Three throwaway machines: an internal host, a router, a jump host, with sshd on both ends",
    );
    demo.note(
        "They live in namespaces of their own: no packet leaves them, no file of yours is touched.",
    );
    demo.note("The internal host has tunnelwatch run, bastion run and a stand-in for Twilio, and");
    let config = demo.machines.inside.read(bastion_tests::host::CONFIG);
    let section = config.split("\n\n").find(|part| part.starts_with("[[tunnel]]"));
    section.unwrap_or_default().lines().for_each(|line| demo.note(&format!("  {line}")));
    demo.note("(it looks and tells early here: with nothing said, each 23 s and after 2 min)");

    demo.heading("1. The tunnel comes up, and is looked through from the far end");
    demo.machines.start();
    demo.follow("target-known", |demo| demo.logged("tunnelwatch", "target-known"));
    demo.note("(the host key behind port 2222 of the jump host is this host's own)");
    demo.status();

    demo.heading("2. The line goes silent, and the router gets another address");
    demo.machines.forget_connections();
    demo.machines.cut();
    demo.follow_sms("is DOWN");
    let noticed = demo.at_of("tunnelwatch", "tunnel-down").saturating_sub(demo.step_us);
    demo.status();
    demo.note(
        "Now the line is back. Connections of before are lost, and the jump host keeps port 2222 for one.",
    );
    let back = now_us();
    demo.machines.mend();
    let _ = demo.machines.wait_answer(&PORTS[1..], DEADLINE);
    let fallback = now_us().saturating_sub(back);
    demo.follow_sms("now on port 2223");
    demo.status();

    demo.heading("3. The jump host gives the dead session up (ClientAliveInterval, or `release`)");
    demo.machines.jump.sh("pkill -KILL -o -u tunnel");
    demo.retry();
    let home = demo.follow_sms("home again").saturating_sub(demo.step_us);

    demo.heading("4. sshd on this side is stopped: no new session would mend that");
    let ssh = demo.machines.ssh_pid();
    demo.machines.inside.sh("pkill -KILL -x sshd || true");
    let target = demo.follow_sms("sshd on this side").saturating_sub(demo.step_us);
    demo.status();
    assert_eq!(demo.machines.ssh_pid(), ssh, "a new session, for nothing");
    demo.note(&format!("ssh, process {ssh}, was left alone. sshd is started again."));
    demo.machines.inside.restart_sshd();
    demo.follow_sms("is up again");

    demo.heading("5. Another program on the jump host takes port 2222");
    let other = demo.take_port();
    let _ = demo.machines.wait_answer(&PORTS[1..], DEADLINE);
    let moved = now_us().saturating_sub(demo.step_us);
    demo.follow("the second port", |demo| demo.is_on(PORTS[1]));
    demo.status();
    demo.note("(told when it has lasted: after some news in an hour the next has to last longer, here 40 s)");
    demo.note("It leaves.");
    drop(other);
    demo.retry();
    demo.follow("the first port", |demo| demo.is_on(PORTS[0]));
    demo.status();

    demo.heading("How long it took");
    demo.took("line silent to alert", noticed);
    demo.took("line back to a way in, on the fallback port", fallback);
    demo.took("port free to SMS at provider, home again", home);
    demo.took("sshd stopped to SMS at provider", target);
    demo.took("port taken to a way in, on the fallback port", moved);
    demo.note("(one sample each, of a debug build; ./dev bench tunnel measures, autossh as well)");
    demo.end(begin);
}

fn set_up() -> Demo<Line> {
    let line = Line::new();
    let provider = Provider::start(&line.inside);
    line.inside.write_token(AUTH_TOKEN);
    line.inside.write_config(&format!("{TUNNEL}{SOON}{}", sms(&provider.url())));
    // The kernel checks its new addresses for a second or two, and each end of that is news to
    // tunnelwatch, but not in this story.
    let settled = || line.inside.sh("ip -6 address show tentative").is_empty();
    assert!(wait_until(DEADLINE, settled), "the addresses are never settled");
    let sender = line.inside.spawn_sender();
    line.inside.wait_syslog("bastion", "sender-started", 1);
    let mut demo = Demo::new(line, provider, sender);
    demo.told.0 = demo.machines.inside.syslog_lines().len();
    // Of each alert the phone tells; sshd's looks and ours at it are no news.
    demo.hidden = &["alert-queued", "alert-sent", "alert-arrived", "login", "logout"];
    demo
}

impl Demo<Line> {
    fn status(&self) {
        self.prompt("tunnelwatch status");
        let status = self.machines.tunnelwatch(&["status"]).text();
        status.lines().for_each(|line| self.note(line));
    }

    fn is_on(&self, port: u16) -> bool {
        let status = self.machines.status();
        status["up"] == true && status["port"] == port
    }

    /// It would try by itself within a minute.
    fn retry(&self) {
        self.prompt("tunnelwatch retry");
        let _ = self.machines.tunnelwatch(&["retry"]).ok();
    }

    /// Another sshd takes the first port in the moment in which the session of the tunnel ends.
    fn take_port(&mut self) -> Daemon {
        let line = &self.machines;
        let run = line.run.as_ref();
        // Else it might be back before the other one is there.
        run.iter().for_each(|run| run.stop());
        line.kill_sessions();
        assert!(wait_until(DEADLINE, || !line.jump.listens(PORTS[0])), "the port is never free");
        let words = ["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config", "-p", "2222"];
        let other = line.jump.spawn(&words);
        assert!(wait_until(DEADLINE, || line.jump.listens(PORTS[0])), "{}", other.output());
        self.step_us = now_us();
        run.iter().for_each(|run| run.signal(libc::SIGCONT));
        other
    }
}
