//! `[drill]`: what `bastion drill` may do on this host.

use super::Document;

/// `[drill]`, with its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drill {
    /// Who the drill logs in as, through the tunnel. Without one it does not log in.
    pub user: Option<String>,
    /// Channels over which it sends no test message.
    pub skip_channels: Vec<String>,
}

/// Longest name of a user (useradd(8)).
const MAX_USER: usize = 32;

/// Reads `[drill]`; what it does not say is the default. `channels` are those of the file.
pub fn read(document: &mut Document<'_>, channels: &[&str]) -> Drill {
    let read = document.table("drill", |section| {
        let user = section.parse("user", parse_user).map(|user| user.value);
        let known = |name: &str| match channels.contains(&name) {
            true => Ok(name.to_owned()),
            false => Err(format!("there is no [notify.channel.{name}]")),
        };
        let skip = section.parse_list("skip-channels", known).unwrap_or_default();
        Drill { user, skip_channels: skip.into_iter().map(|name| name.value).collect() }
    });
    read.unwrap_or_default()
}

/// A name that programs take for nothing else: it becomes a word of theirs.
fn parse_user(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = (1..=MAX_USER).contains(&text.len()) && text.chars().all(plain);
    if fits && !text.starts_with('-') {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no name of a user; write it as in /etc/passwd"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Drill, usize) {
        let mut document = Document::parse(text);
        let drill = read(&mut document, &["sms", "mail"]);
        (drill, document.finish(&[]).len())
    }

    #[test]
    fn the_whole_section_is_read_and_each_mistake_told() {
        let of = |user: &str, skip: &[&str]| Drill {
            user: Some(user.to_owned()).filter(|user| !user.is_empty()),
            skip_channels: skip.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (text, want, mistakes) in [
            ("", of("", &[]), 0),
            ("[drill]\nuser = \"alice\"\nskip-channels = [\"sms\"]\n", of("alice", &["sms"]), 0),
            ("[drill]\nuser = \"-oProxyCommand=x\"\n", of("", &[]), 1),
            ("[drill]\nuser = \"a b\"\nskip-channels = [\"nosuch\"]\n", of("", &[]), 2),
            ("[drill]\nusre = \"alice\"\n", of("", &[]), 1),
            ("[drill]\nuser = \"\"\n", of("", &[]), 1),
        ] {
            assert_eq!(parse(text), (want, mistakes), "{text}");
        }
    }
}
