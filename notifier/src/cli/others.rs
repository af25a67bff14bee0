//! What the other programs of the file find, for `bastion check`: a tunnel is tunnelwatch's to understand, a
//! line linkprobe's, and one command tells all that is wrong, and how a line is now.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::config::{self, Document};
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::programs::{self, Answer};
use crate::foreign;

/// A program that minds sections of the file.
struct Other {
    name: &'static str,
    /// What its findings are called.
    id: &'static str,
    sections: &'static [&'static str],
    /// Has it say what is wrong.
    command: &'static str,
}

/// All of them.
const OTHERS: [Other; 2] = [
    Other {
        name: "tunnelwatch",
        id: "tunnelwatch-check",
        sections: &["tunnel", "tunnel-watch"],
        command: "check",
    },
    // Its `check` would test the lines, which costs data.
    Other {
        name: "linkprobe",
        id: "linkprobe-check",
        sections: &["link"],
        command: "check-config",
    },
];

/// Where they are when they are not beside this one.
const DIRS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// Longest time for one of them: a tunnel's jump host is asked for half a minute, and more where it does not
/// answer at once.
const MOST: Duration = Duration::from_secs(60);

/// What they say.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How it is now.
    pub told: Vec<String>,
}

/// Where a program of ours is: beside this one before all other places.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    find_in(name, beside.into_iter().chain(DIRS.map(Path::new)))
}

fn find_in<'a>(name: &str, dirs: impl IntoIterator<Item = &'a Path>) -> Option<PathBuf> {
    dirs.into_iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// What is wrong with what tunnelwatch minds in a file, asked for at most so long.
pub(crate) fn check_tunnels(config: &Path, known: &[String], most: Duration) -> Said {
    let text = config::read_file(config).map(|source| source.text).unwrap_or_default();
    let [tunnels, _] = &OTHERS;
    tunnels.check(config, &text, known, most)
}

/// What is wrong with what others mind in a file; nothing where it has none of that. `known` are mistakes in the
/// file that are told already.
pub(super) fn check(config: &Path, known: &[String]) -> Said {
    let text = config::read_file(config).map(|source| source.text).unwrap_or_default();
    let all = thread::scope(|scope| {
        let ask = |other: &'static Other| scope.spawn(|| other.check(config, &text, known, MOST));
        OTHERS.each_ref().map(ask).map(|thread| thread.join().unwrap_or_default())
    });
    let mut said = Said::default();
    for one in all {
        said.findings.extend(one.findings);
        said.told.extend(one.told);
    }
    said
}

impl Other {
    fn check(&self, config: &Path, text: &str, known: &[String], most: Duration) -> Said {
        let Some(section) = self.section(text) else { return Said::default() };
        let name = self.name;
        let one = |finding| Said { findings: vec![finding], told: Vec::new() };
        let Some(program) = find(name) else {
            let text = format!("there is a [[{section}]], and no {name} that minds it");
            let fix = "install it, or remove the section";
            let file = config.display().to_string();
            return one(Finding::new(Severity::Critical, self.id, file, text, fix));
        };
        let mut command = Command::new(&program);
        command.args([OsStr::new("--config"), config.as_os_str(), OsStr::new(self.command)]);
        let program = format!("{} {}", program.display(), self.command);
        match programs::hear(command, most) {
            Answer::Said { code, out, err } => {
                let lines = self.findings(code, &err, &program);
                let new = lines.iter().filter(|line| !known.contains(line));
                let finding = |line: &String| Finding::told(Severity::Critical, self.id, "", line);
                Said {
                    findings: new.map(finding).collect(),
                    told: told(&out, config)
                        .map(|line| foreign::visible(line.as_bytes()))
                        .collect(),
                }
            }
            Answer::Missing => {
                one(Finding::unknown(self.id, &program, "is not there any more", ""))
            }
            Answer::Unheard(why) => {
                let fix = format!("run it by hand: {program}");
                one(Finding::unknown(self.id, &program, &why, &fix))
            }
        }
    }

    /// The first of its sections that a file has, whatever is wrong with it.
    fn section(&self, text: &str) -> Option<&'static str> {
        let mut document = Document::parse(text);
        let mut sections = self.sections.iter().copied();
        sections.find(|name| !document.tables(name, |_, _| ()).is_empty())
    }

    /// What it has found, by its exit code and its words.
    fn findings(&self, code: Option<i32>, said: &str, command: &str) -> Vec<String> {
        if code == Some(0) {
            return Vec::new();
        }
        let prefix = format!("{}: ", self.name);
        let line = |line: &str| line.strip_prefix(&prefix).unwrap_or(line).to_owned();
        let lines: Vec<String> = said.lines().filter(|line| !line.is_empty()).map(line).collect();
        if lines.is_empty() {
            let how =
                code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"));
            return vec![format!("{command} ended {how} and said nothing; run it by hand")];
        }
        lines
    }
}

