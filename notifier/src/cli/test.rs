//! `bastion test`: one message over each channel, now, and the provider's answer in words.

use lexopt::ValueExt;

use super::Options;
use crate::channel::{Channel, Message, Outcome, Secrets};
use crate::clock::Stamp;
use crate::deliver::settings::Settings;
use crate::event::{Note, Severity, What};
use crate::exit::{Failure, print};
use crate::ffi;
use crate::foreign::Foreign;
use crate::spool::drop;

pub(super) const HELP: &str = " [CHANNEL...]

Sends a test message over each channel of the route, or over those that are named, at once
and not through the spool, and says for each recipient what the provider answered. Limits
and waits do not count.
";

/// How a line begins that says to a drill for how many seconds a server will be believed.
pub(crate) const CERTIFICATE: &str = "certificate ";

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    let mut names: Vec<String> = Vec::new();
    let mut text = "test: alerts get out this way";
    while let Some(arg) = options.next()? {
        match arg {
            // What a drill asks of this program.
            lexopt::Arg::Long("drill") => {
                text = "drill: alerts get out this way";
                #[cfg(feature = "mail")]
                crate::channel::lasting::begin();
            }
            lexopt::Arg::Value(name) => names.push(name.string().map_err(Failure::usage)?),
            arg => return Err(Failure::usage(arg.unexpected())),
        }
    }
    // As in `bastion run`; here nobody would hear of it if it failed.
    let _ = ffi::forbid_core_dumps();
    let settings =
        Settings::load(&options.config, &Secrets::from_environment()).map_err(Failure::config)?;
    // The secrets are read; what talks to the network need not be root.
    super::run::step_down(&settings.host)?;
    if names.is_empty() {
        names = settings.notify.policy.channels();
    }
    if names.is_empty() {
        return Err(Failure::config(
            "no channel is configured: alerts are in syslog and nowhere else",
        ));
    }
    let mut channels = settings.notify.channels;
    let mut failures = Vec::new();
    for name in names {
        let (_, channel) =
            channels.iter_mut().find(|(known, _)| *known == name).ok_or_else(|| {
                Failure::usage(format!("there is no channel {name:?} in the configuration"))
            })?;
        failures.extend(try_channel(&name, channel.as_mut(), &settings.host.name, text));
    }
    #[cfg(feature = "mail")]
    for (host, left) in crate::channel::lasting::left() {
        if let Some(left) = left {
            print(&format!("{CERTIFICATE}{host} {}\n", left.as_secs()));
        }
    }
    Failure::all(failures)
}

/// Tries each recipient; prints what went well and answers what did not.
fn try_channel(name: &str, channel: &mut dyn Channel, host: &Foreign, text: &str) -> Vec<Failure> {
    let mut failures = Vec::new();
    for recipient in channel.recipients().to_vec() {
        let at = Stamp::now();
        let what = What::Note(Note { text: text.to_owned() });
        let event = drop::new_event(at.clone(), host, Severity::Info, what);
        let message = Message::new(event, at, &recipient);
        let outcome = channel.send(&message);
        let said = format!("{name} to {recipient}: {outcome}");
        match outcome {
            Outcome::Delivered { .. } => print(&format!("{said}\n")),
            Outcome::Later { .. } | Outcome::Doubtful { .. } => {
                failures.push(Failure::later(format!("{said} (the sender would try again)")));
            }
            Outcome::Config { .. } => failures.push(Failure::config(said)),
            Outcome::Never { .. } => failures.push(Failure::unavailable(said)),
        }
    }
    failures
}
