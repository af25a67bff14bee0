//! What a program says of itself by `--help`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::host::{artefacts, require};

/// What a program has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Help {
    /// By name.
    pub commands: BTreeMap<String, Subcommand>,
    /// Options of every command, without the `--`.
    pub common: BTreeSet<String>,
    /// Exit codes that are named anywhere.
    pub codes: BTreeSet<u8>,
}

/// A command of a program.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Subcommand {
    /// Options, without the `--`.
    pub options: BTreeSet<String>,
    /// Words that it takes as they are: `list`, `show`.
    pub words: BTreeSet<String>,
}

/// Asks a built program.
///
/// # Panics
///
/// When it is not built, or does not answer.
#[must_use]
pub fn of(program: &str) -> Help {
    require(program);
    let ask = |arguments: &[&str]| {
        let asked = Command::new(artefacts().join(program)).args(arguments).output();
        let answer = asked.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(answer.status.success(), "{program} {arguments:?}: {}", answer.status);
        String::from_utf8(answer.stdout).expect("help is UTF-8")
    };
    let mut help = overview(&ask(&["--help"]));
    for (name, command) in &mut help.commands {
        let own = ask(&[name, "--help"]);
        // The others have one text for all.
        if own.starts_with(&format!("usage: {program} {name}")) {
            *command = usage(program, name, &own);
            help.codes.extend(codes(&own));
        }
    }
    help
}

/// Reads the text of a program.
#[must_use]
pub fn overview(text: &str) -> Help {
    let mut help = Help { codes: codes(text), ..Help::default() };
    let mut part = "";
    let mut name = String::new();
    for line in text.lines() {
        let (indent, words) = (line.len() - line.trim_start().len(), line.trim_start());
        match (part, indent) {
            (_, 0) => part = words,
            ("commands:", 2) => {
                name = words.split(' ').next().unwrap_or_default().to_owned();
                // A summary stands two spaces behind.
                let synopsis = words.split("  ").next().unwrap_or_default();
                let rest = synopsis.strip_prefix(&name).unwrap_or_default();
                help.commands.insert(name.clone(), synopsis_of(rest));
            }
            ("commands:", _) if words.starts_with("--") => {
                let command = help.commands.entry(name.clone()).or_default();
                command.options.extend(option(words));
            }
            ("options of every command:", 2) => help.common.extend(option(words)),
            _ => {}
        }
    }
    help
}

/// Reads the text of a command.
#[must_use]
pub fn usage(program: &str, name: &str, text: &str) -> Subcommand {
    let mut command = Subcommand::default();
    let own = text.split("options of every command:").next().unwrap_or_default();
    for line in own.lines() {
        let words = line.strip_prefix("usage:").unwrap_or(line).trim_start();
        if let Some(rest) = words.strip_prefix(&format!("{program} {name}")) {
            // Elsewhere it is an example.
            if line.starts_with("usage:") || line.starts_with("       ") {
                let of_usage = synopsis_of(rest);
                command.options.extend(of_usage.options);
                command.words.extend(of_usage.words);
            }
        } else {
            command.options.extend(option(words));
        }
    }
    command
}

/// `[list] [--failed|--sent]`: the options, and the words that are no values of options.
fn synopsis_of(text: &str) -> Subcommand {
    let mut command = Subcommand::default();
    let mut takes_value = false;
    for token in text.split_whitespace() {
        let plain = token.trim_matches(|c| matches!(c, '[' | ']' | '.'));
        let is_option = plain.starts_with("--");
        for word in plain.split('|') {
            let lower = |c: char| c.is_ascii_lowercase() || c == '-';
            match option(word) {
                Some(option) => drop(command.options.insert(option)),
                None if takes_value || word.is_empty() || !word.chars().all(lower) => {}
                None => drop(command.words.insert(word.to_owned())),
            }
        }
        takes_value = is_option && !token.ends_with(']');
    }
    command
}

/// The option that a text begins with.
fn option(text: &str) -> Option<String> {
    let name = text.strip_prefix("--")?;
    let end = name.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(name.len());
    (end > 0).then(|| name[..end].to_owned())
}

/// The numbers behind each "exit code", as far as its sentence goes.
fn codes(text: &str) -> BTreeSet<u8> {
    let text = text.to_ascii_lowercase();
    let sentences = text.split("exit code").skip(1).map(|rest| {
        let ends = [". ", ".\n", "\n\n"].iter().filter_map(|end| rest.find(end)).min();
        &rest[..ends.unwrap_or(rest.len())]
    });
    let words = sentences.flat_map(|text| text.split(|c: char| c.is_whitespace() || c == ','));
    words.filter_map(|word| word.trim_matches([':', ';', '(', ')']).parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_text_for_all_commands_is_taken_apart() {
        let text = "x - y\n\nusage: x COMMAND\n\ncommands:\n  run              does\n  report [NAME] \
                    [--since 30d|all] [--json]\n                   what --not says; exit code 0 good,\n\
                    \x20                  1 bad.\n                   --long looks longer, 77 times\n\
                    \x20 is-configured run|watch\n                   for units\n\n\
                    options of every command:\n  --config PATH    file\n  --help  text\n\n\
                    exit codes but those: 0 done, 64 usage,\n75 later\n";
        let help = overview(text);
        assert_eq!(help.common, set(&["config", "help"]));
        assert_eq!(help.commands.len(), 3);
        assert_eq!(help.commands["report"].options, set(&["since", "json", "long"]));
        assert_eq!(help.commands["report"].words, set(&[]));
        assert_eq!(help.commands["is-configured"].words, set(&["run", "watch"]));
        assert_eq!(help.codes, [0, 1, 64, 75].into());
    }

    #[test]
    fn a_text_for_one_command_is_taken_apart() {
        let text = "usage: x queue [list] [--failed|--sent]\n       x queue retry ID|all\n\n\
                    As x queue --wrong says.\n  --severity WORD  how\n\noptions of every command:\n  --help\n";
        let command = usage("x", "queue", text);
        assert_eq!(command.options, set(&["failed", "sent", "severity"]));
        assert_eq!(command.words, set(&["list", "retry", "all"]));
        let send = usage("x", "send", "usage: x send [--severity info|warning] [TEXT...]\n");
        assert_eq!((send.words, send.options), (set(&[]), set(&["severity"])));
    }
}
