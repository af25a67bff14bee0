//! Whether the line was up, and what checks found: two strips over time.

use super::canvas::{Canvas, Colour, Pen, Side};
use super::{Frame, Picture, Sign, WIDTH, colours};
use crate::local;
use crate::record::Verdict;
use crate::report::strip::{Piece, pieces};
use crate::report::{Part, Period, table};

/// Least and most pieces of a strip: two pixels each at the least.
const PIECES: [i64; 2] = [24, 430];

/// How high a strip is.
const HEIGHT: i32 = 22;

/// So high what is bad is at the least, however short it was.
const LEAST: f64 = 7.0;

/// Both strips; `None` when nobody looked.
pub fn picture(part: &Part, period: Period) -> Option<Picture> {
    part.summary.uptime?;
    let size = (WIDTH, 92);
    let frame = Frame::new(period, size);
    let mut canvas = Canvas::new(size.0, size.1);
    let count = (period.seconds() / local::HOUR_S).clamp(PIECES[0], PIECES[1]);
    let count = usize::try_from(count).unwrap_or(1);
    let pieces = pieces(&part.points, &part.summary.outages, period, count);
    let rows = [(7, "up"), (38, "checks")];
    canvas.draw(|pen| {
        frame.time(pen);
        for (y, name) in rows {
            let middle = y + HEIGHT / 2;
            pen.text(name, (frame.from.0 - 8, middle), Side::Right, 12.0, colours::MUTED);
            pen.rect((frame.from.0, y), (frame.to.0, y + HEIGHT), colours::GRID, 0.7);
        }
    });
    let up = pieces.iter().map(|piece| (piece.period, up(piece))).collect::<Vec<_>>();
    let found = pieces.iter().map(|piece| (piece.period, found(piece))).collect::<Vec<_>>();
    draw(&mut canvas, &frame, rows[0].0, &up);
    draw(&mut canvas, &frame, rows[1].0, &found);
    Some(Picture {
        title: "Up, and what checks found",
        description: format!("{}.", table::uptime(&part.summary)),
        size,
        body: canvas.finish(),
        legend: legend(part, &pieces),
    })
}

/// What a piece shows: colours from below, each with its share, and words where it is worth some.
#[derive(PartialEq, Default)]
struct Shown {
    colours: Vec<(Colour, f64)>,
    words: Option<String>,
}

fn up(piece: &Piece) -> Shown {
    let Some(down) = piece.down else { return Shown::default() };
    let words = (down > 0.0).then(|| {
        let length = local::length(down * seconds(piece.period.seconds()));
        format!("{}: down for {length}", local::minute(piece.period.from_s))
    });
    Shown { colours: vec![(colours::DOWN, down), (colours::UP, 1.0 - down)], words }
}

fn found(piece: &Piece) -> Shown {
    let all_good = |(verdict, _): &(Verdict, f64)| *verdict == Verdict::Good;
    let words = (!piece.verdicts.iter().all(all_good)).then(|| {
        let names = piece.verdicts.iter().map(|(verdict, share)| match *share {
            share if share >= 1.0 => verdict.as_str().to_owned(),
            share => format!("{} {:.0} %", verdict.as_str(), share * 100.0),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        format!("{}: {names}", local::minute(piece.period.from_s))
    });
    let colour = |(verdict, share): &(Verdict, f64)| (colours::of(*verdict), *share);
    Shown { colours: piece.verdicts.iter().map(colour).collect(), words }
}

/// Pieces that are alike and follow each other are one shape, but for those that have words.
fn draw(canvas: &mut Canvas, frame: &Frame, y: i32, pieces: &[(Period, Shown)]) {
    for run in pieces.chunk_by(|one, next| one.1 == next.1 && one.1.words.is_none()) {
        let (Some((first, shown)), Some((last, _))) = (run.first(), run.last()) else { continue };
        let from = frame.x(first.from_s);
        // What was short is seen all the same.
        let to = frame.x(last.to_s).max(from + 2);
        let shape = |pen: &mut Pen<'_>| {
            let mut bottom = y + HEIGHT;
            for (number, (colour, share)) in shown.colours.iter().enumerate() {
                let is_last = number + 1 == shown.colours.len();
                if *share <= 0.0 {
                    continue;
                }
                let height = (share * f64::from(HEIGHT)).max(LEAST);
                let top = if is_last { y } else { (bottom - pixels(height)).max(y) };
                pen.rect((from, top), (to, bottom), *colour, 1.0);
                bottom = top;
            }
        };
        match &shown.words {
            Some(words) => canvas.draw_named(words, shape),
            None => canvas.draw(shape),
        }
    }
}

fn pixels(height: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a few dozen")]
    let pixels = height.round() as i32;
    pixels
}

fn legend(part: &Part, pieces: &[Piece]) -> Vec<(Sign, String)> {
    let block = |colour, words: &str| (Sign::Block(colour), words.to_owned());
    let mut legend = vec![block(colours::UP, "up")];
    if pieces.iter().any(|piece| piece.down.is_some_and(|down| down > 0.0)) {
        legend.push(block(colours::DOWN, "down, the higher the longer"));
    }
    for (verdict, colour) in colours::VERDICTS {
        let count = part.summary.count(verdict);
        if count > 0 {
            legend.push(block(colour, &format!("{} {count}", verdict.as_str())));
        }
    }
    legend.push(block(colours::GRID, "nobody looked"));
    legend
}

#[expect(clippy::cast_precision_loss, reason = "no more than 2^52 seconds")]
fn seconds(whole: i64) -> f64 {
    whole as f64
}
