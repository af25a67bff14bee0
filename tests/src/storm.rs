//! The sender killed again and again, at any moment, while alerts come in.

use std::time::{Duration, SystemTime};

use crate::alert::Draft;
use crate::fault::{Act, Fault};
use crate::sender::Rig;
use crate::wait::pause;

/// Most alerts published between two kills: with fifty kills fewer than 200 in all, and so many of
/// an account's latest messages does the sender look through.
const BURST: u64 = 6;

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers for the same seed, anywhere.
pub struct Random(u64);

impl Random {
    /// The seed is `BASTION_SEED`, or the time; it stands in the output of a failed test.
    ///
    /// # Panics
    ///
    /// When `BASTION_SEED` is no number.
    #[must_use]
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = std::env::var("BASTION_SEED").map_or_else(
            |_| u64::from(now.subsec_nanos()),
            |seed| seed.parse().expect("BASTION_SEED is a number"),
        );
        eprintln!("to repeat this: BASTION_SEED={seed}");
        Self(seed)
    }

    /// The numbers of this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to `end`, without it.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// A time shorter than `end`, to the microsecond.
    pub fn time_below(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(end.as_micros()).unwrap_or(1).max(1)))
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

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
