//! What of a thing's ups and downs is told: each once, and of one that flaps less and less often. Pure,
//! and the same for tunnels and lines; `C` is why it is down.

/// How long a tunnel has to work before that is told; doubled for each time that it was told in the
/// last hour, so that one that flaps is told less and less often.
const SETTLED_MS: u64 = 5_000;

/// The least of it when it has worked for a moment in between already: that was not the end either.
const STEADY_MS: u64 = 30_000;

const HOUR_MS: u64 = 3_600_000;
const MOST_FLAPS: u32 = 7;

/// Since when a tunnel is down, and what was told of that.
#[derive(Debug)]
pub struct News<C> {
    alert_after_ms: u64,
    /// Until when nothing is told.
    quiet_ms: u64,
    /// Since when it is not known to work, less what it has worked in between. What works for a moment
    /// ends no outage: as long as it has worked it takes back of it.
    down_since_ms: Option<u64>,
    /// Since when it works again, while that does not yet make up for the outage.
    up_ms: Option<u64>,
    /// Whether it has worked for a moment since it went down.
    interrupted: bool,
    /// What was told of that, and whether somebody has to mend it.
    told: Option<(C, bool)>,
    /// When it was told that it is up, in the last hour.
    ups: Vec<u64>,
}

impl<C: Copy> News<C> {
    /// Of a tunnel that has not worked yet.
    #[must_use]
    pub fn new(alert_after_ms: u64, now_ms: u64) -> Self {
        Self {
            alert_after_ms,
            quiet_ms: 0,
            down_since_ms: Some(now_ms),
            up_ms: None,
            interrupted: false,
            told: None,
            ups: Vec::new(),
        }
    }

    /// The same, that tells nothing until then: who has just begun does not know how the other tunnels
    /// are.
    #[must_use]
    pub fn quiet_until(self, quiet_ms: u64) -> Self {
        Self { quiet_ms, ..self }
    }

    /// Of a tunnel that was told to be down, since then: why, and whether somebody has to mend it.
    #[must_use]
    pub fn resumed(alert_after_ms: u64, down_ms: u64, told: (C, bool)) -> Self {
        Self { told: Some(told), ..Self::new(alert_after_ms, down_ms) }
    }

    /// Since when it is not known to work.
    #[must_use]
    pub fn down_since_ms(&self) -> Option<u64> {
        self.down_since_ms
    }

    /// Whether somebody was told that it is down, and not yet that it is up.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// How often it was told that it is up, in the last hour before that was told last.
    #[must_use]
    pub fn ups(&self) -> usize {
        self.ups.len()
    }

    /// It does not work any more.
    pub fn fails(&mut self, now_ms: u64) {
        if let (Some(up), Some(down)) = (self.up_ms.take(), self.down_since_ms) {
            if self.told.is_some() {
                self.interrupted = true;
            } else {
                let left = up.saturating_sub(down).saturating_sub(now_ms.saturating_sub(up));
                // Seconds of long ago are nothing to be wary for.
                self.interrupted = 2 * left > self.alert_after_ms;
                self.down_since_ms = Some(now_ms.saturating_sub(left));
            }
        }
        self.down_since_ms.get_or_insert(now_ms);
    }

    /// When there is something to tell of a tunnel that works since `up_ms`, or whose trouble somebody
    /// has to mend.
    #[must_use]
    pub fn due_ms(&self, up_ms: Option<u64>, needs_somebody: bool) -> u64 {
        match (up_ms, self.down_since_ms, self.told) {
            (Some(up), Some(_), Some(_)) => up + self.settled_ms(up),
            (None, Some(down), None) if needs_somebody => down.max(self.quiet_ms),
            (None, Some(down), None) => (down + self.alert_after_ms).max(self.quiet_ms),
            _ => u64::MAX,
        }
    }

    /// It works since `up_ms`. How long it was down and what was told of that, if now is the time to
    /// tell it.
    pub fn up(&mut self, up_ms: u64, now_ms: u64) -> Option<(u64, C)> {
        let down_ms = up_ms.saturating_sub(self.down_since_ms?);
        self.up_ms = Some(up_ms);
        let Some((cause, _)) = self.told else {
            if now_ms.saturating_sub(up_ms) >= down_ms {
                self.ends();
            }
            return None;
        };
        if now_ms < up_ms + self.settled_ms(up_ms) {
            return None;
        }
        self.count(now_ms);
        self.ends();
        Some((down_ms, cause))
    }

    /// When it may be told that a tunnel has changed its place, where it works since `since_ms`.
    #[must_use]
    pub fn moved_ms(&self, since_ms: u64) -> u64 {
        since_ms + self.settled_ms(since_ms)
    }

    /// That it has changed its place is told now, which counts as an up that is told.
    pub fn moves(&mut self, now_ms: u64) {
        self.count(now_ms);
    }

    fn count(&mut self, now_ms: u64) {
        self.ups.retain(|up| now_ms.saturating_sub(*up) < HOUR_MS);
        self.ups.push(now_ms);
    }

    fn ends(&mut self) {
        (self.told, self.down_since_ms, self.up_ms) = (None, None, None);
        self.interrupted = false;
    }

    /// It is down for this reason; whether that is to be told now.
    pub fn down(&mut self, cause: C, needs_somebody: bool, now_ms: u64) -> bool {
        let Some(down) = self.down_since_ms else { return false };
        if now_ms < self.quiet_ms {
            return false;
        }
        let late = now_ms >= down + self.alert_after_ms;
        // One cause after another is told once: the first, unless a later one has a remedy.
        let tells = match self.told {
            None => late || needs_somebody,
            Some((_, needed)) => needs_somebody && !needed,
        };
        if tells {
            self.told = Some((cause, needs_somebody));
        }
        tells
    }

    /// How long it has to work before that is told.
    fn settled_ms(&self, now_ms: u64) -> u64 {
        let flaps = self.ups.iter().filter(|up| now_ms.saturating_sub(**up) < HOUR_MS).count();
        let settled = SETTLED_MS << u32::try_from(flaps).unwrap_or(MOST_FLAPS).min(MOST_FLAPS);
        if self.interrupted { settled.max(STEADY_MS) } else { settled }
    }
}
