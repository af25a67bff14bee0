//! Who else may hold the home port: a session of ours that has lost its client and is asked away, or
//! another machine with our key, which asks ours away as well, for ever. Pure.

/// The time in which releases and losses are counted.
const WHILE_MS: u64 = 600_000;

/// So often the jump host is asked at most in that time to end the session that holds our port.
const RELEASES_MOST: usize = 3;

/// So many losses of the port in that time are told, and how seldom.
const LOSSES_MOST: usize = 3;
const TOLD_EVERY_MS: u64 = 24 * 3_600_000;

/// What is known of who else holds the home port.
#[derive(Debug, Default)]
pub struct Rival {
    /// Whether the jump host was asked to release the port since the tunnel last worked.
    asked: bool,
    /// When it was asked.
    releases: Vec<u64>,
    /// Whether the session on the home port has just been ended.
    ended: bool,
    /// When somebody had the port in the moment after that.
    losses: Vec<u64>,
    told_ms: Option<u64>,
}

impl Rival {
    /// The tunnel works.
    pub fn proved(&mut self) {
        (self.asked, self.ended) = (false, false);
    }

    /// A session or a try has ended; whether that was one at home, and by the jump host's will.
    pub fn ends(&mut self, at_home: bool) {
        self.ended = at_home;
    }

    /// Whether the jump host is to be asked now to end what holds the home port.
    pub fn asks(&mut self, now_ms: u64) -> bool {
        self.releases.retain(|at| now_ms.saturating_sub(*at) < WHILE_MS);
        let again = self.asked && !self.releases.is_empty();
        let asks = !again && self.releases.len() < RELEASES_MOST;
        if asks {
            self.asked = true;
            self.releases.push(now_ms);
        }
        asks
    }

    /// The home port is held; whether it is to be told that somebody takes it again and again.
    pub fn holds(&mut self, now_ms: u64) -> bool {
        if !std::mem::take(&mut self.ended) {
            return false;
        }
        self.losses.retain(|at| now_ms.saturating_sub(*at) < WHILE_MS);
        self.losses.push(now_ms);
        let told = self.told_ms.is_some_and(|at| now_ms.saturating_sub(at) < TOLD_EVERY_MS);
        let tells = self.losses.len() >= LOSSES_MOST && !told;
        if tells {
            self.told_ms = Some(now_ms);
        }
        tells
    }
}
