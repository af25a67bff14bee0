//! What a line is like, what is asked of it, and whether a verdict on it is right.

use bastion_tests::link::{PAYLOAD, Shape, Way};
use bastion_tests::random::Random;

/// A line and what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The least download that is asked for, in bit/s of TCP payload.
    pub threshold: f64,
    /// What the line has, as a share of that.
    pub share: f64,
    /// There and back, in milliseconds; nothing for a cable.
    pub rtt_ms: Option<f64>,
    /// How much longer one way may take at most, in milliseconds.
    pub jitter_ms: f64,
    /// The share that is lost, each way.
    pub loss: f64,
    /// How long packets may wait where it is narrow, in milliseconds.
    pub queue_ms: f64,
    /// Bytes that go faster after a pause.
    pub burst: Option<f64>,
    /// Others' traffic, in bit/s of frames.
    pub cross: f64,
    /// How servers share it.
    pub congestion: &'static str,
    /// Who is asked.
    pub server: Server,
}

/// Who is asked, and who confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Two servers of LibreSpeed, by HTTP.
    LibreSpeed,
    /// Cloudflare, then speedtest.net, as by default, by TLS.
    Defaults,
    /// A file of nginx, then LibreSpeed by TLS.
    Nginx,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LibreSpeed, Self::Defaults, Self::Nginx];

    /// `providers` of `[[link]]`.
    pub fn providers(self) -> &'static str {
        match self {
            Self::LibreSpeed => {
                r#""librespeed http://speed.example.net", "librespeed http://other.example.net""#
            }
            Self::Defaults => r#""cloudflare", "speedtest.net""#,
            Self::Nginx => {
                r#""url http://other.example.net:8090/file.bin", "librespeed https://speed.example.net""#
            }
        }
    }
}

impl Scene {
    /// A plain line of so many times `threshold` Mbit/s.
    pub fn new(threshold_mbit: f64, share: f64, server: Server) -> Self {
        Self {
            threshold: threshold_mbit * 1e6,
            share,
            rtt_ms: None,
            jitter_ms: 0.0,
            loss: 0.0,
            queue_ms: 100.0,
            burst: None,
            cross: 0.0,
            congestion: "cubic",
            server,
        }
    }

    /// The same at a distance.
    pub fn rtt_ms(self, rtt_ms: f64) -> Self {
        let rtt_ms = (rtt_ms > 0.0).then_some(rtt_ms);
        Self { rtt_ms, ..self }
    }

    /// What the line carries of TCP payload, beside others' traffic, in bit/s.
    pub fn truth(&self) -> f64 {
        self.threshold * self.share
    }

    /// How narrow that is.
    pub fn shape(&self) -> Shape {
        let shape = Shape::rate(self.truth() / PAYLOAD + self.cross);
        let shape = Shape { queue_ms: self.queue_ms, ..shape };
        self.burst.map_or(shape, |burst| shape.burst(burst))
    }

    /// How long it is, if it is no cable.
    pub fn way(&self, seed: u64) -> Option<Way> {
        let way = Way::of_rtt_ms(self.rtt_ms?).jitter_ms(self.jitter_ms);
        Some(way.loss(self.loss).seed(seed))
    }

    /// A line that nobody chose: of a threshold from 1 to 50 Mbit/s, 0.5 to 30 times as wide but not
    /// within 3 % of it, near or up to 150 ms away, with a queue of 20 to 400 ms, some with loss,
    /// jitter or others' traffic, of any server.
    pub fn at_random(random: &mut Random) -> Self {
        let threshold = between(random, 1.0, 50.0);
        // As many below the threshold as above.
        let share = match random.below(2) {
            0 => between(random, 0.5, 0.97),
            _ => between(random, 1.03, 30.0),
        };
        let pick = |random: &mut Random, of: usize| {
            usize::try_from(random.below(of as u64)).unwrap_or_default()
        };
        let server = Server::ALL[pick(random, 3)];
        let mut scene = Self::new(threshold, share, server);
        if random.below(4) > 0 {
            scene = scene.rtt_ms(between(random, 2.0, 150.0));
        }
        scene.queue_ms = between(random, 20.0, 400.0);
        scene.congestion = ["cubic", "bbr"][pick(random, 2)];
        if scene.rtt_ms.is_some() && random.below(2) == 0 {
            scene.loss = [0.0, 0.001, 0.005][pick(random, 3)];
            scene.jitter_ms = between(random, 1.0, 10.0);
        }
        if random.below(4) == 0 {
            scene.cross = scene.truth() * between(random, 0.1, 0.5);
        }
        scene
    }

