//! The tunnels, as tunnelwatch knows them: its `check` and its `status`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::plan::Tunnel;
use super::report::{Part, State};
use crate::cli::others::{self, Said};
use crate::clock::unix_ms;
use crate::daemon::words;
use crate::doctor::finding::Finding;
use crate::doctor::programs::{self, Answer};

/// Longest time for `tunnelwatch check`, which asks the jump host for half a minute.
const MOST: Duration = Duration::from_secs(50);

/// How the text begins that tells of a tunnelwatch that does not run.
pub const NOT_RUNNING: &str = "tunnelwatch run does not work here";

/// How the text of a tunnel begins whose jump host is off, as it is to be.
const OFF: &str = "off by plan";

/// Of a login by a tunnel that is off by plan: that it could not be, and has not failed.
#[must_use]
pub fn excuse(tunnels: &[Part], login: Part) -> Part {
    let Some(name) = login.name.strip_prefix("login ") else { return login };
    let tunnel = format!("tunnel {name}");
    let is_off = |part: &Part| part.name == tunnel && part.text.starts_with(OFF);
    match tunnels.iter().any(is_off) && login.state == State::Failed {
        true => Part {
            state: State::Skipped,
            text: "the tunnel is off by plan".into(),
            fix: String::new(),
            ..login
        },
        false => login,
    }
}

/// Looks at all of them. `known` are mistakes in the file that are told already.
#[must_use]
pub fn look(config: &Path, tunnels: &[Tunnel], known: &[String]) -> Vec<Part> {
    let status = others::find("tunnelwatch").map_or(Answer::Missing, |program| {
        let mut command = Command::new(program);
        command.arg("--config").arg(config).args(["status", "--json"]);
        programs::hear(command, programs::DEADLINE)
    });
    let said = others::check_tunnels(config, known, MOST);
    judge(tunnels, &status, &said, unix_ms() / 1000)
}

/// What tunnelwatch's words mean, a part a tunnel, and one for what is of none.
fn judge(tunnels: &[Tunnel], status: &Answer, said: &Said, now_s: u64) -> Vec<Part> {
    let book = match status {
        Answer::Said { out, .. } => serde_json::from_str::<Value>(out).unwrap_or_default(),
        _ => Value::Null,
    };
    let begin = |tunnel: &Tunnel| format!("tunnel {}: ", tunnel.name);
    let mut parts: Vec<Part> = Vec::new();
    for tunnel in tunnels {
        let name = format!("tunnel {}", tunnel.name);
        let state = &book["tunnels"][&tunnel.name];
        let begin = begin(tunnel);
        let mut own = said
            .findings
            .iter()
            .filter_map(|finding| Some((finding.text.strip_prefix(&begin)?, finding.fix.as_str())));
        parts.push(match (own.next(), state["up"].as_bool()) {
            (Some((text, fix)), _) => Part::new(name, State::Failed, text, fix),
            (None, Some(false)) if state["off-by-plan"] == true => {
                let why = state["why"].as_str().unwrap_or("nobody needs it");
                let fix = format!(
                    "tunnelwatch jump start {0}, bastion drill, tunnelwatch jump stop {0}",
                    tunnel.name
                );
                Part::skipped(name, format!("{OFF}: {why}"), fix)
            }
            (None, Some(false)) => {
                let why = state["why"].as_str().unwrap_or("it has not worked yet");
                Part::told(&name, State::Failed, &format!("down: {why}"))
            }
            (None, Some(true)) => Part::ok(name, up(state, now_s)),
            (None, None) => {
                let fix = "systemctl status tunnelwatch";
                Part::new(
                    name,
                    State::Warning,
                    "nobody knows how it is: tunnelwatch does not say",
                    fix,
                )
            }
        });
    }
    let of_none = said
        .findings
        .iter()
        .filter(|finding| !tunnels.iter().any(|tunnel| finding.text.starts_with(&begin(tunnel))));
    // By the first of the worst it is told.
    let mut of_none: Vec<&Finding> = of_none.collect();
    of_none.sort_by_key(|finding| !finding.text.starts_with(NOT_RUNNING));
    let rest = Part::of_findings("tunnelwatch", of_none, "nothing is wrong with what it does");
    if rest.state != State::Ok || tunnels.is_empty() {
        parts.push(rest);
    }
    parts
}

