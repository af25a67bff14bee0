//! One of our channels against one fault: two alerts, a channel behind it to fall back to, and what
//! became of them.

use std::time::Duration;

use bastion_tests::alert::Draft;
use bastion_tests::host::Host;
use bastion_tests::like::Like;
use bastion_tests::mail;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::sender::{self, LOGIN};
use bastion_tests::wait::{pause, wait_until};

use super::case::{Ended, now_us, seconds};
use super::receiver::{PROGRAM, Receiver, Taken};
use super::wrong::Wrong;

/// Longest wait for the alerts. A try is cut off after 30 s at most.
const MOST: Duration = Duration::from_secs(120);

/// The channels, each by its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// One that speaks HTTP, by its place in [`WEB`].
    Web(usize),
    /// `smtp`.
    Smtp,
    /// `exec`.
    Exec,
}

/// Those that speak HTTP.
pub const WEB: [Like; 7] = [
    Like::Twilio,
    Like::Telegram,
    Like::Ntfy,
    Like::Webhook,
    Like::Slack,
    Like::Discord,
    Like::Alertmanager,
];

impl Channel {
    /// All of them.
    pub fn all() -> Vec<Self> {
        (0..WEB.len()).map(Self::Web).chain([Self::Smtp, Self::Exec]).collect()
    }

    /// Whether it stands for others where there is little time.
    pub fn is_typical(self) -> bool {
        matches!(self, Self::Smtp | Self::Exec) || self == Self::Web(0)
    }

    /// Its `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Web(at) => WEB[at].name(),
            Self::Smtp => "smtp",
            Self::Exec => "exec",
        }
    }

    /// What can go wrong with it.
    pub fn wrongs(self) -> &'static [Wrong] {
        if self == Self::Exec { &Wrong::OF_A_PROGRAM } else { &Wrong::ALL }
    }

    fn receiver(self, host: &Host) -> Receiver {
        match self {
            Self::Web(at) => Receiver::web(host, WEB[at]),
            Self::Smtp => Receiver::mail(host),
            Self::Exec => Receiver::program(host),
        }
    }

    /// The channel's section, named after its type; and its secret.
    fn section(self, host: &Host, receiver: &Receiver) -> String {
        match self {
            Self::Web(at) => {
                let url = format!("http://127.0.0.1:{}", receiver.port());
                WEB[at].write_secret(host, &url);
                let name = WEB[at].name();
                match WEB[at] {
                    Like::Twilio => sender::section(name, &url, &[sender::TO]),
                    like => like.section(name, &url, "digest = false"),
                }
            }
            Self::Smtp => {
                let plain = "tls = \"none\"\ndigest = false\nca-file = \nusername = \n\
                             password-file = ";
                let section = mail::section(receiver.port(), plain);
                section.replacen("[notify.channel.mail]", "\n[notify.channel.smtp]", 1)
            }
            Self::Exec => format!(
                "\n[notify.channel.exec]\ntype = \"exec\"\ndigest = false\ntimeout = \"5s\"\n\
                 command = [\"{PROGRAM}\"]\n"
            ),
        }
    }
}

/// Two alerts over `channel` while it does `wrong`; an outage lasts for `outage`.
pub fn run(channel: Channel, wrong: Wrong, outage: Duration) -> Ended {
    let host = Host::new();
    let mut receiver = channel.receiver(&host);
    host.write_token(AUTH_TOKEN);
    let section = channel.section(&host, &receiver);
    let spare = Provider::start_like(&host, Like::Anybody, "127.0.0.2:0", false);
    host.write_config(&format!(
        "{LOGIN}\n[notify]\nroute = [\"{}\", \"spare\"]\n{section}\n[notify.channel.spare]\n\
         type = \"webhook\"\nurl = \"{}/spare\"\n",
        channel.name(),
        spare.url()
    ));
    let sender = host.spawn_sender();
    host.wait_syslog("bastion", "sender-started", 1);
    receiver.misbehave(&host, wrong);
    let makers: [fn(u32) -> Draft; 2] =
        [|number| Draft::login(number, "alice"), |number| Draft::note(number, "a text")];
    let numbers = wrong.numbers().iter();
    let alerts: Vec<Draft> = numbers.zip(makers).map(|(number, make)| make(*number)).collect();
    alerts.iter().for_each(|alert| host.publish(alert));
    let mended_us = receiver.has_to_be_mended(wrong).then(|| {
        pause(outage);
        receiver.mend(&host, wrong);
        now_us()
    });
    let sent = |alert: &Draft| host.room_of(&alert.id) == Some("sent");
    let all_sent = wait_until(MOST, || alerts.iter().all(sent));
    let mut taken = receiver.taken(&host);
    let fallen_back: Vec<Taken> = spare.accepted().iter().map(Taken::of).collect();
    let fallback_us = fallen_back.first().map(|one| one.at_us);
    taken.extend(fallen_back);
    let mut ended = Ended::new(channel.name(), wrong, &taken, receiver.tries(&host), mended_us);
    let first_us = ended.tries.first();
    ended.fallback_s = first_us.zip(fallback_us).map(|(first, then)| seconds(*first, then));
    ended.peak_kib = sender.peak_kib();
    if !all_sent || ended.lost > 0 {
        eprintln!("{} {}: {:#?}", channel.name(), wrong.name(), host.syslog_of("bastion"));
    }
    ended
}
