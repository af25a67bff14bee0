//! The pictures of a report.

use std::fmt::Write;

use super::scale::{Scale, moments, place_in};
use super::{Part, Period, Report};
use crate::local;

mod canvas;
mod hours;
mod latency;
mod line;
mod throughput;

pub use canvas::{colours, escape, style};

use canvas::{Canvas, Pen, Side};

/// A picture, and what it is in words.
pub struct Picture {
    /// A few words.
    pub title: &'static str,
    /// A sentence for who does not see it.
    pub description: String,
    /// Pixels across and down.
    pub size: (u32, u32),
    /// The shapes.
    pub body: String,
    /// What its signs mean: colour in the light, and words.
    pub legend: Vec<(Sign, String)>,
}

/// A sign of a legend.
#[derive(Debug, Clone, Copy)]
pub enum Sign {
    /// A filled square.
    Block(canvas::Colour),
    /// A dot.
    Dot(canvas::Colour),
    /// A square on its corner.
    Diamond(canvas::Colour),
    /// A stroke upwards.
    Stroke(canvas::Colour),
    /// Dashes.
    Dashes(canvas::Colour),
    /// A tip upwards.
    Above(canvas::Colour),
}

/// Across.
const WIDTH: u32 = 960;

/// All pictures of a line for which there is anything.
#[must_use]
pub fn pictures(part: &Part, period: Period) -> Vec<Picture> {
    let all = [
        line::picture(part, period),
        throughput::picture(part, period, throughput::Way::Down),
        throughput::picture(part, period, throughput::Way::Up),
        latency::picture(part, period),
        hours::download(part),
        hours::ping(part),
    ];
    all.into_iter().flatten().collect()
}

/// A picture with its frame: axes and room for their words.
struct Frame {
    period: Period,
    from: (i32, i32),
    to: (i32, i32),
}

/// Size of words at axes.
const SMALL: f64 = 12.0;

impl Frame {
    fn new(period: Period, size: (u32, u32)) -> Self {
        let (width, height) = (signed(size.0), signed(size.1));
        Self { period, from: (84, 10), to: (width - 14, height - 26) }
    }

    fn x(&self, at_s: i64) -> i32 {
        between(self.from.0, self.to.0, place_in(self.period, at_s))
    }

    /// From the lower end, 0, to the upper, 1.
    fn y(&self, place: f64) -> i32 {
        between(self.to.1, self.from.1, place)
    }

    /// Marks and words of the time axis.
    fn time(&self, pen: &mut Pen<'_>) {
        let (y, mut free) = (self.to.1, 0);
        pen.line((self.from.0, y), (self.to.0, y), colours::AXIS, 1);
        for (at_s, word) in moments(self.period, 12) {
            let x = self.x(at_s);
            pen.line((x, y), (x, y + 4), colours::AXIS, 1);
            let half = width_of(&word) / 2;
            if x - half > free && x + half < self.to.0 + 14 {
                pen.text(&word, (x, y + 15), Side::Middle, SMALL, colours::MUTED);
                free = x + half + 6;
            }
        }
    }

    /// Lines and words of the axis of numbers.
    fn numbers(&self, pen: &mut Pen<'_>, scale: &Scale, word: fn(f64) -> String) {
        for mark in scale.marks(5) {
            let y = self.y(scale.place(mark));
            pen.line((self.from.0, y), (self.to.0, y), colours::GRID, 1);
            pen.text(&word(mark), (self.from.0 - 8, y), Side::Right, SMALL, colours::MUTED);
        }
    }

