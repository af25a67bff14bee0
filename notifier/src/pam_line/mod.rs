//! The PAM line: whether it is in place, and how it gets there and away ([`edit`]). Reads /etc/pam.d as
//! libpam would, for the session stack.

pub mod control;
pub mod edit;
pub mod parse;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use control::Step;
use parse::Says;

/// How deep `@include` may go; libpam stops at 32 as well.
const MAX_DEPTH: usize = 32;

/// Most files that are read for one stack: two that include each other twice would be 2^32.
const MAX_FILES: usize = 1000;

/// Where libpam looks for a file that is not in /etc/pam.d.
const VENDOR: &str = "/usr/lib/pam.d";

/// A line of a session stack (pam.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackLine {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its number there, from 1.
    pub number: usize,
    /// `-session`: no word in the log when the module is missing.
    pub quiet: bool,
    /// `optional`, `required`, `[success=ok ...]`.
    pub control: String,
    /// The module's path or name.
    pub module: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The session stack of `service`, with everything it includes, in order. A file that is
/// not there is an empty one, and what libpam would not understand is left out.
#[must_use]
pub fn session_stack(pam_d: &Path, service: &str) -> Vec<StackLine> {
    let read = |name: &str| fs::read(pam_d.join(name)).ok();
    let mut flat = Flat::new(pam_d, &read);
    flat.include(service, 0, 0);
    flat.lines
}

/// What libpam does not understand, or not always, of `service` and all that it includes, of every type: it lets
/// nobody in then. Each with file and line, and what to do. A service without a file has no faults: libpam takes `other`.
#[must_use]
pub fn faults(pam_d: &Path, service: &str) -> Vec<String> {
    let read = |name: &str| match fs::read(pam_d.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => fs::read(Path::new(VENDOR).join(name)),
        read => read,
    };
    faults_of(pam_d, service, &read)
}

/// As [`faults`], with who reads a file by its name. Pure.
fn faults_of(
    pam_d: &Path,
    service: &str,
    read: &dyn Fn(&str) -> io::Result<Vec<u8>>,
) -> Vec<String> {
    let Ok(text) = read(service) else { return Vec::new() };
    let mut found = Vec::new();
    let mut seen = vec![service.to_owned()];
    let mut texts = vec![(service.to_owned(), text)];
    while let Some((name, text)) = texts.pop() {
        let file = pam_d.join(&name);
        let (lines, faults) = parse::read(&text);
        let mut of_file: Vec<(usize, String)> =
            faults.into_iter().map(|fault| (fault.at, fault.text)).collect();
        let mut next = Vec::new();
        for line in lines {
            let Some(other) = line.says.includes() else { continue };
            if seen.iter().any(|name| name == other) {
                continue;
            }
            match read(other) {
                Ok(text) => {
                    seen.push(other.to_owned());
                    next.push((other.to_owned(), text));
                }
                // Who is not root may not see all that libpam sees.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => of_file.push((line.at, cannot_include(other, &error.to_string()))),
            }
        }
        of_file.sort();
        found.extend(
            of_file.into_iter().map(|(at, text)| format!("{}:{}: {text}", file.display(), at + 1)),
        );
        // In their order.
        texts.extend(next.into_iter().rev());
    }
    found
}

/// What is wrong with a line that includes what cannot be read.
fn cannot_include(name: &str, why: &str) -> String {
    format!(
        "includes {name}, which cannot be read ({why}), so that libpam lets nobody in; mend the name, or remove the line"
    )
}

/// Reads a file and all that it includes into one stack.
struct Flat<'a> {
    pam_d: &'a Path,
    load: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    lines: Vec<StackLine>,
    /// Whether a part of it is a `substack`, which counts as one line for a jump.
    has_substack: bool,
    /// The run of it, without our lines.
    others: Vec<Step>,
    files: usize,
}

impl<'a> Flat<'a> {
    fn new(pam_d: &'a Path, load: &'a dyn Fn(&str) -> Option<Vec<u8>>) -> Self {
        Self { pam_d, load, lines: Vec::new(), has_substack: false, others: Vec::new(), files: 0 }
    }

    fn include(&mut self, name: &str, depth: usize, level: usize) {
        self.files += 1;
        if depth > MAX_DEPTH || self.files > MAX_FILES {
            return;
        }
        if let Some(text) = (self.load)(name) {
            self.read(name, &text, depth, level);
        }
    }

