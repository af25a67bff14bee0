//! The configuration file, as the PAM module and as the sender read it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use notifier::channel::Secrets;
use notifier::config::{Document, Finding, allowances, host, login};
use notifier::deliver::settings::Settings;
use notifier::known_good::{Facts, KnownGood, MAX_ENTRIES, Now, Verdict};

static SECRETS: LazyLock<Secrets> = LazyLock::new(Secrets::from_environment);

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    // A secret's file may be anywhere. To open one in these places can do something.
    if text.contains("/dev") || text.contains("/proc") || text.contains("/sys") {
        return Corpus::Reject;
    }
    // The module's way.
    let mut document = Document::parse(text);
    let broken = document.is_broken();
    let host = host::read(&mut document);
    let login = login::read(&mut document);
    check_findings(text, &document.findings_so_far());
    assert!(!broken || login == login::Login::unreadable(), "a broken file's rules are in force");
    // Of a file that is not understood to the end, no service goes unwatched.
    assert!(
        login
            .services
            .as_ref()
            .is_none_or(|services| !broken && !services.iter().any(String::is_empty))
    );
    check_login(&login);
    assert!(host.name.as_bytes().len() <= 64 || broken || !text.contains("host"));
    for path in [&host.spool, &host.run, &host.state, &host.syslog] {
        assert!(path.is_absolute(), "{path:?}");
    }
    // The sender's.
    match Settings::parse(text, &SECRETS) {
        Err(findings) => {
            assert!(!findings.is_empty());
            check_findings(text, &findings);
        }
        Ok(settings) => {
            assert!(!broken);
            assert_eq!((settings.host, settings.login), (host, login), "two readers, two meanings");
            let known = |name| settings.notify.channels.iter().any(|(known, _)| known == name);
            let stops = &settings.notify.policy.route.stops;
            assert!(stops.iter().all(|stop| known(&stop.channel)));
        }
    }
    check_allowances(text);
    Corpus::Keep
});

/// The same bytes as the file beside it: what is allowed there has a place and an end, is no more
/// than may be, and reads back as it is written.
fn check_allowances(text: &str) {
    const WRITTEN_S: i64 = 1_800_000_000;
    let read = allowances::parse(text, WRITTEN_S);
    let only_known = |finding: &&Finding| finding.line > 0;
    check_findings(text, &read.findings.iter().filter(only_known).cloned().collect::<Vec<_>>());
    assert!(read.list.len() <= allowances::MAX_ENTRIES);
    let most = i64::try_from(allowances::MAX_FOR.as_secs()).unwrap();
    for one in &read.list {
        let granted = one.rule.granted.as_ref().unwrap();
        assert!(one.rule.from.is_some() && one.rule.until.unwrap() - granted.at_s <= most);
    }
    let again = allowances::parse(&allowances::write(&read.list), WRITTEN_S);
    assert_eq!(again.findings, [], "{text:?}");
    let plain = |list: &[allowances::Allowance]| {
        let mut list = list.to_vec();
        // The number of an entry changes when one before it was left out.
        list.iter_mut().for_each(|one| one.rule.name.clear());
        list
    };
    assert_eq!(plain(&again.list), plain(&read.list));
    let rules = read.list.into_iter().map(|one| one.rule).collect();
    check_login(&login::Login { known_good: KnownGood { rules }, ..login::Login::default() });
}

fn check_findings(text: &str, findings: &[Finding]) {
    // A mistake at the very end of the text is on the line after its last line end.
    let lines = 1 + text.matches('\n').count();
    // Of too many, the last is a count of those left out.
    let is_count = |last: &Finding| last.line == 0 && last.message.starts_with("and ");
    let findings = match findings.split_last() {
        Some((last, rest)) if is_count(last) => rest,
        _ => findings,
    };
    for finding in findings {
        assert!((1..=lines).contains(&finding.line), "{finding:?} of {lines}");
        assert!(!finding.message.is_empty() && finding.to_string().contains(&finding.message));
    }
    assert!(findings.is_sorted());
}

fn check_login(login: &login::Login) {
    assert!(login.hold <= login::MAX_HOLD);
    assert!(login.keys.keys().all(|key| key.starts_with("SHA256:") && key.len() == 50));
    let rules = &login.known_good.rules;
    let nets = || rules.iter().filter_map(|rule| rule.from.as_ref()).flatten();
    assert!(nets().count() <= MAX_ENTRIES);
    assert!(nets().all(|net| net.prefix_len() > 0 && net.network() == net.addr()));
    for rule in rules {
        assert!(rule.from.is_some() || rule.users.is_some() || rule.keys.is_some(), "{rule:?}");
    }
    // Whatever the file says: a login from nowhere, and one through the tunnel by a rule that
    // does not spell it out, is told.
    let now = Now { unix_s: 1_800_000_000, not_before_s: 1_700_000_000 };
    let keys: Vec<&str> =
        rules.iter().flat_map(|rule| rule.keys.iter().flatten()).map(String::as_str).collect();
    let facts = Facts { user: b"root", source: None, keys: &keys, now, boot: None };
    assert!(matches!(login.known_good.verdict(&facts), Verdict::Alert(_)));
    let spelled = nets().any(|net| net.addr().is_loopback());
    let facts = Facts { source: Some([127, 0, 0, 1].into()), ..facts };
    assert!(spelled || matches!(login.known_good.verdict(&facts), Verdict::Alert(_)));
}
