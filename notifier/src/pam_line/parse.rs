//! A service file of libpam, line by line, as libpam reads it (pam.conf(5), and `_pam_assemble_line` and `_pam_line_assemble`
//! of Linux-PAM 1.5 and 1.7). Where the two differ, and where a file keeps everybody out, it is a fault:
//! who only reads the stack goes past it, who changes the file does not touch such a one.

/// Longest line of a file, in bytes: libpam 1.5 takes the rest of a longer one for a line of its own.
const MAX_LINE: usize = 1022;

/// Controls without brackets (pam.conf(5)).
const CONTROLS: [&str; 6] =
    ["required", "requisite", "sufficient", "optional", "include", "substack"];

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// `@include NAME`: all of that file.
    Include(String),
    /// A module, or the lines of one type of another file.
    Rule(Rule),
}

impl Says {
    /// The file whose lines it stands for.
    #[must_use]
    pub fn includes(&self) -> Option<&str> {
        match self {
            Self::Include(name) => Some(name),
            Self::Rule(rule) if rule.includes() => Some(&rule.module),
            Self::Rule(_) => None,
        }
    }
}

/// `-session optional pam_x.so argument`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `auth`, `account`, `password` or `session`.
    pub kind: &'static str,
    /// With the dash: no word in the log when the module is missing.
    pub quiet: bool,
    /// `optional`, `include`; or with its brackets `[success=ok ..]`.
    pub control: String,
    /// The module, or the file for `include` and `substack`.
    pub module: String,
    /// Its arguments, as they stand there.
    pub arguments: Vec<String>,
}

impl Rule {
    /// Whether it stands for lines of another file.
    #[must_use]
    pub fn includes(&self) -> bool {
        matches!(self.control.as_str(), "include" | "substack")
    }
}

/// A line that says something, with those that continue it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it begins: the number of lines before it.
    pub at: usize,
    /// How many lines of the file it takes.
    pub count: usize,
    /// What it says.
    pub says: Says,
}

/// What a person has to look at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The number of lines before it.
    pub at: usize,
    /// What is wrong, with the remedy.
    pub text: String,
}

/// The lines of a file with their ends, the last perhaps without.
#[must_use]
pub fn physical(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Whether libpam passes over a line: an empty one, or a comment.
#[must_use]
pub fn is_idle(line: &[u8]) -> bool {
    line.iter().find(|byte| !is_blank(**byte)).is_none_or(|byte| *byte == b'#')
}

/// All that a file says, and what is wrong with it.
#[must_use]
pub fn read(text: &[u8]) -> (Vec<Line>, Vec<Fault>) {
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    let mut fault = |at: usize, text: &str| faults.push(Fault { at, text: text.into() });
    let physical = physical(text);
    for (at, line) in physical.iter().enumerate() {
        if line.contains(&b'\r') {
            fault(
                at,
                "ends as on Windows, which libpam takes for a part of the last word; run: dos2unix",
            );
        } else if line.contains(&0) {
            fault(at, "has a NUL byte, behind which libpam reads nothing; remove it");
        } else if line.len() > MAX_LINE {
            fault(
                at,
                "is longer than libpam reads; make two of it, the first ending with a backslash",
            );
        }
    }
    let mut at = 0;
    while let Some(first) = physical.get(at) {
        let begin = at;
        at += 1;
        if is_idle(first) {
            continue;
        }
        let (mut whole, mut goes_on) = content(first);
        while goes_on {
            match physical.get(at) {
                None => {
                    fault(begin, "goes on behind the end of the file; remove the backslash");
                    break;
                }
                Some(next) if is_idle(next) => {
                    fault(
                        at,
                        "interrupts a line that goes on, as which some versions of libpam read it and others not; remove it",
                    );
                    break;
                }
                Some(next) => {
                    let (more, on) = content(next);
                    whole.push(b' ');
                    whole.extend(more);
                    goes_on = on;
                    at += 1;
                }
            }
        }
        if at - begin > 1 && whole.len() > MAX_LINE {
            fault(
                begin,
                "is longer than libpam reads, with the lines that continue it; make it shorter",
            );
        }
        match says(&whole) {
            Ok(says) => lines.push(Line { at: begin, count: at - begin, says }),
            Err(text) => fault(begin, &text),
        }
    }
    faults.sort_by_key(|fault| fault.at);
    (lines, faults)
}

/// libpam's blanks; nothing else parts its words.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}

/// What counts of a line, and whether the next one continues it.
fn content(line: &[u8]) -> (Vec<u8>, bool) {
    if let Some(end) = line.iter().position(|byte| *byte == b'#') {
        return (line[..end].to_vec(), false);
    }
    let end = line.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
    match line[..end].split_last() {
        Some((b'\\', rest)) => (rest.to_vec(), true),
        _ => (line[..end].to_vec(), false),
    }
}

/// The words of a line; one in brackets may have blanks in it.
fn words(line: &[u8]) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(begin) = rest.iter().position(|byte| !is_blank(*byte)) {
        rest = &rest[begin..];
        let end = if rest[0] == b'[' {
            let mut escaped = false;
            let closing = rest.iter().position(|byte| {
                let found = *byte == b']' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                found
            });
            closing.ok_or("has a [ without its ]; add it")? + 1
        } else {
            rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len())
        };
        words.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end..];
    }
    Ok(words)
}

