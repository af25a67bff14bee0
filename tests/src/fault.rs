//! What the stand-in provider is told to do wrong, and for how long.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// One rule of misbehaviour: a line of JSON to the provider's standard input, or the body of
/// `PUT /control`. Rules are taken in order, each until its count or time is used up;
/// without either it holds until `{"do":"clear"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fault {
    /// What to do.
    #[serde(rename = "do")]
    pub act: Act,
    /// For so many requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// For so long, counted from the moment the rule arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Only for requests of this method: `POST` (the default), `GET`, or `any`.
    #[serde(default = "Fault::post")]
    pub on: String,
    /// Whether the message is accepted (a valid POST enters the list) all the same.
    #[serde(default)]
    pub accept: bool,
    /// HTTP status, for `status` and `huge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Twilio's error code in the body; by default the one that belongs to the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// Value of a `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// Time to wait before doing it.
    #[serde(default)]
    pub delay_ms: u64,
}

/// The ways to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Not to: the right answer, perhaps late (`delay-ms`).
    Ok,
    /// Forget all rules.
    Clear,
    /// Close the listening socket, so that a connect is refused. Takes `for-ms`, or lasts
    /// until `clear` (by standard input: nobody can connect).
    Refuse,
    /// Never answer; the connection stays open.
    Hang,
    /// Answer `status` with Twilio's error body.
    Status,
    /// Answer `status` (default 401) with an error text that repeats the credentials of the
    /// request, as they came and decoded: what a debugging proxy may do.
    Echo,
    /// Answer something that is not HTTP.
    Garbage,
    /// Answer 201 with a body that is not JSON.
    BadJson,
    /// Answer `status` (default 201) with 1 GiB of body.
    Huge,
    /// End the connection by RST, without an answer.
    Reset,
    /// Close the connection without an answer.
    Close,
    /// The right answer, one byte a second.
    Drip,
}

impl Fault {
    /// `act` for every POST until cleared.
    #[must_use]
    pub fn new(act: Act) -> Self {
        Self {
            act,
            count: None,
            for_ms: None,
            on: Self::post(),
            accept: false,
            status: None,
            code: None,
            retry_after: None,
            delay_ms: 0,
        }
    }

    /// `status` as the answer.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::new(Act::Status) }
    }

    /// The message is accepted, then the connection reset before any answer: the case in
    /// which a blind retry is a second SMS.
    #[must_use]
    pub fn reset_after_accept() -> Self {
        Self { accept: true, ..Self::new(Act::Reset) }
    }

    /// The same for `count` requests only.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }

    /// The same for `time` only.
    #[must_use]
    pub fn lasting(self, time: Duration) -> Self {
        Self { for_ms: Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)), ..self }
    }

    /// The same for requests of `method`; `any` for all.
    #[must_use]
    pub fn on(self, method: &str) -> Self {
        Self { on: method.to_owned(), ..self }
    }

    /// The same with a `Retry-After` header.
    #[must_use]
    pub fn retry_after(self, value: &str) -> Self {
        Self { retry_after: Some(value.to_owned()), ..self }
    }

    /// The same with this error code of Twilio's.
    #[must_use]
    pub fn code(self, code: u32) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same, but the message enters the list.
    #[must_use]
    pub fn accepting(self) -> Self {
        Self { accept: true, ..self }
    }

    /// The same after `time`.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { delay_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX), ..self }
    }

    fn post() -> String {
        "POST".to_owned()
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Script {
    rules: Vec<(Fault, Instant)>,
}

impl Script {
    /// Takes a rule, or forgets all of them.
    pub fn apply(&mut self, fault: Fault, now: Instant) {
        if fault.act == Act::Clear {
            self.rules.clear();
        } else {
            self.rules.push((fault, now));
        }
    }

    /// What to do with a request of `method`; uses up one count of the rule. Connections
    /// that a `refuse` rule meets are dealt with before there is a request.
    pub fn next(&mut self, method: &str, now: Instant) -> Option<Fault> {
        self.expire(now);
        let matches =
            |fault: &Fault| fault.act != Act::Refuse && (fault.on == "any" || fault.on == method);
        let (fault, _) = self.rules.iter_mut().find(|(fault, _)| matches(fault))?;
        if let Some(count) = &mut fault.count {
            *count = count.saturating_sub(1);
        }
        Some(fault.clone())
    }

    /// Until when connections are refused: `None` when they are not.
    pub fn refused_until(&mut self, now: Instant) -> Option<Until> {
        self.expire(now);
        let (fault, since) = self.rules.iter().find(|(fault, _)| fault.act == Act::Refuse)?;
        Some(match fault.for_ms {
            Some(ms) => Until::Time(*since + Duration::from_millis(ms)),
            None => Until::Cleared,
        })
    }

    fn expire(&mut self, now: Instant) {
        self.rules.retain(|(fault, since)| {
            let over = |ms| now >= *since + Duration::from_millis(ms);
            fault.count != Some(0) && !fault.for_ms.is_some_and(over)
        });
    }
}

/// The end of a time of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Known beforehand.
    Time(Instant),
    /// When a `clear` comes.
    Cleared,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_from_json() {
        let fault: Fault =
            serde_json::from_str(r#"{"do":"status","status":429,"retry-after":"3","count":2}"#)
                .unwrap();
        assert_eq!(fault, Fault::status(429).retry_after("3").times(2));
        assert!(serde_json::from_str::<Fault>(r#"{"do":"hang","mood":"bad"}"#).is_err());
    }

    #[test]
    fn a_count_is_used_up_and_the_next_rule_follows() {
        let now = Instant::now();
        let mut script = Script::default();
        script.apply(Fault::status(500).times(1), now);
        script.apply(Fault::new(Act::Hang).on("any"), now);
        assert_eq!(script.next("POST", now).unwrap().act, Act::Status);
        assert_eq!(script.next("POST", now).unwrap().act, Act::Hang);
        assert_eq!(script.next("GET", now).unwrap().act, Act::Hang);
        script.apply(Fault::new(Act::Clear), now);
        assert_eq!(script.next("POST", now), None);
    }

    #[test]
    fn a_time_runs_out() {
        let now = Instant::now();
        let mut script = Script::default();
        script.apply(Fault::new(Act::Refuse).lasting(Duration::from_secs(2)), now);
        assert!(script.refused_until(now).is_some());
        assert!(script.refused_until(now + Duration::from_secs(2)).is_none());
    }
}
