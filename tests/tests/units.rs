//! The units in `etc/`: hardened, as systemd itself rates them; skipped where nothing is configured; known to all that
//! installs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bastion_tests::host::artefacts;

/// The worst that `systemd-analyze security` may say of a service, times ten: 9.6 is a bare one, 0.2 one without any
/// network.
const WORST: &str = "16";

/// The same of the one that is root's: it becomes a user, writes into his home, and sees who listens.
const WORST_OF_ROOT: &str = "29";

/// The services that are root's.
const OF_ROOT: [&str; 1] = ["bastion-drill.service"];

const RULES: &str = include_str!("../../packaging/debian/rules");
const INSTALL: &str = include_str!("../../packaging/install");
const POSTINST: &str = include_str!("../../packaging/debian/pam-bastion.postinst");
const POSTRM: &str = include_str!("../../packaging/debian/pam-bastion.postrm");

/// What each service needs in the file, by the longest of these that its name begins with.
const NEEDS: [(&str, &str); 4] = [
    ("tunnelwatch-watch", "[[tunnel-watch]]\n"),
    ("tunnelwatch", "[[tunnel]]\n"),
    ("bastion", "[notify.channel.x]\n"),
    ("linkprobe", "[[link]]\n"),
];

#[test]
fn systemd_rates_each_service_as_hardened() {
    for name in names(".service") {
        let worst = if OF_ROOT.contains(&name.as_str()) { WORST_OF_ROOT } else { WORST };
        let output = analyze(
            &["security", "--offline=true", "--no-pager", "--threshold", worst],
            &etc(&name),
        );
        let said = String::from_utf8_lossy(&output.stdout);
        let verdict =
            said.lines().rev().find(|line| line.contains("exposure level")).unwrap_or_default();
        println!("{verdict}");
        assert!(verdict.contains(&name), "{name} was not rated: {said}{}", errors(&output));
        assert!(output.status.success(), "{verdict}; at most {worst} / 10:\n{said}");
    }
}

