//! `bastion why`: the verdict on a login, and what each rule says.

use std::fmt::Write;
use std::path::Path;
use std::time::UNIX_EPOCH;

use lexopt::ValueExt;

use super::Options;
use crate::clock::Stamp;
use crate::config::{self, Document, Finding, allowances, login};
use crate::exit::{Failure, print};
use crate::known_good::{Facts, KnownGood, Now, Verdict, parse_address, parse_fingerprint};

pub(super) const HELP: &str = " ADDRESS [--user NAME] [--key SHA256:...]...

Says whether a login from ADDRESS would be told or only logged, and what each rule of [login] and
each allowance (bastion allow) says to it. Reads the files as the PAM module does: what is wrong
in them is left out, and told.

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
    let mut policy = login::read(&mut document);
    let mut left_out = left_out(&options.config, &document.findings_so_far());
    // As the module: without a configuration that is understood, nobody is known good.
    if !document.is_broken() {
        match allowances::load(&options.config) {
            Ok(read) => {
                let rules = read.list.into_iter().map(|allowance| allowance.rule);
                policy.known_good.rules.extend(rules);
                left_out += &self::left_out(&allowances::path(&options.config), &read.findings);
            }
            Err(error) => {
                let _ = writeln!(left_out, "left out: {error}");
            }
        }
    }
    let at = Stamp::now();
    let written = file.modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = |s: u64| i64::try_from(s).unwrap_or(i64::MAX);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let facts = Facts {
        user: user.as_bytes(),
        source: Some(source),
        keys: &keys,
        now: Now { unix_s: seconds(at.unix_ms / 1000), not_before_s: seconds(written) },
        boot: at.boot.as_ref(),
    };
    print(&(explain(&policy.known_good, &facts) + &left_out));
    Ok(())
}

fn left_out(file: &Path, findings: &[Finding]) -> String {
    let line = |finding| format!("left out: {}: {finding}\n", file.display());
    findings.iter().map(line).collect()
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
