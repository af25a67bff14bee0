//! The hours of a day: a bar from the 5th to the 95th percentile, with a mark at the median.

use super::canvas::{Canvas, Colour, Side};
use super::{Frame, Picture, Sign, WIDTH, colours};
use crate::record::Bound;
use crate::report::scale::Scale;
use crate::report::spread::{Quantile, Spread};
use crate::report::table::{mark_ms, milliseconds};
use crate::report::{Part, Period};
use crate::units;

/// Side by side with another.
const SIZE: (u32, u32) = (WIDTH / 2, 220);

/// Fewer hours with a test than that are no picture of a day.
const LEAST_HOURS: usize = 6;

/// A number in words: at the axis, and in a sentence.
type Word = fn(f64) -> String;

/// Download; `None` when too few hours have one.
pub fn download(part: &Part) -> Option<Picture> {
    let spreads = part.summary.hours.iter().map(|hour| hour.download).collect::<Vec<_>>();
    let asked = part.summary.min_download;
    let title = "Download by the hour of the day";
    let words = [units::rate as Word, units::rate];
    picture(title, &spreads, asked, (colours::BOUND, colours::FOUND), words)
}

/// Idle latency; `None` when too few hours have one.
pub fn ping(part: &Part) -> Option<Picture> {
    let spreads = part.summary.hours.iter().map(|hour| hour.ping).collect::<Vec<_>>();
    let asked = part.summary.max_latency;
    let title = "Latency by the hour of the day";
    let words = [mark_ms as Word, milliseconds];
    picture(title, &spreads, asked, (colours::PING, colours::PING), words)
}

fn picture(
    title: &'static str,
    spreads: &[Option<Spread>],
    asked: Option<f64>,
    (bar, mark): (Colour, Colour),
    [mark_word, word]: [Word; 2],
) -> Option<Picture> {
    let all = || spreads.iter().flatten();
    if all().count() < LEAST_HOURS {
        return None;
    }
    let frame = Frame::new(Period { from_s: 0, to_s: 24 }, SIZE);
    let most = all().map(|spread| spread.p95.value).fold(0.0, f64::max);
    let asked = asked.filter(|asked| *asked < most * 3.0);
    let values: Vec<f64> =
        all().flat_map(|spread| [spread.p5.value, spread.p95.value]).chain(asked).collect();
    let scale = Scale::of(values.iter().copied());
    let mut canvas = Canvas::new(SIZE.0, SIZE.1);
    let middle = |hour: usize| {
        let hour = i64::try_from(hour).unwrap_or(0);
        (frame.x(hour) + frame.x(hour + 1)) / 2
    };
    canvas.draw(|pen| {
        frame.numbers(pen, &scale, mark_word);
        pen.line((frame.from.0, frame.to.1), (frame.to.0, frame.to.1), colours::AXIS, 1);
        for hour in (0..24).step_by(3) {
            let at = (middle(hour), frame.to.1 + 15);
            pen.text(&format!("{hour:02}"), at, Side::Middle, 12.0, colours::MUTED);
        }
    });
    for (hour, spread) in spreads.iter().enumerate() {
        let Some(spread) = spread else { continue };
        let x = middle(hour);
        let y = |quantile: Quantile| frame.y(scale.place(quantile.value));
        let (low, median, high) = (y(spread.p5), y(spread.p50), y(spread.p95));
        let signed = |quantile: Quantile| {
            let sign = if quantile.is == Bound::AtLeast { "≥" } else { "" };
            format!("{sign}{}", word(quantile.value))
        };
        let name = format!(
            "{hour:02}:00: p5 {}, median {}, p95 {}, {} tests",
            signed(spread.p5),
            signed(spread.p50),
            signed(spread.p95),
            spread.count
        );
        canvas.draw_named(&name, |pen| {
            pen.rect((x - 5, high), (x + 5, low.max(high + 2)), bar, 0.55);
            if spread.p95.is == Bound::AtLeast {
                pen.line((x, high), (x, high - 9), colours::BOUND, 2);
            }
            if spread.p50.is == Bound::About {
                pen.line((x - 6, median), (x + 6, median), mark, 3);
            }
        });
    }
    let bounds = all().any(|spread| spread.bounds > 0);
    let mut legend = vec![(Sign::Block(bar), "5th to 95th percentile".to_owned())];
    if all().any(|spread| spread.p50.is == Bound::About) {
        legend.push((Sign::Dashes(mark), "median".to_owned()));
    }
    if bounds {
        legend.push((Sign::Stroke(colours::BOUND), "at least".to_owned()));
    }
    if let Some(asked) = asked {
        let y = frame.y(scale.place(asked));
        canvas.draw(|pen| pen.dashes(frame.from.0, frame.to.0, y, colours::ASKED));
        legend.push((Sign::Dashes(colours::ASKED), "asked for".to_owned()));
    }
    let description = "for each hour, in local time, the 5th, 50th and 95th percentile; the table by hour has the numbers.".to_owned();
    Some(Picture { title, description, size: SIZE, body: canvas.finish(), legend })
}
