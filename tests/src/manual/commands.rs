//! Commands in a text for people: what it tells them to type has to exist.

use std::collections::BTreeMap;

use super::help::Help;

/// What is wrong with a line of a shell, of what it says to our programs.
#[must_use]
pub fn wrong(line: &str, helps: &BTreeMap<&str, Help>) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or_default();
    let simple = line.split(['|', ';', '&', '(', ')', '`', '<', '>']);
    simple.filter_map(|command| wrong_command(command, helps)).collect()
}

fn wrong_command(command: &str, helps: &BTreeMap<&str, Help>) -> Option<String> {
    let mut words = command.split_whitespace().skip_while(|word| *word == "$").peekable();
    if words.next_if_eq(&"sudo").is_some() && words.next_if_eq(&"-u").is_some() {
        words.next();
    }
    let program = words.next()?;
    let help = helps.get(program.rsplit('/').next()?)?;
    let mut name: Option<&str> = None;
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let word = word.trim_matches(['[', ']', '"', '\'']);
        if let Some(option) = word.strip_prefix("--") {
            let option = option.split(['=', '.', ']']).next().unwrap_or_default();
            let known = name.and_then(|name| help.commands.get(name));
            let known = help.common.contains(option)
                || known.is_some_and(|command| command.options.contains(option));
            if !known {
                return Some(format!("{command:?}: there is no --{option}"));
            }
            // Before the command: those take a value.
            if name.is_none() && !matches!(option, "help" | "version") {
                words.next();
            }
        } else if name.is_none() && !word.is_empty() {
            // What is no name of a command stands for one: COMMAND, .., "what it prints".
            let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
            if !word.chars().all(is_name) {
                return None;
            }
            if !help.commands.contains_key(word) {
                return Some(format!("{command:?}: there is no command {word}"));
            }
            name = Some(word);
        }
    }
    None
}

/// The lines of Markdown that are to be typed: fenced and indented blocks, and code in a line.
#[must_use]
pub fn typed(text: &str) -> Vec<String> {
    let (mut found, mut fenced, mut is_shell) = (Vec::new(), false, true);
    let mut prose = String::new();
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fenced = !fenced;
            // A block without a language is what a program says.
            is_shell = matches!(language.trim(), "sh" | "console");
        } else if fenced && is_shell {
            found.push(line.to_owned());
        } else if fenced {
        } else if let Some(code) = line.strip_prefix("    ") {
            found.push(code.to_owned());
        } else {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    // An odd mark ends with its paragraph.
    for paragraph in prose.split("\n\n") {
        let code = paragraph.split('`').skip(1).step_by(2);
        found.extend(code.map(|code| code.replace('\n', " ")));
        let bold = paragraph.split("**").skip(1).step_by(2);
        found.extend(bold.map(|bold| bold.replace('\n', " ")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::help::Subcommand;
    use super::*;

    #[test]
    fn what_does_not_exist_is_found_wherever_it_stands() {
        let command = |options: &[&str]| Subcommand {
            options: options.iter().map(ToString::to_string).collect(),
            ..Subcommand::default()
        };
        let commands = [("queue".into(), command(&["failed"])), ("test".into(), command(&[]))];
        let common = ["config".to_owned(), "help".to_owned()].into();
        let help = Help { commands: commands.into(), common, ..Help::default() };
        let helps: BTreeMap<&str, Help> = [("bastion", help)].into();
        for good in [
            "sudo bastion queue --failed",
            "sudo -u _x /usr/bin/bastion --config x test # bastion none",
            "systemctl restart bastion tunnelwatch",
            "bastion COMMAND --help",
            "bastion --help",
            "bastion",
            "echo bastion none",
        ] {
            assert_eq!(wrong(good, &helps), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "bastion none",
            "sudo bastion queue --sent",
            "true && bastion test --failed",
            "x | bastion enable",
            "$ bastion --none test",
        ] {
            assert_eq!(wrong(bad, &helps).len(), 1, "{bad}");
        }
        let text = "a `bastion\none` **bastion two**\n\n```sh\nbastion three\n```\n```\nbastion four\n```\n\n    bastion five\n";
        assert_eq!(typed(text).iter().filter(|line| !wrong(line, &helps).is_empty()).count(), 4);
    }
}
