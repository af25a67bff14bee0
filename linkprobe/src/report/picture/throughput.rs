//! Throughput over time, with what is asked for.

use super::canvas::{Canvas, Pen};
use super::{ALONE, Frame, Picture, Sign, WIDTH, colours, stretches};
use crate::local;
use crate::record::{Bound, Kind};
use crate::report::scale::Scale;
use crate::report::spread::{Sample, Spread};
use crate::report::{Part, Period, Point};
use crate::units;

/// The way of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Download.
    Down,
    /// Upload.
    Up,
}

/// How far a stroke goes up that says "at least": in pixels.
const STROKE: i32 = 9;

struct Test {
    at_s: i64,
    sample: Sample,
    asked: Option<f64>,
    is_measure: bool,
}

impl Test {
    fn is_too_slow(&self) -> bool {
        let below = self.asked.is_some_and(|asked| self.sample.value < asked);
        below && self.sample.is == Bound::About
    }
}

/// Throughput of one way; `None` when there is none.
pub fn picture(part: &Part, period: Period, way: Way) -> Option<Picture> {
    let pick = |point: &Point| match way {
        Way::Down => (point.download, point.min_download.or(part.summary.min_download)),
        Way::Up => (point.upload, part.summary.min_upload),
    };
    let tests: Vec<Test> = part
        .points
        .iter()
        .filter(|point| point.is_test())
        .filter_map(|point| {
            let (sample, asked) = pick(point);
            let is_measure = point.kind == Kind::Measure;
            Some(Test { at_s: point.at_s, sample: sample?, asked, is_measure })
        })
        .collect();
    if tests.is_empty() {
        return None;
    }
    let size = (WIDTH, if way == Way::Down { 270 } else { 190 });
    let frame = Frame::new(period, size);
    let values = tests.iter().flat_map(|test| [Some(test.sample.value), test.asked]).flatten();
    let scale = Scale::of(values);
    let mut canvas = Canvas::new(size.0, size.1);
    canvas.draw(|pen| {
        frame.outages(pen, part);
        frame.numbers(pen, &scale, units::rate);
        frame.time(pen);
    });
    let measures = tests.iter().filter(|test| test.is_measure).count();
    let alone = |test: &&Test| tests.len() <= ALONE || (test.is_measure && measures <= ALONE);
    let together: Vec<&Test> = tests.iter().filter(|test| !alone(test)).collect();
    if !together.is_empty() {
        draw_together(&mut canvas, &frame, &scale, &together);
    }
    draw_asked(&mut canvas, &frame, &scale, &tests);
    // What has more to say is drawn later, and so is seen.
    let mut one_by_one: Vec<&Test> = tests.iter().filter(alone).collect();
    one_by_one.sort_by_key(|test| (test.sample.is == Bound::About, test.is_measure));
    canvas.draw(|pen| {
        for test in one_by_one.iter().filter(|test| test.sample.is == Bound::AtLeast) {
            bound(pen, frame.x(test.at_s), frame.y(scale.place(test.sample.value)));
        }
    });
    for test in one_by_one.iter().filter(|test| test.sample.is == Bound::About) {
        draw_found(&mut canvas, &frame, &scale, test);
    }
    let (title, spread) = match way {
        Way::Down => ("Download", part.summary.download),
        Way::Up => ("Upload", part.summary.upload),
    };
    Some(Picture {
        title,
        description: description(spread, tests.iter().find_map(|test| test.asked)),
        size,
        body: canvas.finish(),
        legend: legend(&tests, !together.is_empty(), measures <= ALONE),
    })
}

fn draw_found(canvas: &mut Canvas, frame: &Frame, scale: &Scale, test: &Test) {
    let at = (frame.x(test.at_s), frame.y(scale.place(test.sample.value)));
    let name = format!("{}: {}", local::minute(test.at_s), units::rate(test.sample.value));
    canvas.draw_named(&name, |pen| match test.is_measure {
        true if !test.is_too_slow() => pen.diamond(at, 5, colours::MEASURED),
        true => pen.diamond(at, 5, slow()),
        false => pen.dot(at, 3, if test.is_too_slow() { slow() } else { colours::FOUND }),
    });
}

fn slow() -> super::canvas::Colour {
    colours::of(crate::record::Verdict::Slow)
}

/// "At least": a foot, and a stroke that fades into what is not known.
fn bound(pen: &mut Pen<'_>, x: i32, y: i32) {
    pen.line((x, y), (x, y - STROKE), colours::BOUND, 1);
    pen.rect((x - 1, y - 1), (x + 1, y + 1), colours::BOUND, 1.0);
}

