//! Where the jump host is found: by a name that moves to another address, over IPv4, IPv6 or both
//! of them, and a target that has IPv6 alone.

use std::time::{Duration, Instant};

use bastion_tests::host::DEADLINE;
use bastion_tests::tunnel::{Line, PORTS, TUNNEL};
use bastion_tests::wait::{pause, wait_until};

/// A line on which the jump host is known as `gate`, also over IPv6, and nothing is kept yet.
fn line_by_name(more: &str) -> Line {
    let line = Line::new();
    line.router.sh("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    for (host, end, address, gateway) in [
        (&line.inside, "a0", "2001:db8:a::2", "2001:db8:a::1"),
        (&line.router, "a1", "2001:db8:a::1", ""),
        (&line.router, "b0", "2001:db8:b::1", ""),
        (&line.jump, "b1", "2001:db8:b::2", "2001:db8:b::1"),
    ] {
        host.sh(&format!("ip address add {address}/64 dev {end} nodad"));
        if !gateway.is_empty() {
            host.sh(&format!("ip -6 route add default via {gateway}"));
        }
    }
    line.inside.write_config(&format!("{}{more}", TUNNEL.replace("@10.2.0.2", "@gate")));
    line.inside.sh("sed -i 's/^[^ ]*/gate/' /var/lib/tunnelwatch/known_hosts");
    // host.conf(5): else only the first line of a name counts.
    line.inside.write("/etc/host.conf", "multi on\n", 0o644);
    line
}

/// Gives `gate` these addresses.
fn resolve(line: &Line, addresses: &[&str]) {
    let lines: String = addresses.iter().map(|address| format!("{address} gate\n")).collect();
    line.inside.write("/etc/hosts", format!("127.0.0.1 localhost\n{lines}"), 0o644);
}

/// Lets nothing pass to this address, in silence.
fn black_hole(line: &Line, family: &str, address: &str) {
    line.router.sh(&format!(
        "nft add table {family} hole; nft add chain {family} hole f '{{ type filter hook forward priority 0; }}'
         nft add rule {family} hole f {family} daddr {address} drop"
    ));
}

/// Whether the jump host has a session with a client of this family.
fn comes_by(line: &Line, six: bool) -> bool {
    let flag = if six { "-6" } else { "-4" };
    let list = line.jump.sh(&format!("ss {flag} -Htn state established sport = :22"));
    list.contains(if six { "2001:db8:a::2" } else { "10.1.0.2" })
}

#[test]
fn a_name_that_moves_to_another_address_is_followed() {
    let mut line = line_by_name("check-every = \"5s\"\n");
    resolve(&line, &["10.2.0.2"]);
    line.start();
    line.wait_up(PORTS[0]);
    // As a machine in a cloud does that was started anew: the old address is nobody's.
    line.jump.sh("ip address add 10.2.0.3/24 dev b1");
    black_hole(&line, "ip", "10.2.0.2");
    line.kill_sessions();
    line.wait_status("noticed", Duration::from_secs(60), |status| status["up"] == false);
    // The next try has begun, to the old address.
    pause(Duration::from_secs(2));
    resolve(&line, &["10.2.0.3"]);
    // At most a try that is under way, and the pause after it.
    let took = line.wait_answer(&PORTS, Duration::from_secs(25));
    line.wait_status("up", DEADLINE, |status| status["up"] == true);
    assert!(line.jump.sh("ss -Htn state established sport = :22").contains("10.2.0.3:22"));
    println!("back {took:?} after the name had moved");
}

#[test]
fn the_family_that_works_is_taken_at_once() {
    const FOUR: &str = "10.2.0.2";
    const SIX: &str = "2001:db8:b::2";
    let mut line = line_by_name("");
    // gai.conf(5): of two families the first is IPv6 as long as nobody says otherwise.
    const FOUR_FIRST: &str = "precedence ::ffff:0:0/96 100\n";
    // (addresses of the name, which family is tried first, the address that is black-holed, by
    // which family it comes)
    let table: [(&[&str], _, _, _); 6] = [
        (&[FOUR], "", None, false),
        (&[SIX], "", None, true),
        (&[SIX, FOUR], "", None, true),
        (&[SIX, FOUR], FOUR_FIRST, None, false),
        (&[SIX, FOUR], "", Some(("ip6", SIX)), false),
        (&[SIX, FOUR], FOUR_FIRST, Some(("ip", FOUR)), true),
    ];
    for (addresses, order, hole, six) in table {
        resolve(&line, addresses);
        line.inside.write("/etc/gai.conf", order, 0o644);
        if let Some((family, address)) = hole {
            black_hole(&line, family, address);
        }
        let begun = Instant::now();
        line.start();
        line.wait_up(PORTS[0]);
        let took = begun.elapsed();
        println!("{addresses:?} without {hole:?}: {took:?}");
        assert!(comes_by(&line, six), "{addresses:?} without {hole:?}: six is {six}");
        // Long before one address is given up, which takes ten seconds.
        assert!(took < Duration::from_secs(8), "{addresses:?} without {hole:?}: {took:?}");
        line.stop();
        if let Some((family, _)) = hole {
            line.router.sh(&format!("nft delete table {family} hole"));
        }
        assert!(wait_until(DEADLINE, || !line.jump.listens(PORTS[0])));
    }
    // Which of two is better is for the administrator to say.
    line.inside.write("/etc/gai.conf", "", 0o644);
    let config = TUNNEL.replace("@10.2.0.2", "@gate") + "ssh-options = [\"AddressFamily=inet\"]\n";
    line.inside.write_config(&config);
    resolve(&line, &[SIX, FOUR]);
    line.start();
    line.wait_up(PORTS[0]);
    assert!(comes_by(&line, false), "AddressFamily=inet");
}

#[test]
fn a_target_may_have_ipv6_alone() {
    let mut line = Line::new();
    line.inside.sh("sed -i '1i ListenAddress ::1' /etc/ssh/sshd_config");
    line.inside.restart_sshd();
    line.inside.write_config(&format!("{TUNNEL}target = \"[::1]:22\"\n"));
    line.start();
    line.wait_up(PORTS[0]);
    assert!(line.answers(PORTS[0]));
    line.inside.wait_syslog("tunnelwatch", "target-known", 1);
    // And it is known for down when it is.
    line.inside.sh("pkill -KILL -x sshd");
    let _ = line.tunnelwatch(&["retry"]);
    line.wait_status("noticed", DEADLINE, |status| status["cause"] == "target-down");
}
