//! `bastion is-configured`: for the sender's unit.

use super::Options;
use crate::channel::Secrets;
use crate::config::configured::{self, Need};
use crate::config::read_file;
use crate::deliver::settings::Settings;
use crate::exit::Failure;

pub(super) const HELP: &str = "

For bastion.service: exit code 0 if the file has a channel, or a mistake for which the sender would not run (then it
starts and says what is wrong); 1 and a line that says so if it has neither, and systemd skips the unit.
";

/// A sender without a channel has nobody to tell.
const NEED: Need = Need { section: "notify", key: Some("channel") };

pub(super) fn run(mut options: Options) -> Result<(), Failure> {
    options.end()?;
    if read_file(&options.config).is_ok_and(|source| is_for_the_sender_to_tell(&source.text)) {
        return Ok(());
    }
    configured::is_configured(&options.config, NEED)
}

/// Whether the sender would refuse the file: a misspelt `[notify.chanel.sms]` is no channel, and nobody would hear of it.
/// It tells of misspelt sections of the others as well, so that one unit does and not all.
fn is_for_the_sender_to_tell(text: &str) -> bool {
    Settings::parse(text, &Secrets::from_environment()).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_section_or_key_is_for_the_sender_to_tell() {
        for (text, want) in [
            ("", false),
            ("[host]\nname = \"a\"\n[notify]\n", false),
            ("[[tunnel]]\nname = 7\n[[tunnel-watch]]\n[[link]]\nnosuch = 1\n", false),
            // The module's to tell, which is tolerant.
            ("[login]\nnosuch = 7\n", false),
            ("[notify.chanel.sms]\ntype = \"twilio\"\n", true),
            ("[notfy.channel.sms]\n", true),
            ("[notify]\nnosuch = 7\n", true),
            ("[host]\nnosuch = 7\n", true),
            ("[[tunel]]\nname = \"a\"\n", true),
            ("[[lnk]]\n", true),
        ] {
            assert_eq!(is_for_the_sender_to_tell(text), want, "{text}");
        }
        let example = include_str!("../../../etc/bastion.toml");
        assert!(!is_for_the_sender_to_tell(example), "as it is shipped the unit is skipped");
    }
}
