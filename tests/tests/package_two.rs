//! A jump host and an internal host, both of the package, and the tunnel between them as `tunnelwatch enroll`
//! says to make it: `./dev test --package`.

use bastion_tests::boot::machine::{Machine, Release};
use bastion_tests::boot::package::{ALERT, Server, debs};
use bastion_tests::boot::tunnel::{INSIDE, JUMP, LAPTOP, Laptop, enroll, wait_up, wire};
use bastion_tests::host::DEADLINE;
use bastion_tests::wait::wait_until;

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn a_login_through_the_tunnel_is_told_by_both_hosts_on_debian_12() {
    a_login_through_the_tunnel_is_told_by_both_hosts(Release::Bookworm);
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn a_login_through_the_tunnel_is_told_by_both_hosts_on_debian_13() {
    a_login_through_the_tunnel_is_told_by_both_hosts(Release::Trixie);
}

const TUNNEL: &str = "
[[tunnel]]
name = \"home\"
jump = \"tunnel@10.9.0.1\"
remote-ports = [2222, 2223]
";

fn a_login_through_the_tunnel_is_told_by_both_hosts(release: Release) {
    let (old, new) = debs();
    let (jump, inside) = (Machine::boot(release, "jump"), Machine::boot(release, "inside"));
    wire(
        (jump.around(), "inside0", &format!("{JUMP}/24")),
        (inside.around(), "jump0", &format!("{INSIDE}/24")),
    );
    let jump = Server::set_up(jump, &old, "");
    let mut inside = Server::set_up(inside, &old, TUNNEL);
    let laptop = Laptop::of(&jump.machine, &enroll(&inside, &jump));
    let key = jump.machine.read_client("id.pub");
    inside.machine.sh(&format!("echo '{key}' >>/home/alice/.ssh/authorized_keys"));

    told_by_both(&laptop, &jump, &inside);

    inside.machine.reboot();
    wait_up(&inside.machine);
    told_by_both(&laptop, &jump, &inside);

    // An upgrade over the tunnel leaves the tunnel, and who does it, alone.
    let mut session = laptop.session("home");
    let keeper = inside.machine.main_pid("tunnelwatch");
    inside.install(&new);
    inside.wait_active("bastion");
    assert_eq!(inside.machine.main_pid("tunnelwatch"), keeper);
    assert!(session.answers("still here"));
    session.ends();
    told_by_both(&laptop, &jump, &inside);

    // The tunnel's own logins, one after each boot and try, have rung no phone.
    let of_tunnel = jump.provider.accepted();
    let of_tunnel = of_tunnel.iter().find(|record| record.body().contains("login tunnel"));
    assert!(of_tunnel.is_none(), "{of_tunnel:?}");

    // What Debian leaves open, closed with the files that the package brings; the doctor finds nothing else that
    // keeps an alert back or the way shut. The jump host stays at port 22, where the tunnel's keeper looks for it.
    jump.machine
        .sh(&format!("sed 's/^Port 2022$/Port 22/' {EXAMPLES}/jump.conf >{DROP_INS}/10-jump.conf"));
    inside.machine.sh(&format!("cp {EXAMPLES}/internal.conf {DROP_INS}/10-internal.conf"));
    for server in [&jump, &inside] {
        server.machine.sh("sshd -t && systemctl reload ssh");
    }
    told_by_both(&laptop, &jump, &inside);
    assert_eq!(is_critical(&jump.machine), [] as [&str; 0]);
    if release == Release::Trixie {
        assert_eq!(is_critical(&inside.machine), ["sshd-penalties"]);
        inside
            .machine
            .sh(&format!("cp {EXAMPLES}/internal-9.8.conf {DROP_INS}/11-internal-9.8.conf"));
        inside.machine.sh("sshd -t && systemctl reload ssh");
        told_by_both(&laptop, &jump, &inside);
    }
    assert_eq!(is_critical(&inside.machine), [] as [&str; 0]);
    drills(&inside);
}

/// A drill by hand, and one by its unit, which may do less: each proves the whole way in a minute, and its login is told.
fn drills(inside: &Server) {
    let machine = &inside.machine;
    machine.sh("printf '\\n[drill]\\nuser = \"alice\"\\n' >>/etc/bastion/bastion.toml; systemctl reload bastion");
    let keys = "/home/alice/.ssh/authorized_keys";
    let before = machine.sh(&format!("stat -c '%U %a' {keys}; cat {keys}"));
    let told = || {
        let accepted = inside.provider.accepted();
        accepted.iter().filter(|record| record.body().contains("key bastion drill")).count()
    };
    for (at, words) in [(1, "bastion drill"), (2, "systemctl start bastion-drill")] {
        let said = machine.run_with(DEADLINE * 4, &["bash", "-c", words], b"");
        let text = match at {
            1 => said.text(),
            _ => machine.sh("journalctl -u bastion-drill -o cat --no-pager"),
        };
        println!("{:?} {words}, took {:?}: {text}", machine.release, said.took);
        assert!(said.took < DEADLINE * 2, "{:?}", said.took);
        for part in ["channel ", "tunnel home ", "login home ", "units ", "disk ", "known good "] {
            let begin = format!("ok       {part}");
            assert!(text.lines().any(|line| line.starts_with(&begin)), "{words}: {part}: {text}");
        }
        assert!(!text.lines().any(|line| line.starts_with("failed ")), "{words}: {text}");
        assert_eq!(told(), at, "{words}");
        assert_eq!(machine.sh(&format!("stat -c '%U %a' {keys}; cat {keys}")), before, "{words}");
    }
    assert_eq!(machine.property("bastion-drill", "Result"), "success");
    let counted = || machine.sh("bastion report").contains("drill parts");
    assert!(wait_until(DEADLINE, counted), "{}", machine.sh("bastion report"));
}

const EXAMPLES: &str = "/usr/share/doc/pam-bastion/examples/ssh/sshd_config.d";
const DROP_INS: &str = "/etc/ssh/sshd_config.d";

/// The names of what the doctor of the whole host calls critical.
fn is_critical(machine: &Machine) -> Vec<String> {
    let said = machine.run_with(DEADLINE * 6, &["bastion", "check"], b"");
    println!("{:?} {}: {}", machine.release, machine.name(), said.text());
    assert!(matches!(said.code, Some(0..=2)), "{}: {said:?}", machine.name());
    let text = said.text();
    let critical = text.lines().filter(|line| line.starts_with("critical "));
    let names = critical.filter_map(|line| line.rsplit_once('[')?.1.strip_suffix(']'));
    names.map(str::to_owned).collect()
}

/// Logs in from the laptop to the internal host, as its configuration of one word has it: an alert each,
/// from the jump host, which sees where from, and the internal host, which is told so by it.
fn told_by_both(laptop: &Laptop, jump: &Server, inside: &Server) {
    let from_world = format!("login alice from {LAPTOP}");
    let told = |server: &Server, words: &[&str]| {
        let accepted = server.provider.accepted();
        let host = format!("{}: ", server.machine.name());
        let bodies = accepted.iter().map(|record| record.body());
        bodies
            .filter(|body| body.starts_with(&host) && words.iter().all(|word| body.contains(word)))
            .count()
    };
    let by_jump = || told(jump, &[&from_world]);
    let by_inside = || told(inside, &["login alice", "via jump: alice, key ", LAPTOP]);
    let before = (by_jump(), by_inside());
    let said = laptop.ssh_in_the_end(&["home", "hostname; sleep 1"]);
    assert_eq!(said.text(), "inside\n");
    let both = wait_until(ALERT, || by_jump() > before.0 && by_inside() > before.1);
    assert!(both, "{:#?}\n{:#?}", jump.provider.accepted(), inside.provider.accepted());
}
