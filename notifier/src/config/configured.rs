//! Whether the file gives a service something to do. `ExecCondition=` of its unit asks, so that the package can
//! enable all units: what nobody has configured is skipped, and is no failure.
//!
//! A file that cannot be read or understood counts as configured: the service starts then, and says what is wrong.
//! A misspelt name of a section is the sender's to tell, whichever service it was meant for: see `bastion is-configured`.

use std::path::Path;

use super::{Document, Section, read_file};
use crate::exit::Failure;

/// What a service needs in the file: an entry in the array of tables, or table of tables, `[[section]]` or, with a
/// key, `[section.key]`.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// The section.
    pub section: &'static str,
    /// The key in it, for a section that is a table itself.
    pub key: Option<&'static str>,
}

/// Ends well if the file at `config` has what `need` says, or cannot be understood.
///
/// # Errors
///
/// With exit code 1 and one line for a person when it has not: what systemd takes for "skip it, nothing is wrong".
pub fn is_configured(config: &Path, need: Need) -> Result<(), Failure> {
    let Ok(source) = read_file(config) else { return Ok(()) };
    if is_there(&source.text, need) {
        return Ok(());
    }
    let what = match need {
        Need { section, key: None } => format!("[[{section}]]"),
        Need { section, key: Some(key) } => format!("[{section}.{key}.NAME]"),
    };
    Err(Failure::no(format!("nothing to do: there is no {what} in {}", config.display())))
}

fn is_there(text: &str, need: Need) -> bool {
    let mut document = Document::parse(text);
    let skip = |_: &str, section: &mut Section<'_, '_>| section.leave_rest();
    let entries = match need.key {
        None => document.tables(need.section, skip),
        Some(key) => {
            let entries = document.table(need.section, |section| {
                let entries = section.tables(key, skip);
                section.leave_rest();
                entries
            });
            entries.unwrap_or_default()
        }
    };
    !entries.is_empty() || !document.findings_so_far().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: Need = Need { section: "notify", key: Some("channel") };
    const LINK: Need = Need { section: "link", key: None };

    #[test]
    fn what_is_there_is_configured_and_so_is_what_nobody_understands() {
        for (text, channel, link) in [
            ("", false, false),
            ("# [notify.channel.sms]\n# [[link]]\n", false, false),
            (
                "[login]\nknown-good = [\"192.0.2.1\"]\n[notify]\nweekly = \"mon 09:00\"\n",
                false,
                false,
            ),
            ("[notify.channel.sms]\ntype = \"twilio\"\n", true, false),
            ("[[link]]\nname = \"a\"\n", false, true),
            ("[[link]]\n[notify.channel.x]\n", true, true),
            // Mistakes within are the service's to tell, and those of others do not matter.
            ("[[link]]\nnosuch = 7\n[nosuch]\n", false, true),
            ("[notify.channel.sms]\ntype = 7\n", true, false),
            ("[nosuch]\n[notify]\nnosuch = 7\n", false, false),
            // Not what it should be, so somebody wanted something.
            ("link = 7\nnotify = 7\n", true, true),
            ("[notify]\nchannel = \"sms\"\n[link]\nname = \"a\"\n", true, true),
            ("link = []\n[notify.channel]\n", false, false),
            // Syntax.
            ("[login\n", true, true),
            ("x = \n", true, true),
        ] {
            assert_eq!(is_there(text, CHANNEL), channel, "channel: {text}");
            assert_eq!(is_there(text, LINK), link, "link: {text}");
        }
    }

    #[test]
    fn the_example_as_it_is_shipped_configures_nothing() {
        let example = include_str!("../../../etc/bastion.toml");
        for section in ["tunnel", "tunnel-watch", "link"] {
            assert!(!is_there(example, Need { section, key: None }), "{section}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_the_services_to_tell() {
        let dir = std::env::temp_dir().join(format!("notifier-configured-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("bastion.toml");
        assert!(is_configured(&file, LINK).is_ok(), "there is none");
        assert!(is_configured(&dir, LINK).is_ok(), "a directory");
        std::fs::write(&file, b"# \xff\n").unwrap();
        assert!(is_configured(&file, LINK).is_ok(), "no UTF-8");
        std::fs::write(&file, "[host]\n").unwrap();
        let said = is_configured(&file, LINK).unwrap_err();
        assert_eq!(
            said.text(),
            format!("nothing to do: there is no [[link]] in {}", file.display())
        );
        let said = is_configured(&file, CHANNEL).unwrap_err();
        assert!(said.text().contains("[notify.channel.NAME]"), "{}", said.text());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
