//! What DigitalOcean and Hetzner have in common: a token, JSON, a machine with a number and a list of what was done
//! with it.
//!
//! Their states alone do not say all: a droplet is `off` until its start has ended, and a server is `running` until it
//! has shut down, whether it is about to or never will. So the last action is looked at as well.

use linkprobe::http::Answer;
use notifier::channel::rfc3339;
use notifier::channel::secret::Secret;
use notifier::clock::unix_ms;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Api, clock_of};
use crate::call::{Fault, Later, Machine, Report, State, Trouble};

/// How long a machine may take to shut down before its power is taken away.
pub const GRACE_MS: u64 = 2 * 60 * 1000;

/// What was done with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was started.
    Start,
    /// Its system was asked to shut down.
    Shutdown,
    /// Its power was taken away.
    PowerOff,
    /// Another thing that changes whether it runs.
    Other,
}

/// An action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What was done.
    pub kind: Kind,
    /// Whether it is still being done.
    pub is_under_way: bool,
    /// When it was begun: RFC 3339, in UTC.
    pub begun: String,
}

/// A provider's own ways.
pub trait Ways {
    /// Where machines are, below the API's address: `/servers`.
    const MACHINES: &'static str;
    /// The query for the last actions.
    const LAST: &'static str;

    /// The path below the machine's, and the body, of what is to be done.
    fn to_do(kind: Kind) -> (&'static str, &'static str);
    /// The machine's state and address.
    fn read(json: &Value) -> Option<Report>;
    /// The action, where it changes whether a machine runs.
    fn action(json: &Value) -> Option<Action>;
    /// The provider's word for an error, what it says of it, and whose fault it is by these.
    fn error(status: u16, json: &Value) -> Error;
}

/// An error as the provider says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Its word for it.
    pub code: String,
    /// What it says to a person.
    pub message: String,
    /// Whose fault it is; `None` where its status says it.
    pub fault: Option<Fault>,
}

/// A machine at such a provider.
pub struct Numbered<W> {
    api: Api,
    id: String,
    token: Secret,
    ways: std::marker::PhantomData<W>,
}

impl<W: Ways> Numbered<W> {
    /// The machine with this number.
    #[must_use]
    pub fn new(api: Api, id: String, token: Secret) -> Self {
        Self { api, id, token, ways: std::marker::PhantomData }
    }

    /// Asks below the machine's address; answers the JSON, and what time it is there.
    fn ask(&self, path: &str, body: Option<&str>) -> Result<(Value, u64), Trouble> {
        let url = self.api.url(&format!("{}/{}{path}", W::MACHINES, self.id));
        let mut headers = vec![("Authorization", format!("Bearer {}", self.token.expose()))];
        headers.extend(body.map(|_| ("Content-Type", "application/json".to_owned())));
        let answer = self.api.ask(&url, &headers, body.map(str::as_bytes))?;
        let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match json {
            Some(json) if (200..300).contains(&answer.status) => {
                Ok((json, clock_of(&answer).unwrap_or_else(unix_ms)))
            }
            None if (200..300).contains(&answer.status) => Err(self.api.strange(&answer)),
            json => Err(self.refused(&answer, &json.unwrap_or_default())),
        }
    }

    fn refused(&self, answer: &Answer, json: &Value) -> Trouble {
        let Error { code, message, fault } = W::error(answer.status, json);
        let why = self.api.said(answer.status, &code, &message);
        let usual = self.api.usual(answer, why);
        let fault = fault.unwrap_or(usual.fault);
        let remedy = match fault {
            Fault::Refused => "; check token-file, and that the token may read and write",
            Fault::Gone => "; check instance, and whose project the token is of",
            _ => "",
        };
        Trouble::new(fault, format!("{}{remedy}", usual.why))
    }

    /// How it is by its state alone, and its last action if that can be read.
    fn look(&self) -> Result<(Report, Option<Action>, u64), Trouble> {
        let (json, now_ms) = self.ask("", None)?;
        let no_state = || {
            let why = self.api.said(200, "", "an answer without a machine's state");
            Trouble::new(Fault::Unreachable, format!("{why}; check `endpoint`"))
        };
        let report = W::read(&json).ok_or_else(no_state)?;
        // A token that may not list them is good enough.
        let last = self.ask(&format!("/actions?{}", W::LAST), None).ok();
        Ok((report, last.and_then(|(json, _)| newest::<W>(&json)), now_ms))
    }

    fn act(&self, kind: Kind) -> Result<(), Trouble> {
        let (path, body) = W::to_do(kind);
        self.ask(path, Some(body)).map(|_| ())
    }
}

impl<W: Ways> Machine for Numbered<W> {
    fn describe(&self) -> Result<Report, Trouble> {
        let (report, last, now_ms) = self.look()?;
        Ok(seen(report, last.as_ref(), now_ms))
    }

    fn start(&self) -> Result<Report, Trouble> {
        match self.act(Kind::Start) {
            Ok(()) => Ok(State::Starting.into()),
            // Something is under way already, and perhaps the very start.
            Err(busy) if matches!(busy.fault, Fault::Later(Later::Busy, _)) => {
                match self.describe() {
                    Ok(report) if matches!(report.state, State::On | State::Starting) => Ok(report),
                    _ => Err(busy),
                }
            }
            Err(trouble) => Err(trouble),
        }
    }