/// Years of tests: a bar from the 5th to the 95th percentile of a stretch of time, with a mark at the median.
fn draw_together(canvas: &mut Canvas, frame: &Frame, scale: &Scale, tests: &[&Test]) {
    let (step, count) = stretches(frame.period);
    let mut by_stretch: Vec<Vec<&Test>> = Vec::new();
    by_stretch.resize_with(count, Vec::new);
    for test in tests {
        let index = usize::try_from((test.at_s - frame.period.from_s) / step).unwrap_or(0);
        if let Some(stretch) = by_stretch.get_mut(index) {
            stretch.push(test);
        }
    }
    let pixels = (frame.to.0 - frame.from.0) / i32::try_from(count).unwrap_or(1).max(1);
    let half = (pixels / 2 - 1).clamp(1, 6);
    for (index, stretch) in by_stretch.iter().enumerate() {
        let Some(spread) =
            Spread::of(&mut stretch.iter().map(|test| test.sample).collect::<Vec<_>>())
        else {
            continue;
        };
        let from_s = frame.period.from_s + i64::try_from(index).unwrap_or(0) * step;
        let x = frame.x(from_s + step / 2);
        let [low, middle, high] = [spread.p5, spread.p50, spread.p95]
            .map(|quantile| frame.y(scale.place(quantile.value)));
        let asked = stretch.iter().rev().find_map(|test| test.asked);
        let below = spread.p5.is == Bound::About && asked.is_some_and(|a| spread.p5.value < a);
        // What is below what was asked for has its colour.
        let edge = match asked {
            Some(asked) if below => frame.y(scale.place(asked)).clamp(high, low),
            _ => low,
        };
        let name = format!("{}: {}", local::minute(from_s), words(spread));
        canvas.draw_named(&name, |pen| {
            pen.rect((x - half, high), (x + half, edge.max(high + 2)), colours::BOUND, 0.9);
            if edge < low {
                pen.rect((x - half, edge), (x + half, low), slow(), 0.9);
            }
            if spread.p95.is == Bound::AtLeast {
                pen.line((x, high), (x, high - STROKE), colours::BOUND, 1);
            }
            if spread.p50.is == Bound::About {
                pen.line((x - half, middle), (x + half, middle), colours::FOUND, 2);
            }
        });
    }
}

/// What was asked for, which may have changed.
fn draw_asked(canvas: &mut Canvas, frame: &Frame, scale: &Scale, tests: &[Test]) {
    let mut runs: Vec<(i64, f64)> = Vec::new();
    for test in tests {
        let Some(asked) = test.asked else { continue };
        if runs.last().is_none_or(|(_, last)| (last - asked).abs() > asked * 0.01) {
            runs.push((test.at_s, asked));
        }
    }
    let ends = runs.iter().skip(1).map(|(at_s, _)| *at_s).chain([frame.period.to_s]);
    canvas.draw(|pen| {
        for (index, ((at_s, asked), end)) in runs.iter().zip(ends).enumerate() {
            let from = if index == 0 { frame.from.0 } else { frame.x(*at_s) };
            pen.dashes(from, frame.x(end), frame.y(scale.place(*asked)), colours::ASKED);
        }
    });
}

fn words(spread: Spread) -> String {
    let word = |quantile: crate::report::Quantile| {
        let sign = if quantile.is == Bound::AtLeast { "≥" } else { "" };
        format!("{sign}{}", units::rate(quantile.value))
    };
    let (p5, p50, p95) = (word(spread.p5), word(spread.p50), word(spread.p95));
    format!("p5 {p5}, median {p50}, p95 {p95}, {} tests", spread.count)
}

fn description(spread: Option<Spread>, asked: Option<f64>) -> String {
    let asked =
        asked.map_or_else(String::new, |rate| format!("; asked for: {}", units::rate(rate)));
    spread.map_or_else(String::new, |spread| format!("{}{asked}.", words(spread)))
}

fn legend(tests: &[Test], together: bool, measured: bool) -> Vec<(Sign, String)> {
    let any = |test: &dyn Fn(&Test) -> bool| tests.iter().any(test);
    let mut legend = Vec::new();
    let mut add = |sign: Sign, words: &str| legend.push((sign, words.to_owned()));
    if together {
        add(Sign::Block(colours::BOUND), "5th to 95th percentile");
    }
    if any(&|test| test.sample.is == Bound::AtLeast) {
        add(Sign::Stroke(colours::BOUND), "at least that: the check took no more");
    }
    if !together
        && any(&|test| !test.is_measure && !test.is_too_slow() && test.sample.is == Bound::About)
    {
        add(Sign::Dot(colours::FOUND), "found by a check");
    }
    if any(&Test::is_too_slow) {
        let sign = if together { Sign::Block(slow()) } else { Sign::Dot(slow()) };
        add(sign, "less than asked for");
    }
    if measured && any(&|test| test.is_measure) {
        add(Sign::Diamond(colours::MEASURED), "measured");
    }
    if let Some(asked) = tests.iter().rev().find_map(|test| test.asked) {
        add(Sign::Dashes(colours::ASKED), &format!("asked for: {}", units::rate(asked)));
    }
    legend
}
