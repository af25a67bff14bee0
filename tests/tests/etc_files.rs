//! Each file under `etc/` is judged by the program that it is for. One that no judge is named for fails.

use std::fs;
use std::path::{Path, PathBuf};

use bastion_tests::host::{CONFIG, Host, require};
use bastion_tests::process::Output;

/// Where `etc/` is.
fn etc() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc")
}

fn read(file: &str) -> String {
    fs::read_to_string(etc().join(file)).unwrap_or_else(|error| panic!("etc/{file}: {error}"))
}

/// Who judges a file. Each judge finds nothing in it, and something in it with one thing spoilt.
type Judge = fn(&str);

/// Files by their beginning and their end; the first that fits counts.
const JUDGES: &[(&str, &str, Judge)] = &[
    ("nftables/", ".nft", by_nft),
    ("ssh/sshd_config.d/internal-9.8.conf", "", |file| by_another_test(file, "sshd_penalties.rs")),
    ("ssh/sshd_config.d/", ".conf", by_sshd),
    ("ssh/authorized_keys.tunnel", "", by_ssh_keygen),
    ("rsyslog.d/", ".conf", by_rsyslogd),
    ("log-server/rsyslog.d/", ".conf", by_rsyslogd),
    ("apt/apt.conf.d/", "", by_apt),
    ("examples/", ".toml", by_our_programs),
    ("examples/", "-policy.json", |file| by_another_test(file, "cloud_moto.rs")),
    ("examples/jump-exec.sh", "", by_a_cloud),
    ("bastion.toml", "", by_our_programs),
    ("pam.d/sshd.line", "", by_enable),
    ("polkit-1/", ".rules", |file| by_another_test(file, "tunnel_external.rs")),
    ("systemd/", ".conf", |file| by_another_test(file, "log_journal.rs")),
    ("log-server/systemd/", ".conf", |file| by_another_test(file, "log_journal.rs")),
    // What the package installs itself is judged with the package.
    ("", ".service", |_| ()),
    ("", ".timer", |_| ()),
    ("sysusers.d/", ".conf", |_| ()),
    ("tmpfiles.d/", ".conf", |_| ()),
];

#[test]
fn every_file_has_its_judge_and_is_found_good() {
    let mut files = Vec::new();
    walk(&etc(), &mut files);
    assert!(files.len() > 15, "{files:?}");
    for file in &files {
        let judge =
            JUDGES.iter().find(|(begin, end, _)| file.starts_with(begin) && file.ends_with(end));
        let (_, _, judge) =
            judge.unwrap_or_else(|| panic!("etc/{file}: no test judges it; name one in JUDGES"));
        // JSON has no comments, and that has names for its parts.
        assert!(
            file.ends_with(".json") || read(file).trim_start().starts_with(['#', '/', '[']),
            "etc/{file} does not say what it is for"
        );
        judge(file);
    }
}

fn walk(dir: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            let path = path.strip_prefix(etc()).expect("below etc");
            files.push(path.to_string_lossy().into_owned());
        }
    }
    files.sort();
}

/// `program` finds nothing in `good`, and something in `bad`; `FILE` among its words is where they are.
fn judged(host: &Host, file: &str, words: &[&str], good: &str, bad: &str) -> Output {
    const AT: &str = "/root/judged";
    assert_ne!(good, bad, "etc/{file}: nothing was spoilt");
    let words: Vec<&str> =
        words.iter().map(|word| if *word == "FILE" { AT } else { *word }).collect();
    host.write(AT, bad, 0o600);
    let output = host.run(&words);
    assert!(output.code != Some(0), "etc/{file}: {words:?} sees no fault: {output:?}");
    host.write(AT, good, 0o600);
    host.run(&words).ok()
}

fn by_nft(file: &str) {
    let text = read(file);
    let bad = text.replacen("ct state", "ct stat", 1);
    judged(&Host::new(), file, &["nft", "-c", "-f", "FILE"], &text, &bad);
}

