//! Waiting for a state, with a deadline. The one place in this crate that sleeps.

use std::time::{Duration, Instant};

/// Time between two looks: short beside the 100 ms of a login, long beside a stat call.
const STEP: Duration = Duration::from_millis(10);

/// Asks `condition` again and again until it holds or `deadline` has passed.
///
/// Answers whether it came to hold.
#[must_use]
pub fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(STEP);
    }
}

/// Lets `time` pass, where that is the test: a random moment to strike at, a pause between two
/// alerts. Never to wait for a state.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Asks `look` until it answers something, and hands that over.
///
/// # Panics
///
/// When `deadline` has passed, with `what` in the message.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    let _ = wait_until(deadline, || {
        found = look();
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("waited {deadline:?} in vain for {what}"))
}