#[test]
fn systemd_understands_each_word_of_each_unit() {
    let dir = std::env::temp_dir().join(format!("bastion-units-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let names = [names(".service"), names(".timer")].concat();
    for name in &names {
        // Programs are not installed where the tests run.
        let text = text(name).replace("/usr/bin/", &format!("{}/", dir.display()));
        fs::write(dir.join(name), text).unwrap();
    }
    for program in ["bastion", "tunnelwatch", "linkprobe"] {
        let path = dir.join(program);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for name in &names {
        // Whether there are man pages here is no matter of the unit.
        let output = analyze(&["verify", "--man=no"], &dir.join(name));
        let said = errors(&output);
        // It says a word that it ignores on standard error, and ends well. What it finds in the machine's own units
        // is not ours.
        let ours: Vec<_> =
            said.lines().filter(|line| names.iter().any(|n| line.contains(n))).collect();
        assert!(ours.is_empty() && output.status.success(), "{name}: {said}");
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// What a condition ends with that is not met.
const SKIPS: i32 = 254;

#[test]
fn a_service_without_its_section_is_skipped_and_with_it_starts() {
    let dir = std::env::temp_dir().join(format!("bastion-conditions-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (all_but, alone) = (dir.join("all-but.toml"), dir.join("alone.toml"));
    for name in names(".service") {
        let service = section(&name, "Service");
        let (condition, script) = condition(&name, &service);
        let (program, words) =
            condition.split_once(' ').unwrap_or_else(|| panic!("{name}: {condition}"));
        assert_eq!(one(&name, &service, "ExecStart").split(' ').next(), Some(program));
        // Of the program alone a 1 skips the unit: what systemd's own faults, ours and a missing program end with, does not.
        for (code, skipped) in [(0, false), (1, true), (64, false), (101, false), (127, false)] {
            let script = script.replace(&condition, &format!("(exit {code})"));
            let output = Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
            let want = if skipped { SKIPS } else { 0 };
            assert_eq!(output.status.code(), Some(want), "{name}: {script}");
        }
        // To systemd a success of the unit is one of its condition as well.
        let successes = service.get("SuccessExitStatus").into_iter().flatten();
        let is_one =
            successes.flat_map(|codes| codes.split(' ')).any(|code| code == SKIPS.to_string());
        assert!(!is_one, "{name}");
        let program =
            program.strip_prefix("/usr/bin/").unwrap_or_else(|| panic!("{name}: {condition}"));
        let (own, need) = *NEEDS.iter().find(|(own, _)| name.starts_with(own)).expect("its need");
        let others = NEEDS.iter().filter(|(other, _)| *other != own).map(|(_, need)| *need);
        fs::write(&all_but, others.collect::<String>()).unwrap();
        fs::write(&alone, need).unwrap();
        for (config, want) in [
            (&etc("bastion.toml"), Some(1)),
            (&etc("../packaging/bastion.toml"), Some(1)),
            (&all_but, Some(1)),
            (&alone, Some(0)),
        ] {
            let output = Command::new(artefacts().join(program))
                .arg("--config")
                .arg(config)
                .args(words.split(' '))
                .output()
                .unwrap_or_else(|error| panic!("{program}: {error}"));
            let said = errors(&output);
            assert_eq!(output.status.code(), want, "{name} with {}: {said}", config.display());
            // Why it is skipped, in the journal.
            assert_eq!(said.lines().count(), usize::from(want == Some(1)), "{name}: {said}");
        }
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// What a service asks before its start, and the script that asks: outside the sandbox, since systemd skips a unit also when
/// it cannot make that for the question, and never tries again.
fn condition(name: &str, service: &BTreeMap<String, Vec<String>>) -> (String, String) {
    let line = one(name, service, "ExecCondition");
    let script = line.strip_prefix("+/bin/sh -c \"").and_then(|rest| rest.strip_suffix('"'));
    let script = script.unwrap_or_else(|| panic!("{name}: {line}")).replace("$$", "$");
    let (asked, _) = script.split_once(';').unwrap_or_else(|| panic!("{name}: {line}"));
    (asked.to_owned(), script.clone())
}

#[test]
fn nothing_that_is_away_for_a_while_keeps_a_service_from_its_start() {
    for name in names(".service") {
        for path in section(&name, "Service").get("ReadWritePaths").into_iter().flatten() {
            for path in path.split(' ') {
                assert!(path.starts_with('-'), "{name}: without {path} there is no sandbox");
            }
        }
    }
}

#[test]
fn the_short_configuration_has_keys_that_are_known() {
    let text = fs::read_to_string(etc("../packaging/bastion.toml")).unwrap();
    let config = std::env::temp_dir().join(format!("bastion-short-{}.toml", std::process::id()));
    // A text begins with "# ", an example with what it is.
    let used = text.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if example.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            example
        }
        _ => line,
    });
    let used: String = used.flat_map(|line| [line, "\n"]).collect();
    assert!(used.contains("\nknown-good = ") && used.contains("\n[notify.channel.sms]\n"));
    let said = |text: &str| {
        fs::write(&config, text).unwrap();
        let mut command = Command::new(artefacts().join("bastion"));
        let output = command.arg("--config").arg(&config).arg("check").output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(&output));
        // There is no token where the tests run.
        let of_file = |line: &&str| {
            line.contains(&format!("{}: line ", config.display()))
                && !line.contains("/etc/bastion/secrets/twilio-token: ")
        };
        said.lines().filter(of_file).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(said(&text), [""; 0]);
    assert_eq!(said(&used), [""; 0]);
    assert!(!said(&format!("{used}nosuch = 1\n")).is_empty());
    fs::remove_file(&config).unwrap();
}

#[test]
fn a_service_has_a_user_of_its_own_and_never_gives_up() {
    for name in names(".service") {
        let (unit, service) = (section(&name, "Unit"), section(&name, "Service"));
        let users = fs::read_to_string(etc("sysusers.d/bastion.conf")).unwrap();
        match OF_ROOT.contains(&name.as_str()) {
            true => {
                assert!(!service.contains_key("User"), "{name}");
                // By hand it is in the same directory, and may be so when the unit ends.
                assert_eq!(one(&name, &service, "RuntimeDirectoryPreserve"), "yes", "{name}");
            }
            false => {
                let user = one(&name, &service, "User");
                assert!(users.contains(&format!("\nu {user} ")), "{name}: {user} is nobody");
            }
        }
        let again = service.get("Restart").map(|values| values.concat());
        match one(&name, &service, "Type").as_str() {
            // A timer starts it again.
            "oneshot" => assert_eq!(again, None, "{name}"),
            _ => {
                assert_eq!(again.as_deref(), Some("always"), "{name}");
                assert_eq!(one(&name, &unit, "StartLimitIntervalSec"), "0", "{name}");
            }
        }
    }
    let sender = section("bastion.service", "Service");
    assert_eq!(one("bastion.service", &sender, "LoadCredential"), "secrets:/etc/bastion/secrets");
    let keeper = section("tunnelwatch.service", "Service");
    let secrets = one("tunnelwatch.service", &keeper, "LoadCredential");
    assert_eq!(secrets, "secrets:/etc/bastion/tunnel-secrets", "not the sender's");
}

#[test]
fn each_unit_is_started_by_something() {
    let services: BTreeSet<String> = names(".service").into_iter().collect();
    let mut timed = BTreeSet::new();
    for name in names(".timer") {
        let timer = section(&name, "Timer");
        let service = timer
            .get("Unit")
            .map_or_else(|| name.replace(".timer", ".service"), |unit| unit.concat());
        assert!(services.contains(&service), "{name} is of {service}, which is not there");
        assert!(section(&name, "Install").contains_key("WantedBy"), "{name}");
        timed.insert(service);
    }
    for name in &services {
        let wanted = section(name, "Install").contains_key("WantedBy");
        assert_ne!(wanted, timed.contains(name), "{name}: wanted at boot, or by a timer");
    }
}

#[test]
fn whatever_installs_units_knows_all_of_them() {
    let calls =
        RULES.lines().filter_map(|line| line.trim().strip_prefix("dh_installsystemd --name="));
    let calls: Vec<Vec<&str>> = calls.map(|call| call.split_whitespace().collect()).collect();
    for name in [names(".service"), names(".timer")].concat() {
        assert!(words(INSTALL).contains(name.as_str()), "packaging/install does not know {name}");
        assert!(words(POSTINST).contains(name.as_str()), "postinst does not know {name}");
        let forgotten = words(POSTRM).contains(name.as_str());
        assert!(forgotten || name.ends_with(".timer"), "postrm leaves {name} as failed");
        let stem = name.split('.').next().unwrap();
        assert!(
            calls.iter().any(|call| call.first() == Some(&stem)),
            "rules do not install {name}"
        );
        let call = calls.iter().find(|call| call.last() == Some(&name.as_str()));
        let wanted = section(&name, "Install").contains_key("WantedBy");
        assert_eq!(call.is_some(), wanted, "enabled by the package: {name}");
        // The tunnel may be the way in of who upgrades.
        let left = call.is_some_and(|call| call.contains(&"--no-start"));
        assert_eq!(left, name == "tunnelwatch.service", "left alone by the package: {name}");
    }
}

fn etc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc").join(name)
}

/// The units of a kind, all of them.
fn names(ending: &str) -> Vec<String> {
    let files = fs::read_dir(etc("")).expect("etc/");
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    assert!(names.len() > 1, "{names:?}");
    names
}

fn text(name: &str) -> String {
    fs::read_to_string(etc(name)).unwrap_or_else(|error| panic!("etc/{name}: {error}"))
}

/// One section of a unit: each key with its values.
fn section(name: &str, wanted: &str) -> BTreeMap<String, Vec<String>> {
    let (mut keys, mut within) = (BTreeMap::<String, Vec<String>>::new(), false);
    for line in text(name).lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            within = line == format!("[{wanted}]");
        } else if let Some((key, value)) = line.split_once('=').filter(|_| within) {
            keys.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    keys
}

/// The value of a key that has to be there, once.
fn one(name: &str, keys: &BTreeMap<String, Vec<String>>, key: &str) -> String {
    match keys.get(key).map(Vec::as_slice) {
        Some([value]) => value.clone(),
        other => panic!("{name}: {key} is {other:?}"),
    }
}

fn words(script: &str) -> BTreeSet<&str> {
    script.split(|c: char| c.is_whitespace() || "\";".contains(c)).collect()
}

fn analyze(words: &[&str], file: &Path) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(words).arg(file).env("SYSTEMD_COLORS", "0");
    command.output().unwrap_or_else(|error| {
        panic!("systemd-analyze: {error}; it is in Debian's package systemd")
    })
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
