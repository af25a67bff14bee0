//! What is told of events between which the wall clock was set.

use super::*;
use crate::clock::BootStamp;

#[test]
fn a_clock_that_was_set_between_two_events_tells_neither_their_order_nor_their_time() {
    let at = |unix_ms, ms| Stamp { unix_ms, boot: Some(BootStamp { id: "b".into(), ms }) };
    let of = |status, at| Event { at, ..condition("tunnel office", status, 0) };
    for wrong in [2 * DAY, 0] {
        // The clock was a day off until it was set right, nine minutes later.
        let down = of(Status::Down, at(wrong, 1000));
        let up = of(Status::Up, at(DAY + 540_000, 541_000));
        let now = at(DAY + 545_000, 546_000);
        let context = Context { now: &now, local: clock, new: NOTHING, facts: NO_FACTS };
        for events in [[&down, &up], [&up, &down]] {
            let text = digest::line(&events, None, &context, &Alphabet::GSM7, |_| true);
            assert!(
                text.starts_with("jump: tunnel office was down 22 Nov 17:00 to 17:09 UTC #"),
                "{text}"
            );
        }
        let line = subject_in(&down, &context);
        assert!(line.contains("told 9 min late"), "{line}");
    }
}
