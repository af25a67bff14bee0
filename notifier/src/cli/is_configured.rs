//! `bastion is-configured`: for the sender's unit.

use super::Options;
use crate::config::configured::{self, Need};
use crate::exit::Failure;

pub(super) const HELP: &str = "

For bastion.service: exit code 0 if the file has a channel, or cannot be understood (then the sender starts and
says what is wrong); 1 and a line that says so if it has none, and systemd skips the unit.
";

/// A sender without a channel has nobody to tell.
const NEED: Need = Need { section: "notify", key: Some("channel") };

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    options.end()?;
    configured::is_configured(&options.config, NEED)
}