    fn read(&mut self, name: &str, text: &[u8], depth: usize, level: usize) {
        for line in parse::read(text).0 {
            match line.says {
                Says::Include(other) => self.include(&other, depth + 1, level),
                Says::Rule(rule) if rule.kind != "session" => {}
                Says::Rule(rule) if rule.includes() => {
                    let deeper = usize::from(rule.control == "substack");
                    if deeper > 0 {
                        self.has_substack = true;
                        self.others.push(Step { level, actions: vec![control::Action::Ignore] });
                    }
                    self.include(&rule.module, depth + 1, level + deeper);
                }
                Says::Rule(rule) => {
                    if !is_ours(&rule.module) {
                        let actions = control::actions(&rule.control);
                        self.others.push(Step { level, actions });
                    }
                    self.lines.push(StackLine {
                        file: self.pam_d.join(name),
                        number: line.at + 1,
                        quiet: rule.quiet,
                        control: rule.control,
                        module: rule.module,
                        arguments: rule.arguments,
                    });
                }
            }
        }
    }
}

/// Where libpam looks for a module that is named without a path, by distribution.
const MODULE_DIRS: [&str; 7] = [
    "/lib/x86_64-linux-gnu/security",
    "/lib/aarch64-linux-gnu/security",
    "/lib/arm-linux-gnueabihf/security",
    "/lib/security",
    "/lib64/security",
    "/usr/lib/security",
    "/usr/lib64/security",
];

/// The file of a module, named as in a line; `None` when it is not where libpam looks.
#[must_use]
pub fn module_file(module: &str) -> Option<PathBuf> {
    let mut dirs = MODULE_DIRS.iter().map(|dir| Path::new(dir).join(module));
    // A whole path takes the place of the directory.
    dirs.find(|path| path.is_file())
}

/// Whether a line loads our module, by its name or by its path.
fn is_ours(module: &str) -> bool {
    module.rsplit('/').next() == Some("pam_bastion.so")
}

