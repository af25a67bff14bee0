//! A tunnel between two booted machines, made by doing what `tunnelwatch enroll` prints, and the laptop of
//! somebody who logs in through it.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::machine::{ECHO, Machine, Session};
use super::package::Server;
use crate::host::DEADLINE;
use crate::process::{Daemon, Output, finish};
use crate::wait::{wait_for, wait_until};

/// The jump host's address on the wire to the internal host.
pub const JUMP: &str = "10.9.0.1";
/// The internal host's.
pub const INSIDE: &str = "10.9.0.2";
/// The jump host's to the world.
pub const PUBLIC: &str = "198.18.0.1";
/// The laptop's there.
pub const LAPTOP: &str = "198.18.0.7";

/// One step of what `enroll` prints.
#[derive(Debug, PartialEq)]
struct Step {
    /// What it says to do.
    heading: String,
    /// What to write, or to run.
    body: String,
}

impl Step {
    /// The commands that the heading has behind its `then: `.
    fn then(&self) -> &str {
        self.heading.split_once("; then: ").map_or("", |(_, commands)| commands)
    }
}

/// The steps of what was printed, in their order.
fn steps(printed: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for part in printed.split("\n\n") {
        let part = part.trim_end();
        let number = part.split_once(". ").filter(|(number, _)| number.parse::<u32>().is_ok());
        if let Some((_, heading)) = number {
            steps.push(Step { heading: heading.to_owned(), body: String::new() });
        } else if part.starts_with("Not yet: ") || part.starts_with("Tested: ") {
            break;
        } else if let Some(step) = steps.last_mut() {
            step.body += part;
            step.body += "\n\n";
        }
    }
    steps
}

/// Makes the tunnel of `inside`'s configuration as its administrator does, who reads what is printed; answers
/// what is for the laptop's configuration.
///
/// # Panics
///
/// When a step does not lead to the next.
#[must_use]
pub fn enroll(inside: &Server, jump: &Server) -> String {
    let run = |words: &str| {
        let line = format!("sudo -u _tunnelwatch tunnelwatch enroll {words}");
        inside.machine.run_with(DEADLINE * 2, &["bash", "-c", &line], b"")
    };
    let first = run("");
    assert_eq!(first.code, Some(69), "{first:?}");
    let shown = jump.machine.sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
    let key = shown.split(' ').nth(1).expect("bits fingerprint comment (type)");
    assert!(first.errors().contains(key), "{first:?}");
    let second = run(&format!("home --host-key {key}"));
    assert_eq!(second.code, Some(69), "nothing is done on the jump host yet: {second:?}");
    let steps = steps(&second.text());
    let [user, key, sshd, file, laptop] = steps.as_slice() else { panic!("{second:?}") };

    let root = |script: &str| jump.machine.sh(script);
    root(&user.body);
    let path = key.heading.split_whitespace().find(|word| word.contains("authorized_keys"));
    let path = path.expect("the name of the file").trim_end_matches(':');
    root(&format!("cat >>{path} <<'END'\n{}\nEND", key.body.trim()));
    root(&format!("cat >>/etc/ssh/sshd_config <<'END'\n{}\nEND", sshd.body.trim_end()));
    root(sshd.then().trim_end_matches(':'));
    root(&format!("cat >>/etc/bastion/bastion.toml <<'END'\n{}\nEND", file.body.trim_end()));
    root(file.then().trim_end_matches(':'));

    let third = run("");
    assert_eq!(third.code, Some(0), "{third:?}");
    let text = third.text();
    let (_, now) = text.rsplit_once(" Now: ").expect("what to do now");
    inside.machine.sh(now);
    wait_up(&inside.machine);
    laptop.body.clone()
}

/// Waits until the tunnel is up, as its keeper says.
///
/// # Panics
///
/// When it does not come up.
pub fn wait_up(inside: &Machine) {
    let mut said = String::new();
    let up = wait_until(DEADLINE * 2, || {
        let output = inside.run(&["tunnelwatch", "status"]);
        said = output.text();
        output.code == Some(0)
    });
    assert!(up, "{said}{:#?}", inside.journal("tunnelwatch"));
}

