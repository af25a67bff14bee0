//! `bastion report`: what the weekly report would say now.

use super::Options;
use crate::clock::Stamp;
use crate::deliver::outbox::books;
use crate::event::{Severity, What};
use crate::exit::{Failure, print};
use crate::spool::drop;
use crate::text;

pub(super) const HELP: &str = "

Prints what the weekly report ([notify] weekly) would say now, and sends nothing. The sender writes
down what it counts some seconds later, so the last alert may not be in it.

To be run by root or the sender's user.
";

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    options.end()?;
    let host = super::lenient_host(&options.config);
    super::run::step_down(&host)?;
    let report = books::report_so_far(&host.state, &options.config).map_err(|error| {
        Failure::io(format!("read what the sender in {} has counted", host.state.display()), &error)
    })?;
    let at = Stamp::now();
    let event = drop::new_event(at.clone(), &host.name, Severity::Info, What::Report(report));
    // The head of it is an alert's, and this is none.
    let body = text::event_body(&event, &at);
    let facts = body.lines().skip_while(|line| !line.starts_with("since: "));
    print(&facts.map(|line| format!("{line}\n")).collect::<String>());
    Ok(())
}