fn says(line: &[u8]) -> Result<Says, String> {
    let mut words = words(line)?.into_iter();
    let first = words.next().unwrap_or_default();
    if first == "@include" {
        let name = words.next().ok_or("includes nothing; remove it")?;
        return Ok(Says::Include(name));
    }
    let (quiet, kind) = match first.strip_prefix('-') {
        Some(kind) => (true, kind),
        None => (false, first.as_str()),
    };
    let kinds = ["auth", "account", "password", "session"];
    let Some(kind) = kinds.into_iter().find(|known| known.eq_ignore_ascii_case(kind)) else {
        return Err(format!(
            "begins with {first:?}, which is no type, so that libpam lets nobody in; remove it"
        ));
    };
    let mut control = words.next().ok_or("has no control and no module; remove it")?;
    if !control.starts_with('[') {
        control.make_ascii_lowercase();
    }
    let module = words.next().ok_or("has no module; remove it")?;
    if !control.starts_with('[') && !CONTROLS.contains(&control.as_str()) {
        return Err(format!(
            "control {control} is none, so that libpam lets nobody in; write one of {}",
            CONTROLS.join(", ")
        ));
    }
    Ok(Says::Rule(Rule { kind, quiet, control, module, arguments: words.collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> String {
        let (lines, faults) = read(text.as_bytes());
        let lines = lines.iter().map(|line| {
            let said = match &line.says {
                Says::Include(name) => format!("@{name}"),
                Says::Rule(rule) => {
                    let dash = if rule.quiet { "-" } else { "" };
                    let arguments = rule.arguments.join(",");
                    format!("{dash}{}/{}/{}({arguments})", rule.kind, rule.control, rule.module)
                }
            };
            format!("{}+{} {said}", line.at, line.count)
        });
        let faults = faults.iter().map(|fault| {
            let words: Vec<&str> = fault.text.split(' ').take(4).collect();
            format!("{}! {}", fault.at, words.join(" "))
        });
        lines.chain(faults).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_file_is_read_as_libpam_reads_it() {
        for (text, want) in [
            ("", ""),
            ("# session required x.so\n\n \t\n", ""),
            ("session required x.so", "0+1 session/required/x.so()"),
            ("\t-SESSION\tOptional  x.so a  b # c\n", "0+1 -session/optional/x.so(a,b)"),
            (
                "auth [success=1 default=ignore] x.so [a b] c\n",
                "0+1 auth/[success=1 default=ignore]/x.so([a b],c)",
            ),
            ("session [a=1]x.so", "0+1 session/[a=1]/x.so()"),
            ("session [a=\\]]x.so", "0+1 session/[a=\\]]/x.so()"),
            (
                "@include  common-auth # x\nsession substack y",
                "0+1 @common-auth; 1+1 session/substack/y()",
            ),
            (
                "session required \\\n x.so \\ \t\na\nauth required y.so",
                "0+3 session/required/x.so(a); 3+1 auth/required/y.so()",
            ),
            // A comment is the end of its line, whatever it ends with.
            (
                "# a \\\nsession required x.so # b \\\nauth required y.so",
                "1+1 session/required/x.so(); 2+1 auth/required/y.so()",
            ),
            (
                "session required \\\nx.so # b\nauth required y.so",
                "0+2 session/required/x.so(); 2+1 auth/required/y.so()",
            ),
            ("session required x.so\u{a0}b\u{b}c\n", "0+1 session/required/x.so\u{a0}b\u{b}c()"),
        ] {
            assert_eq!(rule(text), want, "{text:?}");
        }
        let (lines, faults) = read(b"# \xff\nsession required x.so \xfe\n");
        assert!(lines.len() == 1 && faults.is_empty(), "{lines:?} {faults:?}");
    }

    #[test]
    fn what_libpam_does_not_understand_or_not_always_is_a_fault() {
        let long = format!("#{}\n", "x".repeat(MAX_LINE));
        let longer = format!("session required x.so {}\\\n{}", "x".repeat(600), "x".repeat(600));
        for (text, want) in [
            ("session required x.so\r\n", "0! ends as on Windows,"),
            ("# a\0b\n", "0! has a NUL byte,"),
            (long.as_str(), "0! is longer than libpam"),
            (longer.as_str(), "0! is longer than libpam"),
            ("session required \\", "0! goes on behind the"),
            ("session required x.so \\\n\nauth required y.so", "1! interrupts a line that"),
            ("session required x.so \\\n # c\nauth required y.so", "1! interrupts a line that"),
            ("\n@Include x\n", "1! begins with \"@Include\", which"),
            ("-@include x\n", "0! begins with \"-@include\", which"),
            ("sesion required x.so\n", "0! begins with \"sesion\", which"),
            ("session\n", "0! has no control and"),
            ("session required\n", "0! has no module; remove"),
            ("session [a=1 x.so\n", "0! has a [ without"),
            ("@include\n", "0! includes nothing; remove it"),
            ("session requird x.so\n", "0! control requird is none,"),
        ] {
            assert!(rule(text).contains(want), "{text:?}: {}", rule(text));
        }
    }
}