/// Joins two networks by a cable, each given by a process in it.
///
/// # Panics
///
/// When that fails.
pub fn wire(one: (u32, &str, &str), two: (u32, &str, &str)) {
    let pids = [one.0, two.0].map(|pid| pid.to_string());
    let words = ["link", "add", one.1, "netns", &pids[0], "type", "veth"];
    let peer = ["peer", "name", two.1, "netns", &pids[1]];
    finish(Command::new("ip").args(words).args(peer), b"").ok();
    for (pid, name, address) in [one, two] {
        let script = format!(
            "ip address add {address} dev {name}; ip link set {name} up; ip link set lo up"
        );
        let pid = pid.to_string();
        let words = ["--target", &pid, "--net", "--", "bash", "-euc", &script];
        finish(Command::new("nsenter").args(words), b"").ok();
    }
}

/// Somebody's laptop, somewhere in the world: a network with a way to the jump host, and no more.
pub struct Laptop<'a> {
    network: Child,
    jump: &'a Machine,
    config: String,
}

impl<'a> Laptop<'a> {
    /// One that has this in its `~/.ssh/config`, where alice is YOU.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn of(jump: &'a Machine, config: &str) -> Self {
        // Ends with its input, which ends with the test.
        let network = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare (package util-linux) can be run");
        let own = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let here = own(std::process::id());
        wait_for("a network", DEADLINE, || {
            own(network.id()).filter(|one| Some(one) != here.as_ref())
        });
        wire(
            (jump.around(), "world0", &format!("{PUBLIC}/24")),
            (network.id(), "laptop0", &format!("{LAPTOP}/24")),
        );
        let config = config.replace("YOU", "alice").replace(JUMP, PUBLIC);
        let config = format!("{config}\n{}", jump.ssh_defaults());
        fs::write(jump.client_dir().join("laptop"), config).expect("a file in memory");
        let config = jump.seen_by_client("laptop");
        Self { network, jump, config }
    }

    fn command(&self, words: &[&str]) -> Command {
        let network = format!("--net=/proc/{}/ns/net", self.network.id());
        let around = self.jump.around().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &around, "--mount", "--pid", &network, "--"]).args(words);
        command
    }

    /// `ssh ARGS` there.
    #[must_use]
    pub fn ssh(&self, args: &[&str]) -> Output {
        let mut words = vec!["timeout", "--signal=KILL", "30", "ssh", "-F", &self.config];
        words.extend(args);
        finish(&mut self.command(&words), b"")
    }

    /// `ssh ARGS` there, until it is let in. Since OpenSSH 9.8 an sshd has enough, for some seconds, of an address from
    /// which several connections came that did not try to log in, as those of `enroll`, which asks for host keys;
    /// and all that come through the tunnel are from 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When it is never let in.
    #[must_use]
    pub fn ssh_in_the_end(&self, args: &[&str]) -> Output {
        let mut said = self.ssh(args);
        let _ = wait_until(DEADLINE * 2, || {
            if said.code == Some(255) {
                said = self.ssh(args);
            }
            said.code == Some(0)
        });
        said.ok()
    }

    /// A login from there that stays.
    #[must_use]
    pub fn session(&self, target: &str) -> Session {
        let words = ["ssh", "-F", &self.config, target, ECHO];
        let log = self.jump.client_dir().join("laptop-session");
        Session::of(Daemon::start(&mut self.command(&words), &log))
    }
}

impl Drop for Laptop<'_> {
    fn drop(&mut self) {
        let _ = self.network.kill();
        let _ = self.network.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_found_with_what_it_says_to_write_and_to_run() {
        let printed = "/var/lib/x has the key already.\n1. Here:\n\nrun a\nrun b\n\n2. There, in /f; then: reload x\n\n\
                       [a]\nb = 1\n\n[c]\n\nNot yet: it\n  is. so\n\nmore\n";
        let printed = printed.replace("already.\n", "already.\n\n");
        let found = steps(&printed);
        let want = |heading: &str, body: &str| Step { heading: heading.into(), body: body.into() };
        assert_eq!(
            found,
            [
                want("Here:", "run a\nrun b\n\n"),
                want("There, in /f; then: reload x", "[a]\nb = 1\n\n[c]\n\n"),
            ]
        );
        assert_eq!((found[0].then(), found[1].then()), ("", "reload x"));
    }
}
