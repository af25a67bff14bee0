//! The examples for nftables in `etc/`, loaded into machines of their own and tried from outside, over IPv4 and IPv6.

use bastion_tests::host::Host;
use bastion_tests::tunnel::wire;
use bastion_tests::wait::wait_until;

const JUMP: &str = include_str!("../../etc/nftables/jump.nft");
const INTERNAL: &str = include_str!("../../etc/nftables/internal.nft");

const HERE: &str = "10.3.0.2";
const HERE6: &str = "2001:db8:a::2";

/// Listens on ports, at all addresses; who connects is told by one letter.
const LISTEN: &str = "
import socket, sys, threading
def serve(listener):
    while True:
        peer = listener.accept()[0]
        peer.sendall(b'x')
        threading.Thread(target=lambda: peer.sendall(peer.recv(1)), daemon=True).start()
for port in sys.argv[1:]:
    listener = socket.create_server(('::', int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
    threading.Thread(target=serve, args=(listener,)).start()
print('listens', flush=True)
";

/// Connects so often at once, from an address, and prints how many were answered.
const CONNECT: &str = "
import socket, sys, threading
source, target, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
answered = []
def one():
    try:
        with socket.create_connection((target, port), 0.8, (source, 0)) as peer:
            peer.recv(1) and answered.append(1)
    except OSError:
        pass
tries = [threading.Thread(target=one) for _ in range(count)]
[one.start() for one in tries]
[one.join() for one in tries]
print(len(answered))
";

fn listen(host: &Host, ports: &[&str]) -> bastion_tests::process::Daemon {
    let words: Vec<&str> =
        ["python3", "-c", LISTEN].into_iter().chain(ports.iter().copied()).collect();
    let daemon = host.spawn(&words);
    assert!(
        wait_until(bastion_tests::host::DEADLINE, || daemon.output().contains("listens")),
        "{}",
        daemon.output()
    );
    daemon
}

/// How many of `count` tries at once, from `source`, were answered.
fn tries(host: &Host, source: &str, target: &str, port: u16, count: u32) -> u32 {
    let (port, count) = (port.to_string(), count.to_string());
    let output = host.run(&["python3", "-c", CONNECT, source, target, &port, &count]).ok();
    output.text().trim().parse().expect("a number")
}

/// As the guide does it: beside what is there, which stays.
fn load(host: &Host, rules: &str) {
    let own = "flush ruleset\ntable ip nat { chain own { }\n}\ninclude \"/etc/nftables.d/*.nft\"\n";
    host.write("/etc/nftables.conf", own, 0o755);
    host.sh("mkdir -p /etc/nftables.d; nft add table ip other");
    host.write("/etc/nftables.d/bastion.nft", rules, 0o644);
    // Twice: a reload changes nothing.
    host.sh("nft -c -f /etc/nftables.conf
             nft -f /etc/nftables.d/bastion.nft; nft -f /etc/nftables.d/bastion.nft");
    let tables = host.sh("nft list tables");
    assert!(tables.contains("table ip other"), "the table of others is gone: {tables}");
}

/// How many packets each counter has seen, in their order.
fn counters(listed: &str) -> Vec<u64> {
    let words: Vec<&str> = listed.split_whitespace().collect();
    let counts = words.windows(2).filter(|pair| pair[0] == "packets");
    counts.map(|pair| pair[1].parse().expect("a number")).collect()
}

/// A machine, and one outside with addresses of three networks.
fn wired(name: &str) -> (Host, Host) {
    let (host, outside) = (Host::new(), Host::new());
    wire(&host, &format!("{HERE}/24"), &outside, "10.3.0.1/24", name);
    let end = format!("{name}1");
    host.sh(&format!(
        "ip address add {HERE6}/64 dev {name}0 nodad
         ip route add default via 10.3.0.1; ip route add 2001:db8:b::/64 via 2001:db8:a::1"
    ));
    outside.sh(&format!(
        "ip address add 10.3.0.7/24 dev {end}; ip address add 10.9.0.7/32 dev {end}
         for ip in a::1 a::7 b::7; do ip address add 2001:db8:$ip/64 dev {end} nodad; done"
    ));
    (host, outside)
}

#[test]
fn on_the_jump_host_ssh_alone_comes_in_and_each_source_only_so_often() {
    let (host, outside) = wired("f");
    let _listens = listen(&host, &["2022", "22", "2222", "8080"]);
    // Without the rules all of it is open, so that what is closed later is closed by them.
    for (source, target) in [("10.3.0.1", HERE), ("2001:db8:a::1", HERE6)] {
        for port in [2022, 22, 2222, 8080] {
            assert_eq!(tries(&outside, source, target, port, 1), 1, "{target} {port}, open");
        }
    }
    load(&host, JUMP);
    for (source, target) in [("10.3.0.1", HERE), ("2001:db8:a::1", HERE6)] {
        assert_eq!(tries(&outside, source, target, 2022, 1), 1, "{target}, ssh");
        for port in [22, 2222, 8080] {
            assert_eq!(tries(&outside, source, target, port, 1), 0, "{target} {port}");
        }
    }
    // The tunnel's port, on the loopback.
    for (source, target) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        assert_eq!(tries(&host, source, target, 2222, 1), 1, "{target}");
    }
    // What goes out comes back, and over IPv6 the neighbours find each other anew.
    let _outside_listens = listen(&outside, &["443"]);
    host.sh("ip neighbour flush all");
    outside.sh("ip neighbour flush all");
    assert_eq!(tries(&host, HERE, "10.3.0.1", 443, 1), 1, "out");
    assert_eq!(tries(&host, HERE6, "2001:db8:a::1", 443, 1), 1, "out over IPv6");
    // Too often, by source; of IPv6 by network. One has been counted above.
    for (source, target) in [("10.3.0.1", HERE), ("2001:db8:a::1", HERE6)] {
        let answered = tries(&outside, source, target, 2022, 40);
        assert!((18..=22).contains(&answered), "{source}: {answered} of 40");
        assert_eq!(
            tries(&outside, source, target, 2022, 1),
            0,
            "{source} is not let in for a while"
        );
    }
    assert_eq!(tries(&outside, "10.3.0.7", HERE, 2022, 10), 10, "another address");
    assert_eq!(
        tries(&outside, "2001:db8:a::7", HERE6, 2022, 1),
        0,
        "another one of the same network"
    );
    assert_eq!(tries(&outside, "2001:db8:b::7", HERE6, 2022, 10), 10, "another network");
    // As the file says: let in again at once.
    host.sh("nft delete element inet bastion often4 { 10.3.0.1 }");
    assert_eq!(tries(&outside, "10.3.0.1", HERE, 2022, 1), 1, "let in again");
    host.sh("nft delete table inet bastion");
    assert_eq!(tries(&outside, "10.3.0.1", HERE, 8080, 1), 1, "the way back");
}

#[test]
fn a_list_that_is_full_keeps_nobody_out() {
    let (host, outside) = wired("g");
    let _listens = listen(&host, &["2022"]);
    load(&host, &JUMP.replace("size 65535", "size 1"));
    assert_eq!(tries(&outside, "10.3.0.7", HERE, 2022, 1), 1);
    assert_eq!(tries(&outside, "10.3.0.1", HERE, 2022, 5), 5, "there is no room for it");
    let set = host.sh("nft list set inet bastion often4");
    assert!(set.contains("10.3.0.7") && !set.contains("10.3.0.1 "), "{set}");
}

/// Sends so many first packets to port 2022 that bear an address which is not that of who sends them.
const FORGE: &str = "
import socket, struct, sys
source, target, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff
family = socket.AF_INET6 if ':' in source else socket.AF_INET
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
a, b = socket.inet_pton(family, source), socket.inet_pton(family, target)
for port in range(30000, 30000 + count):
    tcp = struct.pack('!HHIIBBHHH', port, 2022, 1, 0, 5 << 4, 2, 64240, 0, 0)
    tcp = tcp[:16] + struct.pack('!H', checksum(a + b + struct.pack('!II', 20, 6) + tcp)) + tcp[18:]
    if family == socket.AF_INET6:
        head = struct.pack('!IHBB', 6 << 28, 20, 6, 64) + a + b
    else:
        head = struct.pack('!BBHHHBBH', 0x45, 0, 40, 0, 0, 64, 6, 0) + a + b
    raw.sendto(head + tcp, (target, 0))
";

#[test]
fn an_address_that_is_always_let_in_cannot_be_used_up_by_who_forges_it() {
    let (host, outside) = wired("a");
    let _listens = listen(&host, &["2022", "22"]);
    // The office is one that the forger is not: here both are the machine outside, by two addresses.
    let office = [("10.3.0.7", HERE), ("2001:db8:b::7", HERE6)];
    let forge = |count: &str| {
        for (source, target) in office {
            outside.run(&["python3", "-c", FORGE, source, target, count]).ok();
        }
    };
    load(&host, JUMP);
    forge("40");
    for (source, target) in office {
        assert_eq!(tries(&outside, source, target, 2022, 1), 0, "{source}, as it is shipped");
    }
    let named = JUMP
        .replace("#elements = { 203.0.113.7,", "elements = { 10.3.0.7,")
        .replace("#elements = { 2001:db8:1::/48 }", "elements = { 2001:db8:b::/64 }");
    load(&host, &named);
    forge("40");
    for (source, target) in office {
        assert_eq!(tries(&outside, source, target, 2022, 1), 1, "{source}, named");
        assert_eq!(tries(&outside, source, target, 22, 1), 0, "{source} comes to ssh alone");
    }
    let answered = tries(&outside, "10.3.0.1", HERE, 2022, 40);
    assert!((18..=22).contains(&answered), "others are counted still: {answered} of 40");
}

#[test]
fn on_the_internal_host_nobody_comes_in_by_the_backup_line_and_the_lan_is_left_alone() {
    let (host, lan) = wired("l");
    let modem = Host::new();
    wire(&host, "10.4.0.2/24", &modem, "10.4.0.1/24", "m");
    host.sh("ip link set m0 down; ip link set m0 name wwan0; ip link set wwan0 up
             ip address add 10.4.0.2/24 dev wwan0 2>/dev/null || true
             ip address add 2001:db8:c::2/64 dev wwan0 nodad");
    modem.sh("ip address add 2001:db8:c::1/64 dev m1 nodad; ip route add 10.3.0.0/24 via 10.4.0.2");
    lan.sh("ip route add 10.4.0.0/24 via 10.3.0.2");
    host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
    let _listens = listen(&host, &["22", "8080"]);
    let _behind = listen(&lan, &["80"]);
    assert_eq!(tries(&modem, "10.4.0.1", "10.4.0.2", 22, 1), 1, "open before");
    assert_eq!(tries(&modem, "10.4.0.1", "10.3.0.1", 80, 1), 1, "open before, behind it");
    load(&host, INTERNAL);
    for port in [22, 8080] {
        assert_eq!(tries(&modem, "10.4.0.1", "10.4.0.2", port, 1), 0, "{port} by the backup line");
        assert_eq!(tries(&modem, "10.4.0.1", HERE, port, 1), 0, "{port}, at the LAN's address");
        assert_eq!(
            tries(&modem, "2001:db8:c::1", "2001:db8:c::2", port, 1),
            0,
            "{port}, over IPv6"
        );
        assert_eq!(tries(&lan, "10.3.0.1", HERE, port, 1), 1, "{port} from the LAN");
        assert_eq!(
            tries(&lan, "2001:db8:a::1", HERE6, port, 1),
            1,
            "{port} from the LAN, over IPv6"
        );
    }
    assert_eq!(tries(&modem, "10.4.0.1", "10.3.0.1", 80, 1), 0, "behind it");
    let counted = || counters(&host.sh("nft list chain inet bastion backup"));
    assert!(counted()[1] > 0, "what was dropped: {:?}", counted());
    let _jump = listen(&modem, &["2022"]);
    host.sh("ip neighbour flush all");
    modem.sh("ip neighbour flush all");
    assert_eq!(tries(&host, "10.4.0.2", "10.4.0.1", 2022, 1), 1, "the tunnel goes out");
    assert_eq!(tries(&host, "2001:db8:c::2", "2001:db8:c::1", 2022, 1), 1, "over IPv6");
    assert_eq!(tries(&lan, "10.3.0.1", "10.4.0.1", 2022, 1), 1, "from the LAN by the backup line");
    assert!(counted()[0] > 0, "what has come by the line: {:?}", counted());
    // As the file says: with a wrong name all is open, and both counters are at 0.
    load(&host, &INTERNAL.replace("\"wwan0\"", "\"wwan1\""));
    assert_eq!(tries(&modem, "10.4.0.1", "10.4.0.2", 22, 1), 1);
    assert_eq!(counted(), [0, 0], "a wrong name is seen");
    // The lines that keep ssh to the LAN, when it is 10.3.0.0/24.
    let to_lan = INTERNAL
        .replace("#iifname", "iifname")
        .replace("192.168.1.0/24", "10.3.0.0/24")
        .replace("2001:db8:1::/64", "2001:db8:a::/64");
    lan.sh("ip address add 10.9.0.7/32 dev l1 2>/dev/null || true");
    host.sh("ip route add 10.9.0.7 via 10.3.0.1 2>/dev/null || true");
    for (source, target) in [("10.9.0.7", HERE), ("2001:db8:b::7", HERE6)] {
        assert_eq!(tries(&lan, source, target, 22, 1), 1, "{source}, before");
    }
    load(&host, &to_lan);
    for (source, target, of_ssh) in [
        ("10.9.0.7", HERE, 0),
        ("2001:db8:b::7", HERE6, 0),
        ("10.3.0.1", HERE, 1),
        ("2001:db8:a::1", HERE6, 1),
    ] {
        assert_eq!(tries(&lan, source, target, 22, 1), of_ssh, "{source}, ssh for the LAN alone");
        assert_eq!(tries(&lan, source, target, 8080, 1), 1, "{source}, another port");
    }
    assert_eq!(tries(&host, "127.0.0.1", "127.0.0.1", 22, 1), 1, "through the tunnel");
}
