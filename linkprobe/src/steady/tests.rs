#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a test")]

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Numbers that look random: a linear congruence (Knuth's MMIX) and its high bits.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of a normal distribution, nearly: the sum of twelve.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// Windows whose rates are these.
fn windows(rates: impl IntoIterator<Item = f64>) -> Windows {
    let mut windows = Windows::new(MS(50), MS(60));
    let (mut at, mut bytes) = (Duration::ZERO, 0.0);
    windows.add(Sample { at, bytes: 0 });
    for rate in rates {
        at += MS(50);
        bytes += rate * 0.05;
        windows.add(Sample { at, bytes: bytes as u64 });
    }
    windows
}

#[test]
fn the_beginning_is_left_out() {
    // Slow start doubles, and then the line is full.
    let ramp = [1e4, 2e4, 4e4, 8e4, 16e4];
    let full = [99e4, 101e4, 100e4, 100e4, 99e4, 101e4, 100e4];
    let steady = windows(ramp.into_iter().chain(full)).steady().unwrap();
    assert!((steady.rate / 100e4 - 1.0).abs() < 0.01, "{steady:?}");
    // A bucket that is full at first is a beginning as well.
    let steady = windows([900e4, 300e4].into_iter().chain(full)).steady().unwrap();
    assert!((steady.rate / 100e4 - 1.0).abs() < 0.01, "{steady:?}");
}

#[test]
fn of_too_little_nothing_is_said() {
    assert_eq!(windows([1.0; 3]).steady(), None);
    assert_eq!(Windows::new(MS(50), MS(60)).steady(), None);
    let steady = windows([0.0; 8]).steady().unwrap();
    assert_eq!((steady.rate, steady.within), (0.0, 0.0));
}

#[test]
fn what_nobody_looked_at_is_left_out() {
    let mut windows = Windows::new(MS(50), MS(30));
    for (ms, bytes) in
        [(0, 0), (20, 20), (40, 40), (60, 60), (300, 61), (320, 81), (340, 101), (360, 121)]
    {
        windows.add(Sample { at: MS(ms), bytes: bytes * 1000 });
    }
    assert_eq!(windows.windows.len(), 2);
    assert!(windows.windows.iter().all(|window| (window.rate() - 1e6).abs() < 1.0));
}

#[test]
fn the_interval_has_the_truth_in_it_however_often_it_is_looked_at() {
    // Independent windows, and ones that are alike as they follow each other.
    for (spread, alike, most_wrong) in [(0.05, 0.0, 0.01), (0.3, 0.0, 0.05), (0.2, 0.3, 0.08)] {
        let mut chance = Chance(1);
        let runs = 400;
        let wrong = (0..runs).filter(|_| {
            let mut drift = 0.0;
            let mut rates = Vec::new();
            (0..60).any(|_| {
                drift = alike * drift + (1.0f64 - alike * alike).sqrt() * chance.normal();
                rates.push((1e6 * (1.0 + spread * drift)).max(0.0));
                let steady = windows(rates.iter().copied()).steady();
                steady.is_some_and(|steady| (steady.rate - 1e6).abs() > steady.within)
            })
        });
        let wrong = wrong.count() as f64 / f64::from(runs);
        assert!(wrong <= most_wrong, "{spread} {alike}: {wrong}");
    }
}

#[test]
fn the_interval_narrows() {
    let within = |n: usize| windows(std::iter::repeat_n(1e6, n)).steady().unwrap().within / 1e6;
    assert!(
        within(6) < 0.14 && within(20) < 0.06 && within(60) < 0.03,
        "{} {} {}",
        within(6),
        within(20),
        within(60)
    );
}