/// `up for 3 h on port 2222 of the jump host, proved 12 s ago, and nothing is wrong with it`.
fn up(state: &Value, now_s: u64) -> String {
    let ago = |key: &str| {
        state[key].as_u64().map(|at| words(Duration::from_secs(now_s.saturating_sub(at))))
    };
    let mut text = "up".to_owned();
    if let Some(since) = ago("since-s") {
        text += &format!(" for {since}");
    }
    if let Some(port) = state["port"].as_u64() {
        text += &format!(" on port {port} of the jump host");
    }
    if let Some(proved) = ago("proved-s") {
        text += &format!(", proved {proved} ago");
    }
    text + ", and nothing is wrong with it"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Severity;

    fn tunnel(name: &str) -> Tunnel {
        let target = "127.0.0.1:22".parse().unwrap();
        Tunnel { name: name.into(), external: false, target, certificates: Vec::new() }
    }

    #[test]
    fn each_tunnel_is_a_part_and_what_is_of_none_another() {
        let status =
            |json: &str| Answer::Said { code: Some(0), out: json.into(), err: String::new() };
        let up = r#"{"tunnels":{"home":{"up":true,"port":2222,"since-s":40,"proved-s":90}}}"#;
        let down =
            r#"{"tunnels":{"home":{"up":false,"why":"the jump host refuses; is sshd up?"}}}"#;
        let said = |lines: &[&str]| Said {
            findings: lines
                .iter()
                .map(|line| Finding::told(Severity::Critical, "x", "", line))
                .collect(),
            told: Vec::new(),
        };
        let table = [
            (
                up,
                said(&[]),
                "ok tunnel home: up for 60 s on port 2222 of the jump host, proved 10 s ago, \
                             and nothing is wrong with it ->",
            ),
            (down, said(&[]), "failed tunnel home: down: the jump host refuses -> is sshd up?"),
            (
                up,
                said(&["tunnel home: permitlisten is missing; write it"]),
                "failed tunnel home: permitlisten is missing -> write it",
            ),
            (
                "",
                said(&[]),
                "warning tunnel home: nobody knows how it is: tunnelwatch does not say -> \
                             systemctl status tunnelwatch",
            ),
        ];
        for (json, said, want) in table {
            let parts = judge(&[tunnel("home")], &status(json), &said, 100);
            let [part] = &parts[..] else { panic!("{parts:?}") };
            let got =
                format!("{} {}: {} -> {}", part.state.as_str(), part.name, part.text, part.fix);
            assert_eq!(got.trim(), want.trim(), "{json}");
        }
        let off = r#"{"tunnels":{"home":{"up":false,"off-by-plan":true,"why":"main is up"}}}"#;
        let parts = judge(&[tunnel("home")], &status(off), &said(&[]), 100);
        assert_eq!((parts[0].state, &*parts[0].text), (State::Skipped, "off by plan: main is up"));
        let login = |name: &str, state| excuse(&parts, Part::new(name, state, "no way", "x")).state;
        assert_eq!(login("login home", State::Failed), State::Skipped);
        assert_eq!(login("login home", State::Ok), State::Ok);
        assert_eq!(login("login other", State::Failed), State::Failed);
        let parts = judge(
            &[tunnel("home")],
            &status(up),
            &said(&["a line of the file; mend it", "tunnelwatch run does not work here; x"]),
            100,
        );
        assert_eq!((&*parts[1].name, parts[1].state), ("tunnelwatch", State::Failed));
        let text = "tunnelwatch run does not work here (and 1 more: bastion check)";
        assert_eq!((&*parts[1].text, &*parts[1].fix), (text, "x"));
        let parts = judge(&[], &Answer::Missing, &said(&[]), 100);
        assert_eq!(
            (parts.len(), parts[0].state),
            (1, State::Ok),
            "a jump host, on which nothing is wrong"
        );
    }
}
