//! Who comes through the tunnel is 127.0.0.1, and shares that address with all others: from OpenSSH 9.8 on it has to be
//! exempt from the penalties of sshd, or four wrong keys of one close the way in for everybody.

use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::wait::wait_until;

const INTERNAL: &str = include_str!("../../etc/ssh/sshd_config.d/internal.conf");
const EXEMPT: &str = include_str!("../../etc/ssh/sshd_config.d/internal-9.8.conf");

/// Does the guide, with `sshd -T | grep -q persourcepenalties`, copy the file here?
fn knows_penalties(host: &Host) -> bool {
    let settings = host.run(&["/usr/sbin/sshd", "-T", "-f", "/etc/ssh/sshd_config"]).ok();
    settings.text().contains("persourcepenalties")
}

/// sshd with penalties that last a minute, after three wrong keys, as its own do after four.
fn start(host: &mut Host, drop_ins: &str) {
    host.start_sshd();
    let own = host.read("/etc/ssh/sshd_config").replace("PerSourcePenalties no", "");
    let short = "PerSourcePenalties authfail:20s min:60s\n";
    host.write("/etc/ssh/sshd_config", format!("{short}{drop_ins}\n{own}"), 0o600);
    host.restart_sshd();
}

fn wrong_key(host: &Host, at: &str) -> bool {
    host.ssh(&["-i", "/root/keys/stranger", at, "true"]).code == Some(0)
}

#[test]
fn wrong_keys_through_the_tunnel_keep_nobody_else_out() {
    let mut host = Host::with_sshd();
    if !knows_penalties(&host) {
        // It is what the guide asks, and an older sshd must not get the file: it does not start with it.
        host.write("/etc/ssh/spoilt", format!("{INTERNAL}\n{EXEMPT}"), 0o600);
        let refused = host.run(&["/usr/sbin/sshd", "-t", "-f", "/etc/ssh/spoilt"]);
        assert!(refused.errors().contains("PerSourcePenaltyExemptList"), "{refused:?}");
        eprintln!("skipped: this sshd is older than 9.8, and has no penalties to be exempt from");
        return;
    }
    for at in ["alice@127.0.0.1", "alice@::1"] {
        start(&mut host, INTERNAL);
        assert_eq!(host.ssh(&[at, "true"]).code, Some(0), "{at}");
        let shut = wait_until(DEADLINE, || {
            assert!(!wrong_key(&host, at), "a stranger");
            host.ssh(&[at, "true"]).code != Some(0)
        });
        assert!(shut, "{at} is never refused: what is the file for?");

        start(&mut host, &format!("{INTERNAL}\n{EXEMPT}"));
        for _ in 0..8 {
            assert!(!wrong_key(&host, at), "a stranger");
        }
        assert_eq!(host.ssh(&[at, "true"]).code, Some(0), "{at}, with the file");
    }
}
