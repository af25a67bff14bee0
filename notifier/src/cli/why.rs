//! `bastion why`: the verdict on a login, and what each rule says.

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use lexopt::ValueExt;

use super::exit::print;
use super::{Failure, Options};
use crate::clock::unix_ms;
use crate::config::{self, Document, login};
use crate::known_good::{Facts, KnownGood, Now, Verdict, parse_address, parse_fingerprint};

pub(super) const HELP: &str = " ADDRESS [--user NAME] [--key SHA256:...]...

Says whether a login from ADDRESS would be told or only logged, and what each rule of [login]
says to it. Reads the file as the PAM module does: what is wrong in it is left out, and told.

  --user NAME       the user who logs in (default: a user in no rule)
  --key SHA256:...  a key that authenticates, as ssh-keygen -lf prints it; may be repeated
";

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let (mut address, mut user, mut keys) = (None, String::new(), Vec::new());
    while let Some(arg) = options.next()? {
        match arg {
            lexopt::Arg::Long("user") => user = value(&mut options)?,
            lexopt::Arg::Long("key") => {
                keys.push(parse_fingerprint(&value(&mut options)?).map_err(Failure::data)?);
            }
            lexopt::Arg::Value(text) if address.is_none() => {
                let text = text.string().map_err(Failure::usage)?;
                let parsed = parse_address(&text).ok_or_else(|| {
                    Failure::data(format!("{text:?} is no address; names are never looked up"))
                })?;
                address = Some(parsed);
            }
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    let source = address.ok_or_else(|| Failure::usage("an address is missing"))?;
    let file = config::read_file(&options.config).map_err(Failure::config)?;
    let mut document = Document::parse(&file.text);
    let policy = login::read(&mut document);
    let written = file.modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = |s: u64| i64::try_from(s).unwrap_or(i64::MAX);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let facts = Facts {
        user: user.as_bytes(),
        source: Some(source),
        keys: &keys,
        now: Now { unix_s: seconds(unix_ms() / 1000), not_before_s: seconds(written) },
    };
    let mut text = explain(&policy.known_good, &facts);
    for finding in document.findings_so_far() {
        let _ = writeln!(text, "left out: {}: {finding}", options.config.display());
    }
    print(&text);
    Ok(())
}

fn value(options: &mut Options) -> Result<String, Failure> {
    options.rest.value().and_then(|value| value.string()).map_err(Failure::usage)
}

fn explain(policy: &KnownGood, facts: &Facts<'_>) -> String {
    let mut text = match policy.verdict(facts) {
        Verdict::KnownGood(rule) => format!("known good, by rule {rule}: only logged\n"),
        Verdict::Alert(reason) => format!("alert: {reason}\n"),
    };
    for rule in &policy.rules {
        let _ = match rule.check(facts) {
            Ok(()) => writeln!(text, "  {}: matches", rule.name),
            Err(miss) => writeln!(text, "  {}: {miss}", rule.name),
        };
    }
    text
}
