//! Puts the line into a service file, and takes it out: from the bytes of the file to a change of some of its lines,
//! or to a refusal. Pure. What it does not understand it does not touch: a wrong file keeps everybody out.

use std::fmt::Write as _;
use std::path::Path;

use super::control::{self, Step};
use super::parse::{self, Fault, Line, Rule, Says};
use super::{Flat, StackLine, cannot_include, is_ours};

/// The line, where none was written by hand.
pub const LINE: &str = "-session optional pam_bastion.so";

/// What stands above it.
pub const COMMENT: &str =
    "# Each login is told, before anything of the user's is read: pam_bastion(8), bastion disable.";

/// Largest file, in bytes; Debian's has 2 KB.
pub const MAX_BYTES: u64 = 64 * 1024;

/// Reads a file that is included, by its name.
type Load<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// Why a file is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The name of the file, in the directory of the service's.
    pub file: String,
    /// The line, from 1; 0 for the file.
    pub line: usize,
    /// What is the matter, with the remedy.
    pub text: String,
}

/// What becomes of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    hunks: Vec<Hunk>,
    /// The module of our line: its name, or its path.
    pub module: String,
    /// Where our line stands now, the first of them, from 1.
    pub line: Option<usize>,
    /// What was wrong with a line that was there, and is mended by this.
    pub mended: Vec<String>,
}

/// Some lines in the place of some others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hunk {
    /// The number of lines before it.
    at: usize,
    /// How many go.
    gone: usize,
    /// What comes.
    new: String,
}

impl Edit {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hunks.is_empty()
    }

    /// The file with the change in it.
    #[must_use]
    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        let lines = parse::physical(text);
        let mut out = Vec::with_capacity(text.len() + 256);
        let mut next = 0;
        for hunk in &self.hunks {
            lines[next..hunk.at].iter().for_each(|line| out.extend(*line));
            out.extend(hunk.new.as_bytes());
            next = hunk.at + hunk.gone;
        }
        lines[next..].iter().for_each(|line| out.extend(*line));
        out
    }

    /// The change as `diff -U0` prints it, which `patch` takes.
    #[must_use]
    pub fn diff(&self, text: &[u8], path: &Path) -> String {
        let lines = parse::physical(text);
        let path = path.display();
        let mut out = format!("--- {path}\n+++ {path}\n");
        let (mut came, mut went) = (0, 0);
        for hunk in &self.hunks {
            let new: Vec<&str> = hunk.new.lines().collect();
            // A side without a line is named by the one before it.
            let begin = |at: usize, count: usize| if count == 0 { at } else { at + 1 };
            let (old_at, new_at) =
                (begin(hunk.at, hunk.gone), begin(hunk.at - went + came, new.len()));
            let _ = writeln!(out, "@@ -{old_at},{} +{new_at},{} @@", hunk.gone, new.len());
            for line in &lines[hunk.at..hunk.at + hunk.gone] {
                let _ = writeln!(out, "-{}", String::from_utf8_lossy(line).trim_end_matches('\n'));
            }
            for line in &new {
                let _ = writeln!(out, "+{line}");
            }
            (came, went) = (came + new.len(), went + hunk.gone);
        }
        out
    }
}

/// The service file, read, with what it includes.
struct File<'a> {
    name: &'a str,
    lines: Vec<Line>,
    physical: Vec<&'a [u8]>,
    /// The whole session stack.
    stack: Vec<StackLine>,
    /// Where an `@include` begins that brings a part of it.
    bring: Vec<usize>,
    has_substack: bool,
    /// The run of the stack without ours.
    others: Vec<Step>,
}

