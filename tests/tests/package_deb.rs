//! The Debian package as a file: its size, what is in it, and where. What it does when it is installed is for a machine
//! that boots to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most that the package may weigh, in bytes.
const MAX_PACKAGE: u64 = 3_000_000;

/// Most that it may take installed, in KB, as dpkg counts.
const MAX_INSTALLED: u64 = 8_000;

/// What an administrator or systemd looks for, and its mode; `MULTIARCH` is the architecture's directory.
const FILES: [(&str, &str); 21] = [
    ("usr/share/pam-bastion/bastion.toml", "-rw-r--r--"),
    ("usr/bin/bastion", "-rwxr-xr-x"),
    ("usr/bin/linkprobe", "lrwxrwxrwx"),
    ("usr/bin/tunnelwatch", "-rwxr-xr-x"),
    ("usr/lib/pam-bastion/tunnelwatch-cloud", "lrwxrwxrwx"),
    ("usr/lib/MULTIARCH/security/pam_bastion.so", "-rw-r--r--"),
    ("usr/lib/sysusers.d/bastion.conf", "-rw-r--r--"),
    ("usr/lib/tmpfiles.d/bastion.conf", "-rw-r--r--"),
    ("lib/systemd/system/bastion.service", "-rw-r--r--"),
    ("lib/systemd/system/bastion-drill.service", "-rw-r--r--"),
    ("lib/systemd/system/bastion-drill.timer", "-rw-r--r--"),
    ("lib/systemd/system/linkprobe.service", "-rw-r--r--"),
    ("lib/systemd/system/linkprobe.timer", "-rw-r--r--"),
    ("lib/systemd/system/linkprobe-measure.service", "-rw-r--r--"),
    ("lib/systemd/system/linkprobe-measure.timer", "-rw-r--r--"),
    ("lib/systemd/system/linkprobe-watch.service", "-rw-r--r--"),
    ("lib/systemd/system/tunnelwatch.service", "-rw-r--r--"),
    ("lib/systemd/system/tunnelwatch-watch.service", "-rw-r--r--"),
    ("usr/share/doc/pam-bastion/README.md", "-rw-r--r--"),
    ("usr/share/doc/pam-bastion/copyright", "-rw-r--r--"),
    ("usr/share/doc/pam-bastion/crates.gz", "-rw-r--r--"),
];

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn it_is_small_as_a_file_and_installed() {
    let deb = deb();
    let size = fs::metadata(&deb).expect("it was just there").len();
    let installed: u64 = field(&deb, "Installed-Size").parse().expect("a number");
    println!("{}: {size} bytes, {installed} KB installed", deb.display());
    assert!(size <= MAX_PACKAGE, "{size} bytes, more than {MAX_PACKAGE}");
    assert!(installed <= MAX_INSTALLED, "{installed} KB installed, more than {MAX_INSTALLED}");
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn each_file_is_where_it_is_looked_for() {
    let (deb, multiarch) = (deb(), multiarch());
    let listed = files(&deb);
    for (name, mode) in FILES {
        let name = name.replace("MULTIARCH", &multiarch);
        // Debian 13's debhelper has units in usr/.
        let found = listed.get(&name).or_else(|| listed.get(&format!("usr/{name}")));
        assert_eq!(found.map(String::as_str), Some(mode), "{name} in {listed:#?}");
    }
    let ours: BTreeSet<String> =
        FILES.iter().map(|(name, _)| name.replace("MULTIARCH", &multiarch)).collect();
    for (name, mode) in listed.iter().filter(|(_, mode)| !mode.starts_with('d')) {
        assert!(
            !name.starts_with("etc/") || ours.contains(name),
            "of another's, or a secret: {name}"
        );
        assert!(!mode.contains('s') && mode != "-rw-rw-rw-", "{mode} {name}");
    }
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn what_is_to_be_copied_is_there_as_in_the_sources() {
    let listed = files(&deb());
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
    let mut missing = Vec::new();
    for entry in fs::read_dir(&etc).expect("etc/") {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // These are in their places.
        let placed = ["sysusers.d", "tmpfiles.d"].contains(&name.as_str())
            || name.ends_with(".service")
            || name.ends_with(".timer");
        let path = format!("usr/share/doc/pam-bastion/examples/{name}");
        // What stands there beside the others.
        let there = name == "examples" || listed.contains_key(&path);
        if !placed && !there {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "not among the examples: {missing:?}");
    for role in ["jump", "internal"] {
        assert!(listed.contains_key(&format!("usr/share/doc/pam-bastion/examples/{role}.toml")));
    }
    assert!(!listed.contains_key("usr/share/doc/pam-bastion/examples/bastion.service"));
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn no_file_is_asked_about_and_none_is_of_pam() {
    // Of a conffile dpkg asks when there is one already, and an upgrade without anybody who answers ends there.
    assert_eq!(control(&deb(), "conffiles"), "");
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let text = control(&deb(), script);
        assert!(!text.contains("pam-auth-update"), "{script}");
        for line in text.lines().map(str::trim_start).filter(|line| line.contains("/pam.d")) {
            // What reads, says, or takes away what a killed bastion enable has left.
            let harmless = line.starts_with('#')
                || line.starts_with("for file in /etc/pam.d/*; do")
                || line.starts_with("/etc/pam.d/sshd) echo ")
                || line.ends_with(" /etc/bastion/pam.d-sshd.orig /etc/pam.d/.sshd.bastion-new");
            assert!(harmless && !line.contains("/pam.d/sshd "), "{script}: {line}");
        }
    }
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn the_tunnel_outlives_an_upgrade() {
    // It may be the way in of who upgrades: no script starts, restarts or stops it but at removal.
    let deb = deb();
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let text = control(&deb, script);
        let named = text.lines().filter(|line| {
            let of_it = line
                .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '.'))
                .any(|word| word == "tunnelwatch.service");
            let acts = line.contains("deb-systemd-invoke") || line.contains("systemctl ");
            of_it && acts && !line.contains("systemctl reset-failed")
        });
        let named: Vec<&str> =
            named.map(str::trim).filter(|line| !line.contains("--property MainPID")).collect();
        match script {
            "prerm" => assert!(named.iter().all(|line| line.contains("invoke stop")), "{named:?}"),
            _ => assert_eq!(named, [""; 0], "{script}"),
        }
        assert_eq!(script == "prerm", !named.is_empty(), "{script}: {named:?}");
    }
    let postinst = control(&deb, "postinst");
    assert!(postinst.contains("deb-systemd-helper enable 'tunnelwatch.service'"), "{postinst}");
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn it_asks_for_what_it_links_and_has_libpam_from_the_system() {
    let deb = deb();
    let depends = field(&deb, "Depends");
    for library in ["libc6 (>= 2.36)", "libgcc-s1 ", "libpam0g "] {
        assert!(depends.contains(library), "{library} in {depends}");
    }
    let dir = std::env::temp_dir().join(format!("bastion-deb-{}", std::process::id()));
    run(Command::new("dpkg-deb").arg("--extract").args([&deb, &dir]));
    let module = dir.join("usr/lib").join(multiarch()).join("security/pam_bastion.so");
    let needed = run(Command::new("readelf").args(["-d", "-W"]).arg(&module));
    fs::remove_dir_all(&dir).unwrap();
    assert!(needed.contains("[libpam.so.0]"), "a libpam of its own is linked into it: {needed}");
}

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn all_names_of_the_one_program_are_there() {
    let dir = std::env::temp_dir().join(format!("bastion-deb-names-{}", std::process::id()));
    run(Command::new("dpkg-deb").arg("--extract").args([&deb(), &dir]));
    let version = env!("CARGO_PKG_VERSION");
    let cloud = "usr/lib/pam-bastion/tunnelwatch-cloud";
    for path in ["usr/bin/bastion", "usr/bin/linkprobe", "usr/bin/tunnelwatch", cloud] {
        let said = run(Command::new(dir.join(path)).arg("--version"));
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(said, format!("{name} {version}\n"));
    }
    // With mail, which a build of linkprobe by itself has not.
    let config = dir.join("mail.toml");
    fs::write(&config, "[notify.channel.mail]\ntype = \"smtp\"\n").unwrap();
    let output = Command::new(dir.join("usr/bin/bastion"))
        .arg("--config")
        .arg(&config)
        .arg("check")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    fs::remove_dir_all(&dir).unwrap();
    assert!(said.contains("notify.channel.mail.host: is missing"), "{said}");
}

/// The package, the one of the lower version.
fn deb() -> PathBuf {
    let dir = std::env::var_os("BASTION_DEBS").expect("BASTION_DEBS: run ./dev test --package");
    let arch = run(Command::new("dpkg").arg("--print-architecture"));
    let version = env!("CARGO_PKG_VERSION");
    let path = Path::new(&dir).join(format!("pam-bastion_{version}_{}.deb", arch.trim()));
    assert!(path.exists(), "there is no {}: run ./dev test --package", path.display());
    path
}

fn multiarch() -> String {
    run(Command::new("dpkg-architecture").args(["-q", "DEB_HOST_MULTIARCH"])).trim().to_owned()
}

fn field(deb: &Path, name: &str) -> String {
    run(Command::new("dpkg-deb").arg("--field").arg(deb).arg(name)).trim().to_owned()
}

/// A file of the package's own, as a script; empty when it has none.
fn control(deb: &Path, name: &str) -> String {
    let output = Command::new("dpkg-deb").arg("--info").arg(deb).arg(name).output();
    String::from_utf8_lossy(&output.expect("dpkg-deb").stdout).into_owned()
}

/// All files, each with its mode.
fn files(deb: &Path) -> BTreeMap<String, String> {
    let listing = run(Command::new("dpkg-deb").arg("--contents").arg(deb));
    let file = |line: &str| {
        let (mode, rest) = line.split_once(' ')?;
        let name = rest.split_once(" ./")?.1;
        let name = name.split(" -> ").next()?.trim_end_matches('/');
        Some((name.to_owned(), mode.to_owned()))
    };
    let files: BTreeMap<String, String> = listing.lines().filter_map(file).collect();
    assert!(files.len() > FILES.len(), "{listing}");
    files
}

/// Standard output of a command that has to succeed.
fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}