    fn stop(&self) -> Result<Report, Trouble> {
        let (report, last, now_ms) = self.look()?;
        let kind = match next_to_stop(report.state, last.as_ref(), now_ms) {
            Next::Nothing => return Ok(seen(report, last.as_ref(), now_ms)),
            Next::Ask => Kind::Shutdown,
            Next::Force => Kind::PowerOff,
        };
        self.act(kind).map(|()| State::Stopping.into())
    }
}

#[derive(Deserialize)]
struct Actions {
    actions: Vec<Value>,
}

/// The last action of a list, in whatever order.
fn newest<W: Ways>(json: &Value) -> Option<Action> {
    let list = Actions::deserialize(json).ok()?;
    let ours = list.actions.iter().filter_map(|json| Some((W::action(json)?, json["id"].as_u64())));
    ours.max_by(|(one, id), (other, other_id)| (&one.begun, id).cmp(&(&other.begun, other_id)))
        .map(|(action, _)| action)
}

/// Whether an action was begun so long ago that it should have had its effect.
fn is_old(action: &Action, now_ms: u64) -> bool {
    let then = rfc3339::format(now_ms.saturating_sub(GRACE_MS));
    // Of both the seconds, as text: whoever adds fractions and offsets does it behind them, and is in UTC.
    action.begun.get(..19) < then.get(..19)
}

/// How a machine is, by its state and what was last done with it.
fn seen(report: Report, last: Option<&Action>, now_ms: u64) -> Report {
    let Some(last) = last else { return report };
    match (report.state, last.kind) {
        (State::Off, Kind::Start) if last.is_under_way => State::Starting.into(),
        (State::On, Kind::PowerOff) if last.is_under_way => State::Stopping.into(),
        (State::On, Kind::Shutdown) if last.is_under_way || !is_old(last, now_ms) => {
            State::Stopping.into()
        }
        _ => report,
    }
}

/// What is to be done for a machine to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Nothing,
    Ask,
    Force,
}

fn next_to_stop(state: State, last: Option<&Action>, now_ms: u64) -> Next {
    match (state, last.map(|last| (last.kind, last))) {
        (State::Off | State::Gone | State::Stopping, _) => Next::Nothing,
        (_, Some((Kind::Shutdown | Kind::PowerOff, last))) if last.is_under_way => Next::Nothing,
        // It was asked, and does not hear.
        (_, Some((Kind::Shutdown, last))) if is_old(last, now_ms) => Next::Force,
        (_, Some((Kind::Shutdown, _))) => Next::Nothing,
        _ => Next::Ask,
    }
}

/// The text of a field.
pub(crate) fn text<'a>(json: &'a Value, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn last(kind: Kind, is_under_way: bool, ago_s: u64) -> Option<Action> {
        let begun = rfc3339::format(NOW - ago_s * 1000);
        Some(Action { kind, is_under_way, begun })
    }

    #[test]
    fn a_machine_is_as_its_last_action_says_where_its_state_does_not() {
        let (off, on) = (State::Off, State::On);
        for (state, last, want) in [
            (off, None, off),
            (on, None, on),
            (off, last(Kind::Start, true, 3), State::Starting),
            (off, last(Kind::Start, false, 3), off),
            (on, last(Kind::Start, true, 3), on),
            (on, last(Kind::Shutdown, true, 300), State::Stopping),
            (on, last(Kind::Shutdown, false, 60), State::Stopping),
            (on, last(Kind::Shutdown, false, 130), on),
            (on, last(Kind::PowerOff, true, 3), State::Stopping),
            (on, last(Kind::PowerOff, false, 3), on),
            (off, last(Kind::Shutdown, true, 3), off),
            (on, last(Kind::Other, true, 3), on),
            (State::Starting, last(Kind::Shutdown, false, 9), State::Starting),
        ] {
            let seen = seen(state.into(), last.as_ref(), NOW);
            assert_eq!(seen.state, want, "{state:?} {last:?}");
        }
    }

    #[test]
    fn a_machine_is_asked_to_stop_and_forced_when_it_does_not_hear() {
        let on = State::On;
        for (state, last, want) in [
            (State::Off, None, Next::Nothing),
            (State::Stopping, None, Next::Nothing),
            (on, None, Next::Ask),
            (State::Starting, None, Next::Ask),
            (on, last(Kind::Start, false, 9000), Next::Ask),
            (on, last(Kind::Shutdown, true, 9000), Next::Nothing),
            (on, last(Kind::Shutdown, false, 60), Next::Nothing),
            (on, last(Kind::Shutdown, false, 130), Next::Force),
            (on, last(Kind::PowerOff, true, 9), Next::Nothing),
            // Somebody has started it since, in a way that is not in the list.
            (on, last(Kind::PowerOff, false, 9), Next::Ask),
            (on, last(Kind::Other, false, 9), Next::Ask),
        ] {
            assert_eq!(next_to_stop(state, last.as_ref(), NOW), want, "{state:?} {last:?}");
        }
    }
}