/// What puts the line into the file `name`, as its first session line. `load` reads a file that it includes.
///
/// # Errors
///
/// [`Refusal`], where that could keep somebody out or not do what it says.
pub fn add(name: &str, text: &[u8], load: Load<'_>) -> Result<Edit, Refusal> {
    let file = File::read(name, text, load)?;
    let ours = file.ours()?;
    if file.stack.len() == ours.len() {
        return Err(file.refuse(0, "has no session line but ours, so that libpam takes those of /etc/pam.d/other; write \
             \"@include common-session\" (Debian's) into it first, as in the file that openssh-server brings"));
    }
    let module = ours.first().map_or("pam_bastion.so", |(_, rule)| rule.module.as_str());
    let line = ours.first().map(|(line, _)| line.at + 1);
    let mut edit = Edit { module: module.to_owned(), line, ..Edit::default() };
    let wanted = match ours.first() {
        None => LINE.to_owned(),
        Some((line, rule)) => {
            let wanted = normal(rule);
            for (other, rule) in &ours {
                if rule.control.starts_with('[') {
                    return Err(file.refuse(other.at + 1, format!(
                        "control {} is more than is understood here; write optional, or remove the line, and try again",
                        rule.control
                    )));
                }
                if normal(rule).contains('\u{fffd}') {
                    return Err(file.refuse(other.at + 1, "is not UTF-8; write it anew"));
                }
                if normal(rule) != wanted {
                    return Err(file.refuse(
                        other.at + 1,
                        format!(
                            "another module or other arguments than in line {}; remove one of them",
                            line.at + 1
                        ),
                    ));
                }
                edit.mended
                    .extend(faults(rule).map(|fault| format!("line {}: {fault}", other.at + 1)));
            }
            wanted
        }
    };
    let mut gone = ours.as_slice();
    if let Some((line, rule)) = ours.first().filter(|(line, _)| file.is_first(line)) {
        // In its place: what is right stays as it is written.
        if faults(rule).next().is_some() {
            edit.hunks.push(Hunk { at: line.at, gone: line.count, new: format!("{wanted}\n") });
        }
        gone = &ours[1..];
        for (line, _) in gone {
            edit.mended.push(format!("line {}: told each login once more", line.at + 1));
        }
    } else {
        let at = file.first_session();
        edit.hunks.push(Hunk { at, gone: 0, new: format!("{COMMENT}\n{wanted}\n\n") });
        for (line, _) in gone {
            edit.mended.push(format!("line {}: stood behind other session lines", line.at + 1));
        }
    }
    for (line, _) in gone {
        file.check_jumps(line)?;
        edit.hunks.push(file.without(line));
    }
    file.check(&edit, text, load, true)?;
    Ok(edit)
}

/// What takes each line that loads our module out of the file `name`, whoever wrote it.
///
/// # Errors
///
/// [`Refusal`], as [`add`].
pub fn remove(name: &str, text: &[u8], load: Load<'_>) -> Result<Edit, Refusal> {
    let file = File::read(name, text, load)?;
    let ours = file.ours()?;
    if let Some((line, _)) = ours.first().filter(|_| ours.len() == file.stack.len()) {
        return Err(file.refuse(line.at + 1, "is the only session line: without it libpam takes those of /etc/pam.d/other, which may let nobody in; write \
             \"session required pam_permit.so\" below it, and try again"));
    }
    let line = ours.first().map(|(line, _)| line.at + 1);
    let mut edit = Edit { line, ..Edit::default() };
    for (line, _) in &ours {
        file.check_jumps(line)?;
        edit.hunks.push(file.without(line));
    }
    if edit.line.is_some() {
        file.check(&edit, text, load, false)?;
    }
    Ok(edit)
}

