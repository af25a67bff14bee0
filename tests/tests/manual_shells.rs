//! Completions in step with the programs, as the shells themselves complete: each command and option that a program says it
//! has is offered where it may stand, and nothing else is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use bastion_tests::host::artefacts;
use bastion_tests::manual::help::{self, Help};
use bastion_tests::manual::shell::Shell;
use bastion_tests::manual::{PROGRAMS, files, has};

/// A channel, a tunnel and a line that the file has.
const CONFIG: &str = "[notify.channel.pager]\ntype = \"exec\"\n[[tunnel]]\nname = \"home\"\n\
                      [[tunnel-watch]]\nname = \"other\"\n[[link]]\nname = \"backup\"\n";

/// A directory with a configuration and a spool, and the id of the alert that waits there.
fn scratch(shell: Shell) -> (PathBuf, String) {
    let dir = format!("bastion-{}-{}", shell.program(), std::process::id());
    let dir = std::env::temp_dir().join(dir);
    for (name, mode) in [("drop", 0o3730), ("queue", 0o700), ("failed", 0o700), ("sent", 0o700)] {
        let path = dir.join("spool").join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let at = dir.display();
    let host = format!("[host]\nspool = \"{at}/spool\"\nstate = \"{at}\"\nsyslog = \"{at}/log\"\n");
    fs::write(dir.join("there.toml"), host + CONFIG).unwrap();
    let sent = Command::new(artefacts().join("bastion"))
        .arg("--config")
        .arg(dir.join("there.toml"))
        .args(["send", "an alert that waits"])
        .output()
        .unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    (dir, String::from_utf8(sent.stdout).unwrap().trim().to_owned())
}

/// What is asked, what has to be among the answers, and what else may be; anything, where nothing is said.
type Row<'a> = (Vec<&'a str>, BTreeSet<String>, Option<BTreeSet<String>>);

fn tried(shell: Shell) {
    if !has(&[shell.program()], "completions are not tried") {
        return;
    }
    let (dir, id) = scratch(shell);
    let file = dir.join("there.toml").to_string_lossy().into_owned();
    let begun = file.strip_suffix("e.toml").unwrap();
    let helps: Vec<(&str, Help)> = PROGRAMS.map(|program| (program, help::of(program))).into();
    let set = |words: &[&str]| words.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let dashes = |options: &BTreeSet<String>| -> BTreeSet<String> {
        options.iter().map(|option| format!("--{option}")).collect()
    };
    let mut table: Vec<Row<'_>> = Vec::new();
    for (program, help) in &helps {
        let names: BTreeSet<String> = help.commands.keys().cloned().collect();
        table.push((vec![program, ""], names, Some(BTreeSet::new())));
        table.push((vec![program, "--"], dashes(&help.common), Some(BTreeSet::new())));
        table.push((vec![program, "--config", begun], set(&[&file]), None));
        for (name, command) in &help.commands {
            let general = dashes(&help.common);
            // Where values follow at once, an option does not.
            table.push((vec![program, name, "--"], dashes(&command.options), Some(general)));
            let first: BTreeSet<String> = match name.as_str() {
                // Of what follows another word.
                "queue" => command.words.iter().filter(|word| *word != "all").cloned().collect(),
                _ => command.words.clone(),
            };
            if !first.is_empty() {
                table.push((vec![program, name, ""], first, Some(BTreeSet::new())));
            }
        }
    }
    let none = || Some(BTreeSet::new());
    let severities = set(&["info", "warning", "critical"]);
    table.push((vec!["bastion", "send", "--severity", ""], severities, none()));
    // Of an alert that waits nothing can be retried.
    for (word, wanted) in [("show", &*id), ("drop", &*id), ("retry", "all")] {
        let line = vec!["bastion", "--config", &*file, "queue", word, ""];
        table.push((line, set(&[wanted]), none()));
    }
    table.push((vec!["bastion", "--config", &file, "test", ""], set(&["pager"]), none()));
    table.push((vec!["tunnelwatch", "--config", &file, "enroll", ""], set(&["home"]), none()));
    for command in ["check", "measure", "status", "report", "import"] {
        let line = vec!["linkprobe", "--config", &file, command, ""];
        table.push((line, set(&["backup"]), none()));
    }
    let lines: Vec<Vec<&str>> = table.iter().map(|(line, ..)| line.clone()).collect();
    let answers = shell.complete(&lines, &dir);
    let mut wrong = Vec::new();
    for ((line, needed, also), answer) in table.iter().zip(&answers) {
        let missing: Vec<_> = needed.difference(answer).collect();
        let allowed = |word: &&String| also.as_ref().is_none_or(|also| also.contains(*word));
        let extra: Vec<_> = answer.difference(needed).filter(|word| !allowed(word)).collect();
        if !missing.is_empty() || !extra.is_empty() {
            wrong.push(format!("{line:?}: missing {missing:?}, offered {extra:?}"));
        }
    }
    fs::remove_dir_all(dir).unwrap();
    assert!(wrong.is_empty(), "{shell:?}: {wrong:#?}");
}

#[test]
fn bash_offers_what_there_is_and_nothing_else() {
    tried(Shell::Bash);
}

#[test]
fn zsh_offers_what_there_is_and_nothing_else() {
    tried(Shell::Zsh);
}

#[test]
fn fish_offers_what_there_is_and_nothing_else() {
    tried(Shell::Fish);
}

#[test]
fn each_program_has_a_file_for_each_shell() {
    let found: BTreeSet<String> = files("packaging/completions", "")
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let names =
        PROGRAMS.iter().flat_map(|p| [format!("{p}.bash"), format!("_{p}"), format!("{p}.fish")]);
    assert_eq!(found, names.collect());
}