/// What another says beside its last word on the file, which is not the last here.
fn told<'a>(said: &'a str, config: &Path) -> impl Iterator<Item = &'a str> {
    let last = format!("{}: ", config.display());
    said.lines().filter(move |line| !line.is_empty() && !line.starts_with(&last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_known_whatever_else_is_wrong_in_the_file() {
        for (text, want) in [
            ("", [None, None]),
            ("[host]\nname = \"x\"\n# [[tunnel]]\n# [[link]]\n", [None, None]),
            ("[[tunnel]]\nname = 7\n", [Some("tunnel"), None]),
            ("[[tunnel-watch]]\n[nosuch]\n", [Some("tunnel-watch"), None]),
            ("[[tunnel-watch]]\n[[tunnel]]\n", [Some("tunnel"), None]),
            ("[[link]]\nnosuch = 7\n[nosuch]\n", [None, Some("link")]),
            ("[[link]]\n[[tunnel]]\n", [Some("tunnel"), Some("link")]),
        ] {
            assert_eq!(OTHERS.each_ref().map(|other| other.section(text)), want, "{text}");
        }
    }

    #[test]
    fn what_it_says_is_a_finding_a_line_and_silence_is_one_too() {
        let said = "tunnelwatch: a: b; c\ntunnelwatch: d\n\nno prefix\n";
        for (code, said, want) in [
            (Some(0), "tunnelwatch: a warning\n", &[][..]),
            (Some(78), said, &["a: b; c", "d", "no prefix"]),
            (None, "", &["x check ended by a signal and said nothing; run it by hand"]),
            (Some(78), "", &["x check ended with exit code 78 and said nothing; run it by hand"]),
        ] {
            assert_eq!(OTHERS[0].findings(code, said, "x check"), want, "{code:?} {said}");
        }
        assert_eq!(OTHERS[1].findings(Some(78), "linkprobe: a\n", "x"), ["a"]);
    }

    #[test]
    fn how_a_line_is_now_is_told_and_the_last_word_is_another_s() {
        let config = Path::new("/etc/bastion/bastion.toml");
        for (said, want) in [
            ("", &[][..]),
            ("/etc/bastion/bastion.toml: nothing is wrong with what tunnelwatch does\n", &[]),
            (
                "link a: by wwan0\n\nlink b: not ready now: x: y\n/etc/bastion/bastion.toml: nothing\n",
                &["link a: by wwan0", "link b: not ready now: x: y"],
            ),
            ("link a: /etc/bastion/bastion.toml: x\n", &["link a: /etc/bastion/bastion.toml: x"]),
        ] {
            assert_eq!(told(said, config).collect::<Vec<_>>(), want, "{said}");
        }
    }

    #[test]
    fn the_program_beside_this_one_comes_first() {
        let dir = std::env::temp_dir().join(format!("notifier-others-{}", std::process::id()));
        let (one, two) = (dir.join("one"), dir.join("two"));
        for other in &OTHERS {
            std::fs::create_dir_all(one.join(other.name)).unwrap();
            std::fs::create_dir_all(&two).unwrap();
            assert_eq!(
                find_in(other.name, [one.as_path(), two.as_path()]),
                None,
                "a directory is none"
            );
            std::fs::write(two.join(other.name), "").unwrap();
            let found = find_in(other.name, [one.as_path(), two.as_path()]);
            assert_eq!(found, Some(two.join(other.name)));
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
