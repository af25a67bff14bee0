//! What `tunnelwatch check` finds, for `bastion check`: a tunnel is its to understand, and one command
//! tells all that is wrong.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::{self, Document};

/// The program, and where it is when it is not beside this one.
const NAME: &str = "tunnelwatch";
const DIRS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// What it puts before each line.
const PREFIX: &str = "tunnelwatch: ";

/// What is wrong with the tunnels of a file; nothing where it has none.
pub(super) fn check(config: &Path) -> Vec<String> {
    let text = config::read_file(config).map(|source| source.text).unwrap_or_default();
    let Some(section) = section(&text) else { return Vec::new() };
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    let Some(program) = find(beside.into_iter().chain(DIRS.map(Path::new))) else {
        let fix = "install it, or remove the section";
        return vec![format!(
            "{}: there is a [[{section}]], and no {NAME} that minds it; {fix}",
            config.display()
        )];
    };
    let mut command = Command::new(&program);
    command.args([OsStr::new("--config"), config.as_os_str(), OsStr::new("check")]);
    let output = command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).output();
    let program = program.display();
    match output {
        Ok(output) => {
            let code = output.status.code();
            findings(code, &String::from_utf8_lossy(&output.stderr), &format!("{program} check"))
        }
        Err(error) => vec![format!("{program} cannot be run: {error}")],
    }
}

/// The first of tunnelwatch's sections that a file has, whatever is wrong with it.
fn section(text: &str) -> Option<&'static str> {
    let mut document = Document::parse(text);
    ["tunnel", "tunnel-watch"].into_iter().find(|name| !document.tables(name, |_, _| ()).is_empty())
}

fn find<'a>(dirs: impl IntoIterator<Item = &'a Path>) -> Option<PathBuf> {
    dirs.into_iter().map(|dir| dir.join(NAME)).find(|path| path.is_file())
}

/// What it has found, by its exit code and its words.
fn findings(code: Option<i32>, said: &str, command: &str) -> Vec<String> {
    if code == Some(0) {
        return Vec::new();
    }
    let line = |line: &str| line.strip_prefix(PREFIX).unwrap_or(line).to_owned();
    let lines: Vec<String> = said.lines().filter(|line| !line.is_empty()).map(line).collect();
    if lines.is_empty() {
        let how = code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"));
        return vec![format!("{command} ended {how} and said nothing; run it by hand")];
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_tunnel_is_known_whatever_else_is_wrong_in_it() {
        for (text, want) in [
            ("", None),
            ("[host]\nname = \"x\"\n# [[tunnel]]\n", None),
            ("[[tunnel]]\nname = 7\n", Some("tunnel")),
            ("[[tunnel-watch]]\n[nosuch]\n", Some("tunnel-watch")),
            ("[[tunnel-watch]]\n[[tunnel]]\n", Some("tunnel")),
        ] {
            assert_eq!(section(text), want, "{text}");
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
            assert_eq!(findings(code, said, "x check"), want, "{code:?} {said}");
        }
    }

    #[test]
    fn the_program_beside_this_one_comes_first() {
        let dir = std::env::temp_dir().join(format!("notifier-tunnels-{}", std::process::id()));
        let (one, two) = (dir.join("one"), dir.join("two"));
        std::fs::create_dir_all(one.join(NAME)).unwrap();
        std::fs::create_dir_all(&two).unwrap();
        assert_eq!(find([one.as_path(), two.as_path()]), None, "a directory is no program");
        std::fs::write(two.join(NAME), "").unwrap();
        assert_eq!(find([one.as_path(), two.as_path()]), Some(two.join(NAME)));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
