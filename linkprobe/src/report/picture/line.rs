//! Whether the line was up, and what checks found: two strips over time.

use super::canvas::{Canvas, Side};
use super::{Frame, Picture, Sign, WIDTH, colours};
use crate::local;
use crate::record::Verdict;
use crate::report::strip::{Piece, pieces};
use crate::report::{Part, Period};

/// Most pieces of a strip: two pixels each.
const MOST: i64 = 430;

/// Both strips.
pub fn picture(part: &Part, period: Period) -> Picture {
    let size = (WIDTH, 92);
    let frame = Frame::new(period, size);
    let mut canvas = Canvas::new(size.0, size.1);
    let count = (period.seconds() / local::HOUR_S).clamp(1, MOST);
    let count = usize::try_from(count).unwrap_or(1);
    let pieces = pieces(&part.points, &part.summary.outages, period, count);
    let rows = [(6, "up"), (38, "checks")];
    canvas.draw(|pen| {
        frame.time(pen);
        for (y, name) in rows {
            let y = y + 12;
            pen.text(name, (frame.from.0 - 8, y), Side::Right, 12.0, colours::MUTED);
            pen.rect((frame.from.0, y - 11), (frame.to.0, y + 11), colours::GRID, 0.7);
        }
    });
    let up = |piece: &Piece| {
        piece.down.map(|down| match down {
            down if down <= 0.0 => colours::UP,
            down if down >= 1.0 => colours::DOWN,
            _ => colours::PARTLY,
        })
    };
    let verdict = |piece: &Piece| piece.worst.map(colours::of);
    draw(&mut canvas, &frame, &pieces, rows[0].0, up, |piece| {
        let down = piece.down.filter(|down| *down > 0.0)?;
        let words = local::length(down * seconds(piece.period.seconds()));
        Some(format!("{}: down for {words}", local::minute(piece.period.from_s)))
    });
    draw(&mut canvas, &frame, &pieces, rows[1].0, verdict, |piece| {
        let worst = piece.worst.filter(|worst| *worst != Verdict::Good)?;
        Some(format!("{}: {}", local::minute(piece.period.from_s), worst.as_str()))
    });
    Picture {
        title: "Up, and what checks found",
        description: description(part),
        size,
        body: canvas.finish(),
        legend: legend(part, &pieces),
    }
}

/// Pieces of one colour that follow each other are one shape, but for those that have a name.
fn draw(
    canvas: &mut Canvas,
    frame: &Frame,
    pieces: &[Piece],
    y: i32,
    colour: impl Fn(&Piece) -> Option<super::canvas::Colour>,
    name: impl Fn(&Piece) -> Option<String>,
) {
    let mut index = 0;
    while let Some(first) = pieces.get(index) {
        let rest = &pieces[index..];
        let same = |piece: &&Piece| colour(piece) == colour(first) && name(piece).is_none();
        let named = name(first);
        let count = if named.is_some() { 1 } else { rest.iter().take_while(same).count().max(1) };
        let last = rest.get(count - 1).unwrap_or(first);
        index += count;
        let Some(colour) = colour(first) else { continue };
        let (from, to) = (frame.x(first.period.from_s), frame.x(last.period.to_s));
        // What was short is seen all the same.
        let to = to.max(from + 2);
        let shape = |pen: &mut super::canvas::Pen<'_>| {
            pen.rect((from, y + 1), (to, y + 23), colour, 1.0);
        };
        match named {
            Some(name) => canvas.draw_named(&name, shape),
            None => canvas.draw(shape),
        }
    }
}

fn legend(part: &Part, pieces: &[Piece]) -> Vec<(Sign, String)> {
    let block = |colour, words: &str| (Sign::Block(colour), words.to_owned());
    let any = |test: &dyn Fn(f64) -> bool| pieces.iter().filter_map(|p| p.down).any(test);
    let mut legend = vec![block(colours::UP, "up")];
    if any(&|down| down > 0.0 && down < 1.0) {
        legend.push(block(colours::PARTLY, "partly"));
    }
    if any(&|down| down >= 1.0) {
        legend.push(block(colours::DOWN, "down"));
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

fn description(part: &Part) -> String {
    format!("{}.", crate::report::table::uptime(&part.summary))
}

#[expect(clippy::cast_precision_loss, reason = "no more than 2^52 seconds")]
fn seconds(whole: i64) -> f64 {
    whole as f64
}
