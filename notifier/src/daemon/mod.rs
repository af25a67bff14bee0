//! What the daemons that watch something have in common: when what they see is news, how it gets into
//! the spool, and what of it they remember over a restart.

pub mod haste;
pub mod lock;
pub mod network;
pub mod news;
pub mod outbox;
pub mod told;

use std::time::Duration;

/// `40 s`, `7 min`, `3 h`.
#[must_use]
pub fn words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
