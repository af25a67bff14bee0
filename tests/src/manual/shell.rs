//! What shells complete, asked of the shells themselves: the candidates for a command line that ends at the cursor.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::root;
use crate::host::artefacts;

/// A shell that has completions here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// bash(1), by the function that `complete -F` names.
    Bash,
    /// zsh(1), by its own completion system in a terminal of its own.
    Zsh,
    /// fish(1), by `complete -C`.
    Fish,
}

/// How long a shell may take for all lines, in seconds: zsh is started anew for each.
const MOST: &str = "180";

/// Asks for all lines on standard input, each with its words apart by tabs; an answer is candidates, each on a line, and an
/// empty line.
const BASH: &str = r#"
for program in "$@"; do . "$COMPLETIONS/$program.bash"; done
while IFS= read -r line; do
    mapfile -d $'\t' -t COMP_WORDS < <(printf '%s' "$line")
    [[ $line != *$'\t' ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    read -r _ _ function _ < <(complete -p "${COMP_WORDS[0]}")
    "$function"
    printf '%s\n' "${COMPREPLY[@]}" | sed '/^$/d'
    echo
done
"#;

const FISH: &str = r#"
for program in $argv
    source $COMPLETIONS/$program.fish
end
while read -l line
    complete -C(string replace -a \t ' ' -- $line) | string replace -r '\t.*' ''
    echo
end
"#;

/// The way of completion tools that show another's candidates: compadd is put in front of the one of zsh's, and says
/// what it was given.
const ZSH: &str = r#"
zmodload zsh/zpty || exit 69
cat >$SCRATCH <<'END'
PROMPT= ; fpath=($COMPLETIONS $fpath)
autoload -Uz compinit; compinit -D -u
bindkey "^M" undefined-key; bindkey "^J" undefined-key; bindkey "^I" complete-word
null-line() { print -r -- @@@ }
compprefuncs=(null-line); comppostfuncs=(null-line exit)
zstyle ":completion:*" insert-tab false
zstyle ":completion:*" list-separator ""
zmodload zsh/zutil
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
    local -a __hits __prefix
    builtin compadd -A __hits "$@"
    zparseopts -E P:=__prefix p:=__prefix
    local hit
    for hit in $__hits; do print -r -- "$IPREFIX$__prefix[2]$hit"; done
}
print ready
END
while IFS= read -r line; do
    zpty inner zsh -f -i
    zpty -w inner "source $SCRATCH"
    zpty -m -r inner answer '*ready*' || exit 70
    zpty -w -n inner "${line//$'\t'/ }"$'\t'
    integer marks=0
    while ((marks < 2)) && zpty -r inner piece; do
        if [[ $piece == *@@@* ]]; then ((marks++)); elif ((marks == 1)); then print -r -- ${piece%%[$'\r\n']*}; fi
    done
    zpty -d inner
    print
done
"#;

impl Shell {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    /// Its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    /// The candidates for each of these lines, whose words are apart.
    ///
    /// # Panics
    ///
    /// When the shell says something else than answers.
    #[must_use]
    pub fn complete(self, lines: &[Vec<&str>], scratch: &Path) -> Vec<BTreeSet<String>> {
        let mut command = Command::new("timeout");
        command.args([MOST, self.program()]);
        match self {
            Self::Bash => command.args(["--norc", "--noprofile", "-c", BASH, "bash"]),
            Self::Zsh => command.args(["-f", "-c", ZSH, "zsh"]),
            Self::Fish => command.args(["--no-config", "-c", FISH]),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs = vec![artefacts()];
        dirs.extend(std::env::split_paths(&path));
        let child = command
            .args(super::PROGRAMS)
            .env("PATH", std::env::join_paths(dirs).expect("no colon in a path"))
            .env("COMPLETIONS", root().join("packaging/completions"))
            .env("SCRATCH", scratch.join("zsh"))
            .env("HOME", scratch)
            .env("XDG_CONFIG_HOME", scratch)
            .env("XDG_DATA_HOME", scratch)
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let asked: String = lines.iter().map(|words| words.join("\t") + "\n").collect();
        let mut input = child.stdin.take().expect("it is a pipe");
        let writer = std::thread::spawn(move || input.write_all(asked.as_bytes()));
        let said = child.wait_with_output().expect("it can be waited for");
        writer.join().expect("it writes").expect("the shell reads all lines");
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success() && errors.is_empty(), "{self:?}: {}: {errors}", said.status);
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let mut answers: Vec<BTreeSet<String>> = vec![BTreeSet::new()];
        for line in text.lines() {
            if line.is_empty() {
                answers.push(BTreeSet::new());
            } else if let Some(last) = answers.last_mut() {
                last.insert(line.trim_end().to_owned());
            }
        }
        answers.pop();
        assert_eq!(answers.len(), lines.len(), "{self:?} has not answered all: {text}");
        answers
    }
}
