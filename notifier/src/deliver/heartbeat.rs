//! A sign of life for a dead man's switch (healthchecks.io and its kind): a sender that is dead, or
//! whose line is, cannot say so; what misses its ping can.

use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use crate::channel::address::SecretUrl;
use crate::channel::http::{Client, MAX_ANSWER};
use crate::channel::{Asked, Secrets};
use crate::config::{Section, duration};
use crate::syslog::{Level, Line, Log};

/// How often, where the file says nothing else.
const EVERY: Duration = Duration::from_secs(300);

/// How often at most and at least.
const BOUNDS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(24 * 3600)];

/// `[notify.heartbeat]`.
pub struct Settings {
    client: Client,
    url: SecretUrl,
    every: Duration,
}

/// Reads the section.
pub fn read(section: &mut Section<'_, '_>, secrets: &Secrets) -> Option<Settings> {
    let url = SecretUrl::read(section, secrets);
    let client = Client::read(section, "url-file");
    let every = section.parse("every", duration::parse).map_or(EVERY, |every| {
        let [least, most] = BOUNDS;
        if !(least..=most).contains(&every.value) {
            section.reject("every", &every, "1m to 24h");
        }
        every.value
    });
    let url = url?;
    Some(Settings { client: client.hiding(&url.secrets()), url, every })
}

impl Settings {
    /// Whether its server answers. The address itself is not asked: that would be a ping.
    pub fn reach(&mut self) -> Asked {
        self.client.reach(self.url.url.expose())
    }
}

/// A thread that pings.
pub struct Heartbeat {
    every: Duration,
    last: Option<Instant>,
    beats: SyncSender<()>,
}

impl Heartbeat {
    /// Starts the thread; it ends when this is dropped.
    ///
    /// # Errors
    ///
    /// When there can be no more threads.
    pub fn start(settings: Settings, log: Log) -> std::io::Result<Self> {
        let Settings { mut client, url, every } = settings;
        let (beats, inbox) = mpsc::sync_channel::<()>(1);
        let run = move || {
            let mut trouble = false;
            for () in inbox {
                let wrong = ping(&mut client, &url).err();
                match &wrong {
                    Some(why) if !trouble => {
                        let line = Line::new("heartbeat-trouble").text("reason", why);
                        log.say(Level::Warning, &line);
                    }
                    None if trouble => log.say(Level::Info, &Line::new("heartbeat-well")),
                    _ => {}
                }
                trouble = wrong.is_some();
            }
        };
        thread::Builder::new().name("heartbeat".into()).spawn(run)?;
        Ok(Self { every, last: None, beats })
    }

    /// Called by the loop, so that only a loop that turns is alive. Answers when to be called again.
    pub fn beat(&mut self) -> Duration {
        let since = self.last.map_or(self.every, |last| last.elapsed());
        if since < self.every {
            return self.every.saturating_sub(since);
        }
        // Full: the ping before this one still waits for its answer.
        let _ = self.beats.try_send(());
        self.last = Some(Instant::now());
        self.every
    }
}

fn ping(client: &mut Client, url: &SecretUrl) -> Result<(), String> {
    match client.get(url.url.expose(), &[], MAX_ANSWER) {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(answer.why(&answer.said())),
        Err(outcome) => Err(outcome.to_string()),
    }
}
