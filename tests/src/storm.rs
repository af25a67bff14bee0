//! The sender killed again and again, at any moment, while alerts come in.

use std::time::Duration;

use crate::alert::Draft;
use crate::fault::{Act, Fault};
use crate::random::Random;
use crate::sender::Rig;
use crate::wait::pause;

/// Most alerts published between two kills: with fifty kills fewer than 200 in all, and so many of
/// an account's latest messages does the sender look through.
const BURST: u64 = 6;

/// Who takes a message at once and answers a little later: so most kills fall between the two,
/// which is the worst moment.
#[must_use]
pub fn slow_answers() -> Fault {
    Fault::new(Act::Ok).after(Duration::from_millis(30))
}

/// Kills the sender `kills` times while alerts come in, each time at another moment of its life;
/// answers their ids. The last sender lives.
///
/// # Panics
///
/// When an alert cannot be published.
pub fn kill_again_and_again(rig: &mut Rig, kills: usize) -> Vec<String> {
    let mut random = Random::new();
    let mut ids = Vec::new();
    for kill in 0..kills {
        // Some lives are long enough to clear up the doubt that the deaths before have left.
        let life_us = random.below(if kill % 10 == 9 { 4_000_000 } else { 250_000 });
        let alerts = random.below(BURST + 1);
        let mut moments: Vec<u64> = (0..alerts).map(|_| random.below(life_us.max(1))).collect();
        moments.sort_unstable();
        let mut now_us = 0;
        for at_us in moments {
            pause(Duration::from_micros(at_us - now_us));
            now_us = at_us;
            let draft = Draft::note(u32::try_from(ids.len()).expect("few") + 1, "in the storm");
            rig.host.publish(&draft);
            ids.push(draft.id);
        }
        if kill % 10 == 5 {
            ids.push(rig.host.send("by a script"));
        }
        pause(Duration::from_micros(life_us - now_us));
        rig.sender.kill();
        rig.sender = rig.host.spawn_sender();
    }
    ids
}
