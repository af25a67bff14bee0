use super::*;

/// A root directory of a test's own.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("resolvers-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let root = Self(dir);
        root.write("sys/class/net/wwan0/ifindex", b"3\n");
        root
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn found(&self) -> Option<(String, String)> {
        let found = of_interface(&self.0, "wwan0")?;
        let servers: Vec<String> = found.servers.iter().map(ToString::to_string).collect();
        let from = found.from.strip_prefix(&format!("{}/", self.0.display())).unwrap().to_owned();
        Some((from, servers.join(" ")))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn each_program_s_place_is_known_and_the_one_in_force_comes_first() {
    let mut packet = vec![0; 236];
    packet.extend([99, 130, 83, 99, 6, 4, 192, 0, 2, 6]);
    let lease: &[u8] =
        b"lease {\n  interface \"wwan0\";\n  option domain-name-servers 192.0.2.5;\n}\n";
    // From the last to the first.
    let table: [(&str, &[u8], &str); 7] = [
        ("var/lib/dhcpcd/wwan0-Home.lease", &packet, "192.0.2.6:53"),
        ("var/lib/NetworkManager/dhclient-0e1-wwan0.lease", lease, "192.0.2.5:53"),
        ("var/lib/dhcp/dhclient.wwan0.leases", lease, "192.0.2.5:53"),
        ("run/resolvconf/interfaces/wwan0.dhcp", b"nameserver 192.0.2.3\n", "192.0.2.3:53"),
        ("run/resolvconf/interface/wwan0.inet", b"nameserver 192.0.2.4\n", "192.0.2.4:53"),
        ("run/systemd/netif/leases/3", b"DNS=192.0.2.2\n", "192.0.2.2:53"),
        (
            "run/systemd/netif/links/3",
            b"DNS=127.0.0.53 192.0.2.1 192.0.2.1 fe80::1\n",
            "192.0.2.1:53 [fe80::1%3]:53",
        ),
    ];
    let root = Root::new("places");
    for (other, content) in [
        ("run/systemd/netif/links/4", &b"DNS=192.0.2.99\n"[..]),
        ("run/resolvconf/interface/wwan01.inet", b"nameserver 192.0.2.99\n"),
        ("var/lib/dhcp/dhclient.eth0.leases", lease),
        ("var/lib/dhcpcd/wwan01.lease", &packet),
        ("etc/ppp/resolv.conf", b"nameserver 192.0.2.99\n"),
    ] {
        root.write(other, content);
        assert_eq!(root.found(), None, "{other}");
    }
    for (path, content, want) in table {
        root.write(path, content);
        assert_eq!(root.found(), Some((path.to_owned(), want.to_owned())));
    }
    root.write("run/systemd/netif/links/3", b"DNS=127.0.0.53\n");
    assert_eq!(root.found().unwrap().0, "run/systemd/netif/leases/3", "a stub is no server");
}

#[test]
fn the_machine_s_own_come_without_stubs() {
    let root = Root::new("machine");
    assert_eq!(of_machine(&root.0), None);
    root.write("run/systemd/resolve/resolv.conf", b"nameserver 192.0.2.7\nnameserver fe80::1%2\n");
    root.write("etc/resolv.conf", b"nameserver 127.0.0.53\nnameserver ::1\n");
    let found = of_machine(&root.0).unwrap();
    assert_eq!(found.servers, ["192.0.2.7:53".parse().unwrap()]);
    assert!(found.from.ends_with("/resolv.conf, which is for the whole machine"), "{found:?}");
}

#[test]
fn where_nobody_knows_any_public_ones_are_asked() {
    let found = public(&Line { interface: Some("nosuch0".into()), source: None }, "none");
    assert_eq!(found.servers, ["1.1.1.1:53".parse().unwrap(), "9.9.9.9:53".parse().unwrap()]);
}
