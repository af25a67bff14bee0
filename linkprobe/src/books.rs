//! What `watch` writes down of the lines: their hours and outages in the history, their data in the budget.

use std::path::{Path, PathBuf};

use notifier::clock::unix_ms;
use notifier::syslog::{Level, Line, Log, Source};

use crate::budget::Budget;
use crate::config::Settings;
use crate::history::History;
use crate::record::Record;
use crate::watch;

/// History and budgets.
pub struct Books {
    config: PathBuf,
    state: PathBuf,
}

impl Books {
    /// Those in `state`, of lines as `config` has them.
    #[must_use]
    pub fn new(config: &Path, state: &Path) -> Self {
        Self { config: config.to_owned(), state: state.to_owned() }
    }

    fn trouble(&self, link: &str, why: &str) {
        let socket = Settings::load(&self.config).map(|settings| settings.host.syslog);
        let socket = socket.unwrap_or_else(|_| "/dev/log".into());
        let line = Line::new("not-kept").text("link", link).text("message", why);
        Log::new(&socket, "linkprobe", Source::Daemon).say(Level::Error, &line);
    }
}

impl watch::Books for Books {
    fn record(&self, record: &Record) {
        if let Err(error) = History::new(&self.state, &record.link).append(record) {
            self.trouble(&record.link, &error.to_string());
        }
    }

    fn spent(&self, link: &str, sent: u64, received: u64) {
        // The limit and the day may have changed since the start.
        let settings = Settings::load(&self.config).unwrap_or_default();
        let Some(of) = settings.links.iter().find(|of| of.name == link) else { return };
        let budget = Budget::new(&self.state, link, of.monthly_data, of.month_begins);
        let now_s = i64::try_from(unix_ms() / 1000).unwrap_or(0);
        if let Err(error) = budget.settle(0, sent + received, now_s) {
            self.trouble(link, &error.to_string());
        }
    }
}
