//! How the output looks: on a terminal or not, in lines that fit.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Columns of the output where the terminal's are not known, and the least and most used.
const WIDTH: usize = 130;
const WIDTHS: (usize, usize) = (60, 140);

/// How the output looks: in colour on a terminal that wants it, else plain.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colour: bool,
    width: usize,
}

impl Style {
    /// As the terminal, if it is one, and the environment want it.
    pub fn detect() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let width = columns.filter(|known| *known > 0).unwrap_or(WIDTH).clamp(WIDTHS.0, WIDTHS.1);
        Self { colour: terminal && !dumb && !set("NO_COLOR"), width }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A heading, or what a person would type.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// A syslog line, with the time since the step began.
    pub fn record(self, time: &str, text: &str) -> String {
        let margin = format!("  {}  ", self.paint("2", &format!("{time:>8}")));
        let lines = wrap(text, self.width.saturating_sub(12));
        format!("{margin}{}\n", lines.join(&format!("\n{:12}  ", "")))
    }

    /// A message as a phone shows it.
    pub fn boxed(self, title: &str, text: &str) -> String {
        let lines = wrap(text, 60);
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let rule = "-".repeat(width.saturating_sub(title.len() + 1));
        let mut out = format!("{:12}.- {title} {rule}.\n", "");
        for line in lines {
            let fill = " ".repeat(width.saturating_sub(line.chars().count()));
            out.push_str(&format!("{:12}| {}{fill} |\n", "", self.paint("1;32", &line)));
        }
        out + &format!("{:12}'{}'\n", "", "-".repeat(width + 2))
    }
}

/// `text` in lines of at most `width` characters, cut at spaces; a longer word stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// `us` microseconds for a person: `31 ms`, `2.1 s`.
pub fn seconds(us: u64) -> String {
    match us {
        0..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

/// Now, in microseconds since 1970.
pub fn now_us() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// `time` in microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