    /// Bands where the line was down, behind everything.
    fn outages(&self, pen: &mut Pen<'_>, part: &Part) {
        for outage in &part.summary.outages {
            let (from, to) = (self.x(outage.from_s), self.x(outage.to_s));
            if to > from {
                pen.rect((from, self.from.1), (to, self.to.1), colours::DOWN, 0.15);
            }
        }
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn between(from: i32, to: i32, share: f64) -> i32 {
    let place = f64::from(from) + f64::from(to - from) * share;
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let pixel = place.round() as i32;
    pixel
}

/// The longest run of pieces for which pictures still draw each test alone.
const ALONE: usize = 900;

/// Equal stretches of a period, a few hundred at most, each a number of hours that a person counts in.
fn stretches(period: Period) -> (i64, usize) {
    let hours = [1, 2, 4, 6, 12, 24, 48, 96, 168, 336, 672];
    let step = hours.iter().map(|hours| hours * local::HOUR_S);
    let fits = |step: &i64| period.seconds() / step < 200;
    let step = step.into_iter().find(fits).unwrap_or(period.seconds() / 200 + 1);
    let count = usize::try_from(period.seconds() / step + 1).unwrap_or(1);
    (step, count)
}

/// One picture of all lines, for who wants a file of it.
#[must_use]
pub fn whole(report: &Report) -> String {
    const TITLE: i32 = 34;
    let mut y = 16;
    let mut body = String::new();
    let words = |text: &str, at: (i32, i32), size: f64, colour: canvas::Colour| {
        let mut canvas = Canvas::new(WIDTH, 10);
        canvas.draw(|pen| pen.text(text, at, Side::Left, size, colour));
        canvas.finish()
    };
    for part in &report.parts {
        body.push_str(&words(&part.summary.link, (16, y + 14), 22.0, colours::INK));
        let about = heading(report);
        body.push_str(&words(&about, (16, y + 40), 13.0, colours::MUTED));
        y += 64;
        if part.summary.records == 0 {
            body.push_str(&words(NOTHING, (16, y + 8), 14.0, colours::INK));
            y += 40;
            continue;
        }
        // Two that are narrow stand side by side.
        let (mut x, mut row) = (0, 0);
        for picture in pictures(part, report.period) {
            let (width, height) = (signed(picture.size.0), signed(picture.size.1));
            let _ = write!(
                body,
                "<g role=\"img\" aria-label=\"{}\" transform=\"translate({x},{y})\">",
                escape(&format!("{}: {}", picture.title, picture.description))
            );
            body.push_str(&words(picture.title, (16, 12), 15.0, colours::INK));
            let (signs, more) = legend(&picture, (16, TITLE - 2));
            body.push_str(&signs);
            let top = TITLE + 12 + more;
            let _ = writeln!(body, "<g transform=\"translate(0,{top})\">{}</g></g>", picture.body);
            row = row.max(top + height + 18);
            x += width;
            if x + width > signed(WIDTH) {
                (x, y, row) = (0, y + row, 0);
            }
        }
        y += row + 16;
    }
    let title = escape(&format!("{}, {}", names(report), heading(report)));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" role=\"group\" aria-labelledby=\"title\">\n\
         <title id=\"title\">{title}</title>\n<style>{}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"{}\"/>\n{body}</svg>\n",
        style(),
        colours::PAPER.light(),
    )
}

/// What a line without records has in place of pictures.
pub const NOTHING: &str =
    "There is nothing of this time in the history; linkprobe check writes it.";

/// The names of all lines.
#[must_use]
pub fn names(report: &Report) -> String {
    let names: Vec<&str> = report.parts.iter().map(|part| part.summary.link.as_str()).collect();
    names.join(", ")
}

/// Of which machine and time a report is.
#[must_use]
pub fn heading(report: &Report) -> String {
    let nothing = report.nothing_before().map_or_else(String::new, |words| format!("; {words}"));
    format!(
        "{}, {} to {}{nothing}",
        report.host,
        local::minute(report.period.from_s),
        local::minute(report.period.to_s)
    )
}

/// How wide a small text is, about.
fn width_of(text: &str) -> i32 {
    i32::try_from(text.chars().count() * 13 / 2).unwrap_or(i32::MAX)
}

/// The signs and their words, in as many rows as they take; and how many these are.
fn legend(picture: &Picture, from: (i32, i32)) -> (String, i32) {
    const ROW: i32 = 18;
    let mut canvas = Canvas::new(WIDTH, 10);
    let mut rows = 1;
    canvas.draw(|pen| {
        let mut x = from.0;
        for (sign, words) in &picture.legend {
            let width = 36 + width_of(words);
            if x > from.0 && x + width > signed(picture.size.0) {
                (x, rows) = (from.0, rows + 1);
            }
            let y = from.1 + (rows - 1) * ROW;
            draw_sign(pen, *sign, (x, y));
            pen.text(words, (x + 20, y), Side::Left, SMALL, colours::MUTED);
            x += width;
        }
    });
    (canvas.finish(), (rows - 1) * ROW)
}

fn draw_sign(pen: &mut Pen<'_>, sign: Sign, (x, y): (i32, i32)) {
    match sign {
        Sign::Block(colour) => pen.rect((x + 3, y - 5), (x + 13, y + 5), colour, 1.0),
        Sign::Dot(colour) => pen.dot((x + 8, y), 3, colour),
        Sign::Diamond(colour) => pen.diamond((x + 8, y), 5, colour),
        Sign::Stroke(colour) => {
            pen.line((x + 8, y - 6), (x + 8, y + 5), colour, 2);
            pen.dot((x + 8, y + 4), 2, colour);
        }
        Sign::Dashes(colour) => pen.dashes(x, x + 16, y, colour),
        Sign::Above(colour) => {
            pen.polygon(&[(x + 4, y + 3), (x + 12, y + 3), (x + 8, y - 4)], colour, 1.0);
        }
    }
}

/// A sign of a legend as a small picture of its own.
#[must_use]
pub fn sign(sign: Sign) -> String {
    let mut canvas = Canvas::new(18, 12);
    canvas.draw(|pen| draw_sign(pen, sign, (0, 6)));
    format!(
        "<svg viewBox=\"0 0 18 12\" width=\"18\" height=\"12\" aria-hidden=\"true\">{}</svg>",
        canvas.finish()
    )
}