fn by_sshd(file: &str) {
    let host = Host::new();
    let text = read(file);
    let key = "\nHostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM yes\n";
    // A Match block goes to the end of its file, and the key is none of it.
    let whole = |text: &str| format!("{key}{text}");
    let bad = text.replacen("ClientAliveInterval", "ClientAliveIntervall", 1);
    let words = ["/usr/sbin/sshd", "-T", "-C", "user=alice,host=x,addr=198.51.100.7", "-f", "FILE"];
    let said = judged(&host, file, &words, &whole(&text), &whole(&bad));
    // A keyword that this version only puts up with is told on standard error.
    assert!(!said.errors().contains("nsupported"), "etc/{file}: {said:?}");
    let settings = said.text();
    let has = |setting: &str| settings.lines().any(|line| line == setting);
    let of_role: &[&str] = match Path::new(file).file_stem().and_then(|stem| stem.to_str()) {
        Some("jump") => &["port 2022", "clientaliveinterval 15", "allowtcpforwarding local"],
        Some("internal") => &["port 22", "clientaliveinterval 30", "allowtcpforwarding local"],
        // Of one user, who is not alice: tunnel_commands.rs.
        Some("tunnel") => return,
        other => panic!("etc/{file}: what ought {other:?} to say?"),
    };
    let common = [
        "usepam yes",
        "permitrootlogin no",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "allowagentforwarding no",
        "x11forwarding no",
        "gatewayports no",
    ];
    for setting in of_role.iter().chain(&common) {
        assert!(has(setting), "etc/{file}: {setting} is not in {settings}");
    }
}

fn by_ssh_keygen(file: &str) {
    let text = read(file);
    let bad = text.replace("AAAAC3NzaC1lZDI1NTE5", "AAAAC3NzaC1lZDI1NTE");
    judged(&Host::new(), file, &["ssh-keygen", "-l", "-f", "FILE"], &text, &bad);
}

fn by_rsyslogd(file: &str) {
    let relp = fs::read_dir("/usr/lib")
        .is_ok_and(|dirs| dirs.flatten().any(|dir| dir.path().join("rsyslog/omrelp.so").exists()));
    if !relp || !Path::new("/usr/sbin/rsyslogd").exists() {
        assert!(std::env::var_os("CI").is_none(), "rsyslog or rsyslog-relp is missing");
        eprintln!("skipped, as rsyslog is not installed: etc/{file}");
        return;
    }
    let host = Host::new();
    host.sh("mkdir -p /var/spool/rsyslog");
    let text = read(file);
    let bad = text.replacen("action(", "acton(", 1);
    judged(&host, file, &["/usr/sbin/rsyslogd", "-N1", "-f", "FILE"], &text, &bad);
}

fn by_apt(file: &str) {
    let host = Host::new();
    let text = read(file);
    let bad = text.replacen('"', "", 1);
    let words = ["env", "APT_CONFIG=/root/judged", "apt-config", "dump"];
    let settings = judged(&host, file, &words, &text, &bad).text();
    for setting in [
        "APT::Periodic::Unattended-Upgrade \"1\";",
        "APT::Periodic::Update-Package-Lists \"1\";",
        "Unattended-Upgrade::Automatic-Reboot \"true\";",
        "Unattended-Upgrade::Automatic-Reboot-Time \"04:00\";",
        "Unattended-Upgrade::Automatic-Reboot-WithUsers \"true\";",
    ] {
        assert!(settings.contains(setting), "etc/{file}: {setting} is not in {settings}");
    }
    // The other host's time, when its // is taken away.
    host.write("/root/judged", text.replace("//Unattended", "Unattended"), 0o600);
    let settings = host.run(&words).ok().text();
    assert!(settings.contains("Automatic-Reboot-Time \"05:30\""), "{settings}");
}

