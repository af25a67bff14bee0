//! Latency over time: a band from the 5th to the 95th percentile, and the median.

use super::canvas::Canvas;
use super::{Frame, Picture, Sign, WIDTH, colours, stretches};
use crate::local;
use crate::report::scale::Scale;
use crate::report::spread::Spread;
use crate::report::table::{mark_ms, milliseconds};
use crate::report::{Part, Period};

/// From so many samples on they are drawn as a band.
const BAND_FROM: usize = 200;

/// Most samples above the picture that have a sign of their own.
const MOST_TIPS: usize = 60;

/// Idle round trips, and those while the line was filled; `None` when there are none.
pub fn picture(part: &Part, period: Period) -> Option<Picture> {
    let pings: Vec<(i64, f64)> =
        part.points.iter().filter_map(|point| Some((point.at_s, point.ping?))).collect();
    let loaded: Vec<(i64, f64)> =
        part.points.iter().filter_map(|point| Some((point.at_s, point.ping_loaded?))).collect();
    let spread = part.summary.ping?;
    let size = (WIDTH, 210);
    let frame = Frame::new(period, size);
    let asked = part.summary.max_latency;
    // A few that are far off do not press all others to the ground.
    let most = pings.iter().chain(&loaded).map(|(_, ping)| *ping).fold(0.0, f64::max);
    let loaded_most = part.summary.ping_loaded.map_or(0.0, |loaded| loaded.p95.value);
    let usual = (spread.p95.value * 2.0).max(loaded_most);
    // What is asked for is seen where it is not far above all that there is.
    let asked_near = asked.filter(|asked| *asked < usual * 3.0);
    let scale = Scale::linear(most.min(usual).max(asked_near.unwrap_or(0.0)));
    let mut canvas = Canvas::new(size.0, size.1);
    canvas.draw(|pen| {
        frame.outages(pen, part);
        frame.numbers(pen, &scale, mark_ms);
        frame.time(pen);
        if let Some(asked) = asked_near {
            pen.dashes(frame.from.0, frame.to.0, frame.y(scale.place(asked)), colours::ASKED);
        }
    });
    let above: Vec<(i64, f64)> =
        pings.iter().copied().filter(|(_, ping)| scale.is_above(*ping)).collect();
    let band = pings.len() >= BAND_FROM;
    if band {
        draw_band(&mut canvas, &frame, &scale, &pings);
    } else {
        draw_line(&mut canvas, &frame, &scale, &pings);
    }
    for (at_s, ping) in above.iter().filter(|_| above.len() <= MOST_TIPS) {
        let name = format!("{}: {}", local::minute(*at_s), milliseconds(*ping));
        let (x, y) = (frame.x(*at_s), frame.from.1);
        canvas.draw_named(&name, |pen| {
            pen.polygon(&[(x - 4, y + 7), (x + 4, y + 7), (x, y)], colours::PING, 1.0);
        });
    }
    for (at_s, ping) in &loaded {
        let name = format!("{}, under load: {}", local::minute(*at_s), milliseconds(*ping));
        let at = (frame.x(*at_s), frame.y(scale.place(*ping)));
        canvas.draw_named(&name, |pen| pen.diamond(at, 5, colours::MEASURED));
    }
    let mut legend = Vec::new();
    let mut add = |sign: Sign, words: String| legend.push((sign, words));
    add(Sign::Dot(colours::PING), "idle round trip, median".into());
    if band {
        add(Sign::Block(colours::PING), "5th to 95th percentile".into());
    }
    if !loaded.is_empty() {
        add(Sign::Diamond(colours::MEASURED), "while the line was filled".into());
    }
    if !above.is_empty() {
        let words = format!("above {}: {}", milliseconds(scale.top()), above.len());
        add(Sign::Above(colours::PING), words);
    }
    if let Some(asked) = asked {
        add(Sign::Dashes(colours::ASKED), format!("asked for: {} or less", milliseconds(asked)));
    }
    let [p5, p50, p95] = [spread.p5, spread.p50, spread.p95].map(|q| milliseconds(q.value));
    let description = format!("p5 {p5}, median {p50}, p95 {p95}, {} samples.", spread.count);
    Some(Picture { title: "Latency", description, size, body: canvas.finish(), legend })
}

/// A line through each, with a gap where there is none.
fn draw_line(canvas: &mut Canvas, frame: &Frame, scale: &Scale, pings: &[(i64, f64)]) {
    const GAP_S: i64 = 3 * local::HOUR_S;
    let dot = |(at_s, ping): &(i64, f64)| (frame.x(*at_s), frame.y(scale.place(*ping)));
    canvas.draw(|pen| {
        for run in pings.chunk_by(|one, next| next.0 - one.0 <= GAP_S) {
            let dots: Vec<(i32, i32)> = run.iter().map(dot).collect();
            pen.path(&dots, colours::PING, 2);
            dots.iter().for_each(|at| pen.dot(*at, 2, colours::PING));
        }
    });
}

fn draw_band(canvas: &mut Canvas, frame: &Frame, scale: &Scale, pings: &[(i64, f64)]) {
    let (step, count) = stretches(frame.period);
    let mut by_stretch: Vec<Vec<f64>> = vec![Vec::new(); count];
    for (at_s, ping) in pings {
        let index = usize::try_from((at_s - frame.period.from_s) / step).unwrap_or(0);
        if let Some(stretch) = by_stretch.get_mut(index) {
            stretch.push(*ping);
        }
    }
    let spreads: Vec<(i32, Option<Spread>)> = by_stretch
        .into_iter()
        .enumerate()
        .map(|(index, stretch)| {
            let middle = i64::try_from(index).unwrap_or(0) * step + step / 2;
            (frame.x(frame.period.from_s + middle), Spread::of_exact(stretch))
        })
        .collect();
    canvas.draw(|pen| {
        for run in spreads.chunk_by(|one, next| one.1.is_some() == next.1.is_some()) {
            let run: Vec<(i32, Spread)> =
                run.iter().filter_map(|(x, spread)| Some((*x, (*spread)?))).collect();
            let at = |pick: fn(&Spread) -> f64| {
                let dot =
                    move |(x, spread): &(i32, Spread)| (*x, frame.y(scale.place(pick(spread))));
                run.iter().map(dot).collect::<Vec<_>>()
            };
            let (low, middle, mut band) =
                (at(|s| s.p5.value), at(|s| s.p50.value), at(|s| s.p95.value));
            if let [one] = middle[..] {
                // A stretch alone has no line to the next.
                pen.line((one.0, band[0].1), (one.0, low[0].1), colours::PING, 1);
                pen.dot(one, 2, colours::PING);
                continue;
            }
            band.extend(low.into_iter().rev());
            pen.polygon(&band, colours::PING, 0.22);
            pen.path(&middle, colours::PING, 2);
        }
    });
}
