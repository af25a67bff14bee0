//! The report as a page: one file, nothing from elsewhere, light or dark as its reader has it. It is
//! XML as well, so that anything can read it.

use std::fmt::Write;

use super::outages::Outage;
use super::picture::{NOTHING, Picture, colours, escape, heading, names, pictures, sign, style};
use super::summary::Summary;
use super::table::{self, outage_length, percent, percent_of};
use super::{Part, Report};
use crate::local;
use crate::record::{Bound, Verdict};
use crate::units;

/// Most outages that are listed; the others are counted.
const MOST_OUTAGES: usize = 100;

/// The page's own style sheet; that of the pictures follows it.
const STYLE: &str = include_str!("page.css");

/// All of it.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut body = String::new();
    for (number, part) in report.parts.iter().enumerate() {
        body.push_str(&section(report, part, number));
    }
    let title = format!("{}: {}", names(report), report.host);
    let written = local::minute(report.period.to_s);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <footer>linkprobe {} on {}, {written}. Times are of this machine's time zone{}.</footer>\n\
         </body>\n</html>\n",
        style(),
        env!("CARGO_PKG_VERSION"),
        escape(&report.host),
        zone(report.period.to_s),
        title = escape(&title),
    )
}

fn zone(at_s: i64) -> String {
    let zone = notifier::ffi::local_time(at_s).map(|time| time.zone).unwrap_or_default();
    if zone.is_empty() { zone } else { format!(", {}", escape(&zone)) }
}

fn section(report: &Report, part: &Part, number: usize) -> String {
    let summary = &part.summary;
    let mut text = format!(
        "<section aria-labelledby=\"line-{number}\">\n<header>\n<h1 id=\"line-{number}\">{}{}</h1>\n<p>{}</p>\n</header>\n",
        escape(&summary.link),
        state(summary),
        escape(&about(report, summary)),
    );
    if summary.records == 0 {
        let _ = writeln!(text, "<p class=\"nothing\">{NOTHING}</p>\n</section>");
        return text;
    }
    text.push_str(&tiles(summary));
    for (index, picture) in pictures(part, report.period).iter().enumerate() {
        text.push_str(&figure(picture, &format!("line-{number}-{index}")));
    }
    text.push_str(&percentiles(summary));
    text.push_str(&outages(&summary.outages, summary.uptime.is_some()));
    text.push_str(&hours(summary));
    text.push_str("</section>\n");
    text
}

fn about(report: &Report, summary: &Summary) -> String {
    let isps: Vec<String> = summary
        .isps
        .iter()
        .map(|(name, count)| format!("{name} ({})", table::counted(*count, "test")))
        .collect();
    let isps = if isps.is_empty() { String::new() } else { format!(" · {}", isps.join(", ")) };
    let mut text = format!("{}{isps}", heading(report));
    if summary.without_time > 0 {
        let _ = write!(text, " · {}", table::without_time(summary.without_time));
    }
    text
}

/// What the last check found, beside the name.
fn state(summary: &Summary) -> String {
    summary.last_check.map_or_else(String::new, |last| {
        let words = format!("{}, {}", last.verdict.as_str(), local::minute(last.at_s));
        format!(
            " <span class=\"state\">{}{}</span>",
            sign(super::picture::Sign::Block(colours::of(last.verdict))),
            escape(&words)
        )
    })
}

fn tiles(summary: &Summary) -> String {
    let mut text = String::from("<dl class=\"tiles\">\n");
    let mut tile = |name: &str, value: &str, more: &str| {
        let _ = writeln!(
            text,
            "<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>",
            escape(name),
            escape(value),
            escape(more)
        );
    };
    if let Some(up) = summary.uptime {
        let words = table::uptime(summary);
        let more = words.split_once(", ").map_or("", |(_, more)| more);
        tile("Up", &percent(up.share), more);
    }
    let checks = summary.checks();
    if checks > 0 {
        let good = percent_of(summary.count(Verdict::Good), checks);
        tile("Checks without fault", &good, &format!("of {checks}"));
    }
    let rows = table::rows(summary, "≥ ");
    for row in rows.iter().filter(|row| ["download", "upload", "ping"].contains(&row.name)) {
        let [p5, median, _] = &row.quantiles;
        let name = match row.name {
            "download" => "Download, median",
            "upload" => "Upload, median",
            _ => "Latency, median",
        };
        let asked = if row.asked.is_empty() {
            String::new()
        } else {
            format!("; asked for: {}", row.asked)
        };
        let more = if row.name == "ping" {
            format!("one of twenty above {}{asked}", row.quantiles[2])
        } else {
            format!("nineteen of twenty {}{asked}", floor(p5))
        };
        tile(name, median, &more);
    }
    let words = table::data(summary);
    let more = words.split_once(" in ").map_or("", |(_, more)| more);
    tile("Data", &units::bytes(summary.data.bytes), more);
    text.push_str("</dl>\n");
    text
}