fn by_our_programs(file: &str) {
    require("bastion");
    let host = Host::new();
    host.sh("ip link add eth0 type veth peer name e; ip link add wwan0 type veth peer name w
             ip address add 192.168.1.2/24 dev eth0; ip address add 10.7.0.2/24 dev wwan0
             for end in eth0 e wwan0 w; do ip link set $end up; done
             ip route add default via 192.168.1.1 dev eth0
             ip route add default via 10.7.0.1 dev wwan0 metric 700
             echo 'nameserver 192.168.1.1' >/etc/resolv.conf
             cd /etc/bastion/secrets
             umask 077; echo https://hc.example.org/x >healthchecks-url
             echo secret >twilio-token; echo secret >smtp-password
             install -d -o _linkprobe -g _linkprobe /var/lib/linkprobe");
    let text = read(file);
    // What each of them says of the file, apart from how the machine is.
    let of_the_file = |text: &str| {
        host.write_config(text);
        let mut found = Vec::new();
        for words in [["bastion", "check"], ["tunnelwatch", "check"], ["linkprobe", "check-config"]]
        {
            let output = host.run(&[&format!("/artefacts/{}", words[0]), words[1]]);
            let of_file = |line: &&str| {
                line.contains(&format!("{CONFIG}: line "))
                    || line.contains(" line ") && line.contains("key")
            };
            // The doctor says it on standard output, the others on standard error.
            let said = output.text() + &output.errors();
            found.extend(said.lines().filter(of_file).map(str::to_owned));
        }
        found
    };
    assert_eq!(of_the_file(&text), [""; 0], "etc/{file}");
    assert!(
        !of_the_file(&format!("{text}\nnosuch = 1\n")).is_empty(),
        "etc/{file}: no fault is seen"
    );
    if file == "bastion.toml" {
        return;
    }
    // It does something: alerts get out by two ways, and what the role has is understood by its program.
    host.write_config(&text);
    let channels = || host.run(&["/artefacts/bastion", "check"]).text();
    let without = "[no-channel]";
    assert!(!channels().contains(without), "{}", channels());
    host.write_config("[host]\nname = \"x\"\n");
    assert!(channels().contains(without), "etc/{file}: is it looked at? {}", channels());
    host.write_config(&text);
    if file == "examples/jump.toml" {
        // With the drop-ins that it names nothing is wrong on the jump host.
        let [jump, tunnel] =
            ["jump", "tunnel"].map(|name| read(&format!("ssh/sshd_config.d/{name}.conf")));
        let key = "HostKey /etc/ssh/ssh_host_ed25519_key";
        host.write("/etc/ssh/sshd_config", format!("{key}\n{jump}\n{tunnel}"), 0o644);
        host.run(&["/artefacts/tunnelwatch", "check"]).ok();
        host.sh("sed -i 's/ClientAliveInterval 15/ClientAliveInterval 0/' /etc/ssh/sshd_config");
        let said = host.run(&["/artefacts/tunnelwatch", "check"]).errors();
        assert!(said.contains("sshd never asks whether"), "etc/{file}: is it looked at? {said}");
    } else {
        let said = host.run(&["/artefacts/linkprobe", "check-config"]).ok().text();
        assert!(
            said.contains("link main: by eth0") && said.contains("link backup: by wwan0"),
            "etc/{file}: {said}"
        );
        let said = host.run(&["/artefacts/tunnelwatch", "check"]).errors();
        assert!(said.contains("tunnel home: "), "etc/{file}: is it looked at? {said}");
    }
}

/// As `bastion disable` understands it: the line, and nothing beside it.
fn by_enable(file: &str) {
    let host = Host::new();
    let text = read(file);
    let shown = |text: &str| {
        host.write("/etc/pam.d/sshd", format!("{text}session required pam_permit.so\n"), 0o644);
        host.run(&["/artefacts/bastion", "disable", "--dry-run"])
    };
    let spoilt = shown(&text.replace("-session", "-sesion"));
    assert!(spoilt.code != Some(0), "etc/{file}: {spoilt:?}");
    let said = shown(&text).ok().text();
    let gone: Vec<&str> = said.lines().skip(3).collect();
    assert_eq!(gone, ["--session optional pam_bastion.so"], "etc/{file}: {said}");
}

/// The file is part of another test, which runs the real program with it.
/// A cloud is a curl that says what it is told to.
fn by_a_cloud(file: &str) {
    let dir = std::env::temp_dir().join(format!("jump-exec-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory");
    let curl = dir.join("curl");
    let says = "#!/bin/sh\ngrep -q 'Bearer token' || exit 2\nprintf '%s' \"$SAYS\"\n";
    fs::write(&curl, says).expect("a program");
    fs::set_permissions(&curl, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a mode");
    fs::write(dir.join("secrets_my-cloud"), "token\n").expect("a secret");
    let ask = |word: &str, says: &str| {
        let path = format!("{}:/usr/bin:/bin", dir.display());
        let mut command = std::process::Command::new("/bin/sh");
        command.arg(etc().join(file)).arg(word).env_clear().env("PATH", path);
        let output = command.env("CREDENTIALS_DIRECTORY", &dir).env("SAYS", says).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let runs = "{\"status\": \"running\",\n \"ipv4\": \"198.51.100.7\"}\n200";
    let on = "{\"state\":\"on\",\"address\":\"198.51.100.7\"}\n";
    for (word, says, code, want) in [
        ("start", runs, 0, on),
        ("describe", runs, 0, on),
        ("stop", "{\"status\":\"stopping\"}\n202", 0, "{\"state\":\"stopping\"}\n"),
        ("describe", "\n404", 0, "{\"state\":\"gone\"}\n"),
        ("start", "\n429", 75, "{\"retry-after-s\":60}\n"),
        ("start", "\n503", 69, ""),
        ("start", "\n403", 77, ""),
        ("describe", "{\"status\":\"melted\"}\n200", 78, ""),
        ("reboot", runs, 78, ""),
    ] {
        assert_eq!(ask(word, says), (code, want.to_owned()), "{word} {says}");
    }
    fs::remove_dir_all(&dir).expect("it is removed");
}

fn by_another_test(file: &str, test: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(test);
    let source =
        fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    assert!(source.contains(&format!("etc/{file}\"")), "etc/{file}: {test} has it no more");
}