/// What is wrong with the place of our line in a stack, each with what to do. Pure.
#[must_use]
pub fn judge(service: &str, stack: &[StackLine], config: &Path) -> Vec<String> {
    let ours: Vec<usize> = (0..stack.len()).filter(|at| is_ours(&stack[*at].module)).collect();
    let Some(first) = ours.first().copied() else {
        return vec![format!(
            "/etc/pam.d/{service} has no pam_bastion line, so no login is told; {}",
            match service {
                "sshd" => "run: bastion enable",
                _ => "add as its first session line: -session optional pam_bastion.so",
            }
        )];
    };
    let place = |line: &StackLine| format!("{}:{}", line.file.display(), line.number);
    let line = &stack[first];
    let at = place(line);
    // bastion enable is for sshd.
    let fix = |by_hand: &'static str| match service {
        "sshd" => "run: bastion enable",
        _ => by_hand,
    };
    let mut findings = Vec::new();
    if let Some(second) = ours.get(1) {
        findings.push(format!(
            "{at} and {} both load pam_bastion, so each login is told twice; {}",
            place(&stack[*second]),
            fix("remove one")
        ));
    }
    for line in ours.iter().map(|at| &stack[*at]) {
        let at = place(line);
        if line.control != "optional" {
            findings.push(format!(
                "{at}: control {:?}: were the module's file missing, nobody could log in; write -session optional",
                line.control
            ));
        }
        if !line.quiet {
            findings.push(format!(
                "{at}: without the dash a missing file fills the log; write -session optional"
            ));
        }
    }
    if let Some(other) = control::passes_over(stack, first) {
        findings.push(format!(
            "{} may end the stack or jump over the pam_bastion line, so logins are not told; {}",
            place(other),
            fix("move the pam_bastion line before it")
        ));
    }
    let reads_users_file = |other: &&StackLine| {
        other.module.ends_with("pam_env.so")
            && other.arguments.iter().any(|arg| arg == "user_readenv=1")
    };
    if let Some(env) = stack[..first].iter().find(reads_users_file) {
        findings.push(format!(
            "{at}: stands behind {}, which lets a user's ~/.pam_environment change what is told \
             of his login; move the pam_bastion line before it",
            place(env)
        ));
    }
    if line.file.file_name().is_some_and(|name| name != service) {
        findings.push(format!(
            "{at}: this file is included by other services as well; move the line to /etc/pam.d/{service}"
        ));
    }
    let given = line.arguments.iter().find_map(|arg| arg.strip_prefix("config="));
    let reads = given.unwrap_or(crate::config::DEFAULT_PATH);
    if Path::new(reads) != config {
        findings.push(format!(
            "{at}: the module reads {reads}, not the {} checked here",
            config.display()
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of what matters in Debian 12's /etc/pam.d, with `line` put at `place`.
    fn stack(place: &str, line: &str) -> Vec<String> {
        let dir = std::env::temp_dir().join(format!(
            "notifier-pam-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir_all(&dir).unwrap();
        let at = |here: &str| if here == place { format!("{line}\n") } else { String::new() };
        let sshd = format!(
            "# comment\n@include common-auth\n{}session    required   pam_loginuid.so\n@include common-session\n\
             session required pam_env.so \\\n  user_readenv=1 envfile=/etc/default/locale\n{}",
            at("first"),
            at("last")
        );
        fs::write(dir.join("sshd"), sshd).unwrap();
        let common = format!(
            "session [default=1] pam_permit.so\nsession required pam_unix.so # {}\n{}",
            "x",
            at("common")
        );
        fs::write(dir.join("common-session"), common).unwrap();
        let findings =
            judge("sshd", &session_stack(&dir, "sshd"), Path::new(crate::config::DEFAULT_PATH));
        fs::remove_dir_all(&dir).unwrap();
        findings
    }

    #[test]
    fn each_wrong_place_is_told_and_the_right_one_is_not() {
        let good = "-session optional pam_bastion.so";
        let table: &[(&str, &str, Option<&str>)] = &[
            ("first", good, None),
            ("first", "-session optional /usr/lib/x86_64-linux-gnu/security/pam_bastion.so", None),
            ("nowhere", good, Some("no pam_bastion line")),
            ("first", "#-session optional pam_bastion.so", Some("no pam_bastion line")),
            ("first", "auth optional pam_bastion.so", Some("no pam_bastion line")),
            ("first", "-session required pam_bastion.so", Some("nobody could log in")),
            ("first", "session optional pam_bastion.so", Some("dash")),
            ("last", good, Some("pam_environment")),
            ("common", good, Some("other services")),
            ("first", "-session optional pam_bastion.so config=/x", Some("/x")),
        ];
        for (place, line, want) in table {
            let findings = stack(place, line);
            match want {
                None => assert_eq!(findings, [""; 0], "{place} {line}"),
                Some(want) => assert!(
                    findings.len() == 1 && findings[0].contains(want),
                    "{place} {line}: {findings:?}"
                ),
            }
        }
    }

    #[test]
    fn what_libpam_refuses_is_told_with_its_place() {
        let read = |name: &str| match name {
            "common" => Ok(b"# x\nsesion required pam_x.so\n@include common\n".to_vec()),
            "secret" => Err(ErrorKind::PermissionDenied.into()),
            "good" => Ok(b"auth required pam_x.so\n@include common\n@include secret\n".to_vec()),
            "nosuch" => {
                Ok(b"@include common\n\nauth include gone\n@include gone2\nsession x".to_vec())
            }
            "control" => Ok(b"session requird pam_x.so\n".to_vec()),
            _ => Err(ErrorKind::NotFound.into()),
        };
        for (service, want) in [
            ("secret", &[][..]),
            ("not-there", &[]),
            ("good", &["/p/common:2: begins with \"sesion\""]),
            (
                "nosuch",
                &[
                    "/p/nosuch:3: includes gone, which",
                    "/p/nosuch:4: includes gone2, which",
                    "/p/nosuch:5: has no module; remove",
                    "/p/common:2: begins",
                ],
            ),
            ("control", &["/p/control:1: control requird is none"]),
        ] {
            let found = faults_of(Path::new("/p"), service, &read);
            let fits =
                |(found, want): (&String, &&str)| found.starts_with(want) && found.contains("; ");
            let all = found.len() == want.len() && found.iter().zip(want).all(fits);
            assert!(all, "{service}: {found:#?}");
        }
    }

    #[test]
    fn two_lines_are_one_too_many() {
        let twice = "-session optional pam_bastion.so\n-session optional pam_bastion.so";
        let found = stack("first", twice);
        assert!(
            found.len() == 1 && found[0].contains("told twice; run: bastion enable"),
            "{found:?}"
        );
        // A good one does not hide a bad one.
        let hides = "session required pam_bastion.so\n-session optional pam_bastion.so";
        let found = stack("first", hides);
        assert!(found.len() == 3 && found[1].contains("nobody could log in"), "{found:?}");
    }

    #[test]
    fn a_line_that_may_not_be_reached_is_told() {
        let good = "-session optional pam_bastion.so";
        for (before, fine) in [
            ("session sufficient pam_succeed_if.so user = x", false),
            ("session [success=done default=ignore] pam_x.so", false),
            ("session [success=1 default=ignore] pam_x.so", false),
            ("session [success=1 default=ignore] pam_x.so\nsession optional pam_y.so", true),
            ("session requisite pam_x.so\nsession [default=die] pam_y.so", true),
        ] {
            let found = stack("first", &format!("{before}\n{good}"));
            assert_eq!(found.is_empty(), fine, "{before}: {found:?}");
            let text = "/sshd:3 may end the stack or jump over the pam_bastion line, so logins are not told; run: bastion enable";
            assert!(fine || found.len() == 1 && found[0].ends_with(text), "{found:?}");
        }
    }
}
