//! Plots for a terminal, of braille dots. A terminal that is not of UTF-8 has none of them, and the
//! strip of ASCII alone.

use std::fmt::Write;

use textplots::{Chart, Plot, Shape};

use super::scale::{Scale, moments, place_in};
use super::strip::pieces;
use super::table::{Looks, mark_ms, wrapped};
use super::{Part, Period};
use crate::record::Bound;
use crate::units;

/// Characters left of the axis.
const MARGIN: usize = 13;

/// Narrower and wider than that no plot is.
const COLUMNS: [usize; 2] = [24, 150];

/// Rows of a plot.
const ROWS: usize = 10;

/// Dots of a character (Unicode, "Braille Patterns"): across and down.
const DOTS: [usize; 2] = [2, 4];

/// The plots of a line, or the reason why there are none.
#[must_use]
pub fn plots(part: &Part, period: Period, looks: Looks) -> String {
    let columns = looks.width.saturating_sub(MARGIN + 2).min(COLUMNS[1]);
    if columns < COLUMNS[0] {
        return String::new();
    }
    let strip = part.summary.uptime.map(|_| strip(part, period, columns, looks.unicode));
    if !looks.unicode {
        let strip = strip.map_or_else(String::new, |strip| strip + "\n");
        return format!(
            "{strip}  the plots need a terminal of UTF-8 (LC_ALL=C.UTF-8); --html and --svg do not\n"
        );
    }
    let frame = Frame { period, columns };
    [strip, download(part, &frame), ping(part, &frame)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether it was up: a character for each stretch of time.
fn strip(part: &Part, period: Period, columns: usize, unicode: bool) -> String {
    let [up, partly, down, unknown] =
        if unicode { ['█', '▄', '▁', ' '] } else { ['#', '+', '_', ' '] };
    let pieces = pieces(&part.points, &part.summary.outages, period, columns);
    let line: String = pieces
        .iter()
        .map(|piece| match piece.down {
            None => unknown,
            Some(share) if share <= 0.0 => up,
            Some(share) if share >= 1.0 => down,
            Some(_) => partly,
        })
        .collect();
    format!(
        "  {:>width$} {line}\n  {:>width$} {up} up  {partly} partly  {down} down\n",
        "up",
        "",
        width = MARGIN - 3
    )
}

struct Frame {
    period: Period,
    columns: usize,
}

/// A dot of the canvas, from its lower left corner.
type Dot = (f32, f32);

impl Frame {
    fn size(&self) -> [usize; 2] {
        [self.columns * DOTS[0], ROWS * DOTS[1]]
    }

    fn dot(&self, at_s: i64, place: f64) -> Dot {
        let [width, height] = self.size();
        (on(place_in(self.period, at_s), width), on(place, height))
    }

    /// Draws dots and lines of dots, between an axis of numbers and one of time.
    fn draw(&self, dots: &[Dot], scale: Scale, title: &str, word: fn(f64) -> String) -> String {
        let [width, height] = self.size().map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        let shape = Shape::Points(dots);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let (across, up) = (width as f32, height as f32);
        let mut chart = Chart::new_with_y_range(width, height, 0.0, across, 0.0, up);
        let chart = chart.lineplot(&shape);
        chart.figures();
        let drawn = chart.frame();
        let mut rows: Vec<&str> = drawn.lines().collect();
        rows.resize(ROWS, "");
        let marks: Vec<(usize, String)> = scale
            .marks(4)
            .into_iter()
            .map(|mark| (ROWS - 1 - cell(scale.place(mark), ROWS), word(mark)))
            .collect();
        let mut text = String::new();
        for line in wrapped(title, self.columns) {
            let _ = writeln!(text, "{:>MARGIN$}{line}", "");
        }
        for (number, row) in rows.iter().enumerate() {
            let mark = marks.iter().find(|(at, _)| *at == number);
            let (label, line) = mark.map_or(("", '│'), |(_, word)| (word.as_str(), '┤'));
            let _ = writeln!(text, "{label:>width$} {line}{}", row.trim_end(), width = MARGIN - 2);
        }
        text + &self.time_axis()
    }

    fn time_axis(&self) -> String {
        let mut line = vec!['─'; self.columns];
        let mut words = vec![' '; self.columns + 2];
        let mut free = 0;
        for (at_s, word) in moments(self.period, self.columns / 10) {
            let column = cell(place_in(self.period, at_s), self.columns);
            if column < free || column + word.len() > words.len() {
                continue;
            }
            line[column] = '┬';
            for (index, letter) in word.chars().enumerate() {
                words[column + index] = letter;
            }
            free = column + word.len() + 2;
        }
        let (line, words): (String, String) =
            (line.into_iter().collect(), words.into_iter().collect());
        let space = " ".repeat(MARGIN - 1);
        format!("{space}└{line}\n{space} {}\n", words.trim_end())
    }
}

/// The dot of a share, counted from 1: the canvas has no dot 0.
fn on(place: f64, dots: usize) -> f32 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a few hundred"
    )]
    let dot = (place.clamp(0.0, 1.0) * (dots - 1) as f64).round() as f32;
    dot + 1.0
}

/// The cell of a share.
fn cell(place: f64, cells: usize) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let cell = place.clamp(0.0, 1.0) * (cells - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to cells")]
    let cell = cell.round() as usize;
    cell
}

/// Download over time: a dot for a speed, a stroke upwards for a bound, a dotted line for what is
/// asked for.
fn download(part: &Part, frame: &Frame) -> Option<String> {
    let asked = part.summary.min_download;
    let found = || part.points.iter().filter_map(|point| Some((point.at_s, point.download?)));
    let values: Vec<f64> = found().map(|(_, sample)| sample.value).chain(asked).collect();
    found().next()?;
    let scale = Scale::of(values.iter().copied());
    let mut dots = Vec::new();
    for (at_s, sample) in found() {
        let (x, y) = frame.dot(at_s, scale.place(sample.value));
        dots.push((x, y));
        if sample.is == Bound::AtLeast {
            let top = frame.size()[1];
            #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
            let top = top as f32;
            dots.extend([1.0, 2.0, 3.0].map(|up| (x, (y + up).min(top))));
        }
    }
    if let Some(asked) = asked {
        let y = on(scale.place(asked), frame.size()[1]);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let across = (1..=frame.size()[0]).step_by(4).map(|x| (x as f32, y));
        dots.extend(across);
    }
    let asked =
        asked.map_or_else(String::new, |rate| format!("  ⠄⠄⠄ asked for: {}", units::rate(rate)));
    let bounds = part.summary.download.is_some_and(|download| download.bounds > 0);
    let bound = if bounds { "  ⡇ at least that" } else { "" };
    Some(frame.draw(&dots, scale, &format!("download  ⠂ speed{bound}{asked}"), units::rate))
}

fn ping(part: &Part, frame: &Frame) -> Option<String> {
    let found = || part.points.iter().filter_map(|point| Some((point.at_s, point.ping?)));
    found().next()?;
    // A few that are far off lie on the upper edge, and do not press all others to the ground.
    let most = part.summary.ping?.p95.value * 3.0;
    let scale = Scale::of(found().map(|(_, ping)| ping.min(most)));
    let dots: Vec<Dot> = found().map(|(at_s, ping)| frame.dot(at_s, scale.place(ping))).collect();
    Some(frame.draw(&dots, scale, "ping", mark_ms))
}
