//! How soon something is done again. Pure.

use crate::cause::Cause;

/// After a comparison of keys that came to nothing, the next one comes this late, and twice as late
/// each time: it costs some thousand bytes.
const COMPARE_AGAIN_MS: u64 = 60_000;
const COMPARE_MOST_MS: u64 = 3_600_000;

/// Milliseconds from a look through a new session that has failed, after `looks` before it, to the
/// next: each is a connection to our own sshd, which has a penalty for who says nothing.
pub fn first_look_again_ms(looks: u32) -> u64 {
    1_000 << looks.min(2)
}

/// Milliseconds from a comparison of keys, after `times` before it, to the next.
pub fn compare_again_ms(times: u32) -> u64 {
    (COMPARE_AGAIN_MS << times.min(10)).min(COMPARE_MOST_MS)
}

/// Milliseconds between the starts of two tries, after `tries` in a row have failed for `cause` for
/// `for_ms`. There is no doubling without an end: the jump host may come back any second.
pub fn rest_ms(cause: Cause, tries: u32, for_ms: u64) -> u64 {
    match cause {
        Cause::Closed | Cause::Silent | Cause::ForwardBroken => match tries {
            1 => 0,
            2 => 1_000,
            3 => 3_000,
            _ => 5_000,
        },
        // At most twelve in a minute, and soon enough for a jump host that is started anew.
        Cause::Refused | Cause::PortBusy => match (tries, for_ms) {
            (1, _) => 3_000,
            (_, 0..40_000) => 4_600,
            _ => 8_000,
        },
        Cause::Dns | Cause::Unreachable => match for_ms {
            0..60_000 => 3_000,
            _ => 8_000,
        },
        // Four in the first minute: more is what fail2ban and sshd's penalties wait for.
        Cause::KeyRejected => match tries {
            1 => 5_000,
            2 => 20_000,
            3 => 30_000,
            _ => 600_000,
        },
        Cause::HostKey | Cause::WrongHost => 60_000,
        Cause::NoSsh | Cause::BadOption => 60_000,
        Cause::ProbeDenied | Cause::TargetDown | Cause::RunDir => 10_000,
    }
}