    /// `10 Mbit/s x 0.95, 50 ms, 0.5 % lost, bbr`.
    pub fn words(&self) -> String {
        let mut words = format!("{:.3} Mbit/s x {:.2}", self.threshold / 1e6, self.share);
        if let Some(rtt_ms) = self.rtt_ms {
            words += &format!(", {rtt_ms:.0} ms");
        }
        if self.jitter_ms > 0.0 {
            words += &format!(" + {:.0}", self.jitter_ms);
        }
        if self.loss > 0.0 {
            words += &format!(", {:.1} % lost", self.loss * 100.0);
        }
        if self.cross > 0.0 {
            words += &format!(", {:.1} Mbit/s of others", self.cross / 1e6);
        }
        if self.queue_ms < 99.0 || self.queue_ms > 101.0 {
            words += &format!(", queue {:.0} ms", self.queue_ms);
        }
        if let Some(burst) = self.burst {
            words += &format!(", bucket {:.1} MB", burst / 1e6);
        }
        if self.congestion != "cubic" {
            words += &format!(", {}", self.congestion);
        }
        words
    }
}

/// A number between two, any order of magnitude as likely as the others.
fn between(random: &mut Random, least: f64, most: f64) -> f64 {
    let step = u32::try_from(random.below(10_000)).unwrap_or(0);
    least * (most / least).powf(f64::from(step) / 10_000.0)
}

/// How near the threshold a line may be for "marginal" to be right.
const NEAR: f64 = 0.1;

/// Whether a verdict is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Good or slow, and so it is.
    Right,
    /// Marginal, and so it is: within a tenth of the threshold.
    Marginal,
    /// Anything else.
    Wrong,
}

/// Judges a verdict on a line that has `share` of the threshold.
pub fn judge(verdict: Option<&str>, share: f64) -> Judged {
    match verdict {
        Some("good") if share >= 1.0 => Judged::Right,
        Some("slow") if share < 1.0 => Judged::Right,
        Some("marginal") if (1.0 - NEAR..=1.0 + NEAR).contains(&share) => Judged::Marginal,
        _ => Judged::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_right_as_the_line_is() {
        for (verdict, share, judged) in [
            (Some("good"), 1.01, Judged::Right),
            (Some("good"), 0.99, Judged::Wrong),
            (Some("slow"), 0.5, Judged::Right),
            (Some("slow"), 2.0, Judged::Wrong),
            (Some("marginal"), 0.95, Judged::Marginal),
            (Some("marginal"), 1.2, Judged::Wrong),
            (Some("untested"), 1.2, Judged::Wrong),
            (None, 1.2, Judged::Wrong),
        ] {
            assert_eq!(judge(verdict, share), judged, "{verdict:?} {share}");
        }
    }

    #[test]
    fn the_line_of_a_scene_carries_what_it_says_beside_others() {
        let scene = Scene { cross: 3e6, ..Scene::new(10.0, 1.1, Server::Nginx) };
        let payload = (scene.shape().rate - scene.cross) * PAYLOAD;
        assert!((payload - 11e6).abs() < 1.0, "{payload}");
    }

    #[test]
    fn what_is_drawn_is_what_was_promised_and_the_same_for_the_same_seed() {
        let draw = || {
            let mut random = Random::seeded(7);
            (0..500).map(|_| Scene::at_random(&mut random)).collect::<Vec<_>>()
        };
        let scenes = draw();
        assert_eq!(scenes, draw());
        for scene in &scenes {
            assert!((1e6..=50e6).contains(&scene.threshold) && (0.5..=30.0).contains(&scene.share));
        }
        let below = scenes.iter().filter(|scene| scene.share < 1.0).count();
        assert!((200..300).contains(&below), "{below}");
    }
}