/// `4.8 Mbit/s or more` of a percentile, which may be a bound already.
fn floor(quantile: &str) -> String {
    format!("{} or more", quantile.trim_start_matches("≥ "))
}

fn figure(picture: &Picture, id: &str) -> String {
    let legend: String = picture
        .legend
        .iter()
        .map(|(mark, words)| format!("<li>{}{}</li>", sign(*mark), escape(words)))
        .collect();
    let (width, height) = picture.size;
    let class = if width < 700 { " class=\"half\"" } else { "" };
    format!(
        "<figure{class}>\n<figcaption><h2>{title}</h2><ul class=\"legend\">{legend}</ul></figcaption>\n\
         <div class=\"wide\"><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-text\">\n\
         <title id=\"{id}-title\">{title}</title><desc id=\"{id}-text\">{}</desc>\n{}</svg></div>\n</figure>\n",
        escape(&picture.description),
        picture.body,
        title = escape(picture.title),
    )
}

fn percentiles(summary: &Summary) -> String {
    let rows = table::rows(summary, "≥ ");
    let mut text = String::from(
        "<div class=\"half table\"><h2>Percentiles</h2>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\"></th>\
         <th scope=\"col\">5th</th><th scope=\"col\">median</th><th scope=\"col\">95th</th>\
         <th scope=\"col\">tests</th></tr></thead>\n<tbody>\n",
    );
    for row in &rows {
        let [p5, p50, p95] = row.quantiles.each_ref().map(|quantile| escape(quantile));
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">{}</th><td>{p5}</td><td>{p50}</td><td>{p95}</td><td>{}</td></tr>",
            escape(row.name.trim()),
            row.count
        );
    }
    text.push_str("</tbody></table></div>\n");
    if rows.iter().any(|row| row.bounded) {
        let _ = writeln!(text, "<p class=\"note\">≥: {}.</p>", escape(table::BOUND));
    }
    text.push_str("</div>\n");
    text
}

fn outages(outages: &[Outage], looked: bool) -> String {
    let mut text = String::from("<div class=\"half table\"><h2>Outages</h2>\n");
    if outages.is_empty() {
        let words = if looked { "None was seen." } else { "Nobody looked." };
        let _ = writeln!(text, "<p class=\"note\">{words}</p></div>");
        return text;
    }
    text.push_str(
        "<div class=\"wide scroll\"><table>\n<thead><tr><th scope=\"col\">down from</th><th scope=\"col\">for</th>\
         <th scope=\"col\">seen by</th></tr></thead>\n<tbody>\n",
    );
    for outage in outages.iter().rev().take(MOST_OUTAGES) {
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            local::minute(outage.from_s),
            escape(&outage_length(outage)),
            outage.seen_by.as_str()
        );
    }
    text.push_str("</tbody></table></div>\n");
    if outages.len() > MOST_OUTAGES {
        let _ = writeln!(
            text,
            "<p class=\"note\">And {} before them.</p>",
            outages.len() - MOST_OUTAGES
        );
    }
    text.push_str("</div>\n");
    text
}

fn hours(summary: &Summary) -> String {
    if !summary.hours.iter().any(|hour| hour.download.is_some() || hour.ping.is_some()) {
        return String::new();
    }
    let mut text = String::from(
        "<details><summary>The numbers by the hour of the day</summary>\n<div class=\"wide\"><table>\n<thead>\
         <tr><th scope=\"col\" rowspan=\"2\">hour</th><th scope=\"colgroup\" colspan=\"3\">download</th>\
         <th scope=\"colgroup\" colspan=\"3\">upload</th><th scope=\"colgroup\" colspan=\"3\">latency</th>\
         <th scope=\"col\" rowspan=\"2\">checks</th><th scope=\"col\" rowspan=\"2\">without fault</th></tr>\n<tr>",
    );
    for _ in 0..3 {
        text.push_str(
            "<th scope=\"col\">5th</th><th scope=\"col\">median</th><th scope=\"col\">95th</th>",
        );
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for hour in summary.shown_hours() {
        let _ = write!(text, "<tr><th scope=\"row\">{:02}:00</th>", hour.hour);
        for (spread, word) in [
            (hour.download, units::rate as fn(f64) -> String),
            (hour.upload, units::rate),
            (hour.ping, table::milliseconds),
        ] {
            let all = spread.map(|spread| [spread.p5, spread.p50, spread.p95]);
            for index in 0..3 {
                let cell = all.and_then(|all| all.get(index).copied()).map(|quantile| {
                    let sign = if quantile.is == Bound::AtLeast { "≥ " } else { "" };
                    format!("{sign}{}", word(quantile.value))
                });
                let _ = write!(text, "<td>{}</td>", cell.unwrap_or_default());
            }
        }
        let good = if hour.checks > 0 { percent_of(hour.good, hour.checks) } else { String::new() };
        let _ = writeln!(text, "<td>{}</td><td>{good}</td></tr>", hour.checks);
    }
    text.push_str("</tbody></table></div></details>\n");
    text
}