/// What the line ought to be, with its own module and arguments.
fn normal(rule: &Rule) -> String {
    let words = [LINE.rsplit_once(' ').map_or(LINE, |(begin, _)| begin), rule.module.as_str()];
    words.into_iter().chain(rule.arguments.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// What is wrong with the line itself.
fn faults(rule: &Rule) -> impl Iterator<Item = String> {
    let control = (rule.control != "optional").then(|| {
        format!("control {}: were the module's file missing, nobody could log in", rule.control)
    });
    let dash = (!rule.quiet).then(|| "without the dash a missing file fills the log".to_owned());
    control.into_iter().chain(dash)
}

impl<'a> File<'a> {
    fn read(name: &'a str, text: &'a [u8], load: Load<'_>) -> Result<Self, Refusal> {
        let refuse = |at: usize, text: String| Refusal { file: name.into(), line: at + 1, text };
        if text.len() as u64 > MAX_BYTES {
            let text =
                format!("has more than {MAX_BYTES} bytes, which no such file has; look at it");
            return Err(Refusal { file: name.into(), line: 0, text });
        }
        let (lines, faults) = parse::read(text);
        if let Some(Fault { at, text }) = faults.into_iter().next() {
            return Err(refuse(at, text));
        }
        for line in &lines {
            let Some(other) = line.says.includes() else { continue };
            if load(other).is_none() {
                return Err(refuse(line.at, cannot_include(other, "is it there?")));
            }
        }
        // Only names, to say where a line of the stack stands.
        let mut flat = Flat::new(Path::new(""), load);
        flat.read(name, text, 0, 0);
        let Flat { lines: stack, has_substack, others, .. } = flat;
        let brings = |line: &&Line| {
            let Says::Include(other) = &line.says else { return false };
            let mut flat = Flat::new(Path::new(""), load);
            flat.include(other, 1, 0);
            !flat.lines.is_empty()
        };
        let bring = lines.iter().filter(brings).map(|line| line.at).collect();
        Ok(Self {
            name,
            lines,
            physical: parse::physical(text),
            stack,
            bring,
            has_substack,
            others,
        })
    }

    fn refuse(&self, line: usize, text: impl Into<String>) -> Refusal {
        Refusal { file: self.name.into(), line, text: text.into() }
    }

    /// The lines of this file that load our module.
    fn ours(&self) -> Result<Vec<(&Line, &Rule)>, Refusal> {
        if let Some(line) =
            self.stack.iter().find(|line| is_ours(&line.module) && !self.is_own(line))
        {
            let file = line.file.display().to_string();
            let text = "this file is included by others as well, whose logins are told, too; remove the line, and try again";
            return Err(Refusal { file, line: line.number, text: text.into() });
        }
        let mut ours = Vec::new();
        for line in &self.lines {
            let Says::Rule(rule) = &line.says else { continue };
            if !is_ours(&rule.module) {
                continue;
            }
            if rule.kind != "session" {
                let text = format!(
                    "pam_bastion is for sessions, and this is {}; remove the line",
                    rule.kind
                );
                return Err(self.refuse(line.at + 1, text));
            }
            ours.push((line, rule));
        }
        Ok(ours)
    }

    fn is_own(&self, line: &StackLine) -> bool {
        line.file == Path::new(self.name)
    }

    /// Whether it is the first of the whole stack.
    fn is_first(&self, line: &Line) -> bool {
        self.stack.first().is_some_and(|first| self.is_own(first) && first.number == line.at + 1)
    }

    /// Before which line of the file the first session line belongs: above the comment of the one that is it now.
    fn first_session(&self) -> usize {
        let brings = |line: &&Line| match &line.says {
            Says::Rule(rule) => rule.kind == "session",
            Says::Include(_) => self.bring.contains(&line.at),
        };
        let mut at = self.lines.iter().find(brings).map_or(0, |line| line.at);
        let is_comment = |line: &[u8]| parse::is_idle(line) && line.contains(&b'#');
        while at > 0 && is_comment(self.physical[at - 1]) {
            at -= 1;
        }
        at
    }

    /// The line goes, and what was put there with it.
    fn without(&self, line: &Line) -> Hunk {
        let (mut at, mut gone) = (line.at, line.count);
        if at > 0 && self.physical[at - 1] == format!("{COMMENT}\n").as_bytes() {
            (at, gone) = (at - 1, gone + 1);
            if self.physical.get(at + gone).is_some_and(|next| *next == b"\n") {
                gone += 1;
            }
        }
        Hunk { at, gone, new: String::new() }
    }

    /// A line before that jumps over ours would jump over another without it.
    fn check_jumps(&self, line: &Line) -> Result<(), Refusal> {
        let own = |one: &StackLine| self.is_own(one) && one.number == line.at + 1;
        let Some(at) = self.stack.iter().position(own) else { return Ok(()) };
        for (from, other) in self.stack[..at].iter().enumerate() {
            let Some(jump) = longest_jump(&other.control) else { continue };
            if self.has_substack || from.saturating_add(jump) >= at {
                return Err(self.refuse(line.at + 1, format!(
                    "{}:{} jumps over {jump} lines, this one among them perhaps, and would jump over another one without it; \
                     move this line before that one by hand",
                    other.file.display(),
                    other.number
                )));
            }
        }
        Ok(())
    }

    /// Reads the result as libpam will: ours is the first or none, and all the rest is as it was.
    fn check(&self, edit: &Edit, text: &[u8], load: Load<'_>, there: bool) -> Result<(), Refusal> {
        let new = edit.apply(text);
        let after = File::read(self.name, &new, load)?;
        let ours: Vec<usize> =
            (0..after.stack.len()).filter(|at| is_ours(&after.stack[*at].module)).collect();
        let wanted: &[usize] = if there { &[0] } else { &[] };
        if ours != wanted || self.others() != after.others() {
            return Err(self.refuse(
                0,
                "cannot be changed without changing more than our line; do it by hand",
            ));
        }
        if !control::decides(&after.others) {
            // The word of ours would be the only one: with it everybody comes in, without it nobody.
            return Err(self.refuse(
                0,
                "no other session line decides who may come in; write \"session required pam_permit.so\" \
                 if everybody may, and try again",
            ));
        }
        Ok(())
    }

    fn others(&self) -> Vec<&Says> {
        let all = self.lines.iter().map(|line| &line.says);
        all.filter(|says| !matches!(says, Says::Rule(rule) if is_ours(&rule.module))).collect()
    }
}

/// The longest jump that a control in brackets may make.
fn longest_jump(control: &str) -> Option<usize> {
    let inside = control.strip_prefix('[')?;
    let numbers = inside.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    numbers.map(|digits| digits.parse().unwrap_or(usize::MAX)).max()
}

#[cfg(test)]
mod tests;
