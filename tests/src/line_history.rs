//! A line's history as it may have been, made up: JSON lines as `linkprobe` writes them. The same
//! each time, for the same story.

use std::fmt::Write;

/// What is told.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// `name` of the line.
    pub link: &'static str,
    /// Its last second, in seconds since 1970.
    pub end_s: i64,
    /// How long it is.
    pub days: i64,
    /// What is asked for, in bit/s.
    pub min_download: f64,
    /// What the line has when all is well.
    pub usual: f64,
    /// Idle round trip when all is well, in milliseconds.
    pub ping: f64,
    /// Whether `watch` runs.
    pub watched: bool,
}

impl Story {
    /// A backup line by satellite, of 10 Mbit/s that are asked for.
    #[must_use]
    pub fn backup(end_s: i64, days: i64) -> Self {
        let (min_download, usual) = (1e7, 9e7);
        Self { link: "backup", end_s, days, min_download, usual, ping: 34.0, watched: true }
    }

    /// The records, a line each: a check an hour, an hour of `watch` each, a measurement a week. In
    /// each month there are a slow week, half a day on another ISP's line, two days on which the
    /// machine was off, four outages, and evenings on which the latency grows.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut text = String::new();
        let begin_s = self.end_s - self.days * 86_400;
        for hour in 0..self.days * 24 {
            let at_s = begin_s + hour * 3600;
            let now = Hour::of(hour, at_s / 3600 % 24);
            if now.off {
                continue;
            }
            if let (true, Some((minute, length_s))) = (self.watched, now.outage) {
                let from = time(at_s + minute * 60);
                let _ = writeln!(
                    text,
                    r#"{{"timestamp":"{from}","kind":"outage","link":"{}","download":null,"upload":null,"ping":null,"bytes_sent":0,"bytes_received":0,"share":null,"took_s":{length_s}.0}}"#,
                    self.link
                );
            }
            if self.watched {
                let up_s = now.up_s();
                let _ = writeln!(
                    text,
                    r#"{{"timestamp":"{}","kind":"watch","link":"{}","download":null,"upload":null,"ping":null,"bytes_sent":21000,"bytes_received":24000,"share":null,"took_s":3600.0,"up_s":{up_s}.0}}"#,
                    time(at_s),
                    self.link
                );
            }
            self.check(&mut text, &mut dice, at_s + 300 + dice_offset(hour), &now);
            if hour % 168 == 50 {
                self.measure(&mut text, &mut dice, at_s + 2400);
            }
        }
        text
    }

    fn check(&self, text: &mut String, dice: &mut Dice, at_s: i64, now: &Hour) {
        let evening = if (18..23).contains(&now.of_day) { 1.6 } else { 1.0 };
        let noise = 0.92 + 0.25 * dice.share();
        // One of fifty meets something else on the line.
        let burst = if dice.share() < 0.02 { 3.0 + 6.0 * dice.share() } else { 1.0 };
        let ping = self.ping * evening * noise * burst;
        let asked = self.min_download;
        let (verdict, download, is, bytes) = match () {
            () if now.down_at_check() => ("down", None, "", 2_000),
            () if now.wrong => ("wrong-isp", None, "", 9_000),
            () if now.slow && (now.of_day > 15 || dice.share() < 0.3) => {
                ("slow", Some(asked * (0.35 + 0.5 * dice.share())), "about", 640_000)
            }
            () if dice.share() < 0.012 => ("untested", None, "", 12_000),
            () if dice.share() < 0.015 => {
                ("marginal", Some(asked * (0.97 + 0.05 * dice.share())), "about", 2_900_000)
            }
            () if ping > 100.0 => ("high-latency", Some(asked * 1.02), "at-least", 1_150_000),
            () => ("good", Some(asked * (1.01 + 0.08 * dice.share())), "at-least", 1_050_000),
        };
        let isp = if now.wrong { "Telekom" } else { "SpaceX Starlink" };
        let asn = if now.wrong { 3320 } else { 14593 };
        let down = verdict == "down";
        let (ping, jitter) = match down {
            true => ("null".to_owned(), "null".to_owned()),
            false => (format!("{ping:.2}"), format!("{:.2}", ping * 0.12 * dice.share())),
        };
        let rate = download.map_or("null".to_owned(), |rate| format!("{rate:.0}"));
        let is = if is.is_empty() { String::new() } else { format!(r#""download_is":"{is}","#) };
        let client = if down {
            String::new()
        } else {
            format!(
                r#""client":{{"ip":"198.51.100.23","isp":"{isp}","asn":{asn},"country":"DE"}},"#
            )
        };
        let _ = writeln!(
            text,
            r#"{{"timestamp":"{}","kind":"check","link":"{}","verdict":"{verdict}","reasons":["made up"],"download":{rate},{is}"upload":null,"ping":{ping},"jitter":{jitter},"loss":0.0,"bytes_sent":42000,"bytes_received":{bytes},"server":{{"url":"https://speed.example.net","host":"speed.example.net:443","name":"Frankfurt","sponsor":"cloudflare","id":null,"country":"Germany","cc":"DE","latency":12.5}},{client}"share":null,"took_s":1.4,"min_download":{asked:.1},"max_latency":100.0}}"#,
            time(at_s),
            self.link,
        );
    }

    fn measure(&self, text: &mut String, dice: &mut Dice, at_s: i64) {
        let download = self.usual * (0.8 + 0.4 * dice.share());
        let upload = self.usual * 0.13 * (0.8 + 0.4 * dice.share());
        let _ = writeln!(
            text,
            r#"{{"timestamp":"{}","kind":"measure","link":"{}","download":{download:.0},"download_is":"about","upload":{upload:.0},"upload_is":"about","ping":{:.2},"jitter":2.1,"loss":0.0,"ping_loaded":{:.2},"bytes_sent":6000000,"bytes_received":42000000,"client":{{"ip":"198.51.100.23","isp":"SpaceX Starlink","asn":14593,"country":"DE"}},"share":null,"took_s":9.5}}"#,
            time(at_s),
            self.link,
            self.ping,
            self.ping * (2.5 + 2.0 * dice.share()),
        );
    }
}

/// An hour of the story.
struct Hour {
    of_day: i64,
    slow: bool,
    wrong: bool,
    off: bool,
    /// The minute in which it begins, and how long it is, in seconds.
    outage: Option<(i64, i64)>,
    /// For how much of the hour an outage of an hour before goes on.
    still_down_s: i64,
}

impl Hour {
    /// Of the story's hour, which is that hour of the day in UTC.
    fn of(hour: i64, of_day: i64) -> Self {
        let of_month = hour % 720;
        let day = of_month / 24;
        let (mut outage, mut still_down_s) = (None, 0);
        for (begin, minute, length_s) in [
            (3 * 24 + 2, 10, 840),
            (9 * 24 + 17, 30, 9000),
            (21 * 24 + 4, 55, 95),
            (27 * 24, 20, 2400),
        ] {
            let since = of_month - begin;
            if since == 0 {
                outage = Some((minute, length_s));
            }
            let left_s = minute * 60 + length_s - since * 3600;
            if since > 0 && left_s > 0 {
                still_down_s = left_s.min(3600);
            }
        }
        Self {
            of_day,
            slow: (12..19).contains(&day),
            wrong: day == 22 && (8..20).contains(&of_day),
            off: (24..26).contains(&day),
            outage,
            still_down_s,
        }
    }

    fn up_s(&self) -> i64 {
        let begun_s = self.outage.map_or(0, |(minute, length_s)| length_s.min(3600 - minute * 60));
        3600 - self.still_down_s - begun_s
    }

    /// The check is in the sixth minute of an hour, or thereabouts.
    fn down_at_check(&self) -> bool {
        self.still_down_s > 600
    }
}

fn dice_offset(hour: i64) -> i64 {
    (hour * 7919) % 240
}

/// A generator of numbers that are the same each time (xorshift64*).
struct Dice(u64);

impl Dice {
    /// 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
        #[allow(clippy::cast_precision_loss, reason = "24 bits")]
        let share = bits as f64 / f64::from(1 << 24);
        share
    }
}

/// RFC 3339 in UTC, by the calendar of days since 0000-03-01 (Howard Hinnant, `civil_from_days`).
#[must_use]
pub fn time(unix_s: i64) -> String {
    let (days, of_day) = (unix_s.div_euclid(86_400) + 719_468, unix_s.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z", year + era * 400)
}
