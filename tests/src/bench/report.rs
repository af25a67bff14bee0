//! The table: what was measured, against which target, beside which peer.

use std::fmt;
use std::fs;

use serde_json::{Map, Value, json};

use super::stats::short;

/// Widest a column may be before its text goes on in the next line.
const WIDTHS: [usize; 5] = [44, 26, 46, 5, 52];

/// One line of the table.
#[derive(Debug, Clone, Default)]
pub struct Row {
    what: String,
    target: String,
    measured: String,
    n: usize,
    met: Option<bool>,
    peer: String,
    figures: Map<String, Value>,
}

impl Row {
    /// `measured` of `what`, from `n` samples; without a target, for information.
    pub fn new(what: &str, measured: &str, n: usize) -> Self {
        Self { what: what.to_owned(), measured: measured.to_owned(), n, ..Self::default() }
    }

    /// With a target in words, and whether it is met.
    pub fn target(mut self, target: &str, met: bool) -> Self {
        (self.target, self.met) = (target.to_owned(), Some(met));
        self
    }

    /// What peers take, measured in this run.
    pub fn peer(mut self, peer: &str) -> Self {
        peer.clone_into(&mut self.peer);
        self
    }

    /// A bare number for `--json`.
    pub fn figure(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.to_owned(), json!(value));
        self
    }

    fn cells(&self) -> [String; 5] {
        let target = match self.met {
            None => "-".to_owned(),
            Some(true) => format!("{}: met", self.target),
            Some(false) => format!("{}: MISSED", self.target),
        };
        let n = if self.n == 0 { "-".to_owned() } else { self.n.to_string() };
        let peer = if self.peer.is_empty() { "-".to_owned() } else { self.peer.clone() };
        [self.what.clone(), target, self.measured.clone(), n, peer]
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "target": self.target, "met": self.met, "measured": self.measured,
            "n": self.n, "peer": self.peer, "figures": self.figures,
        })
    }
}

/// All lines, and where they were measured.
pub struct Table {
    name: String,
    machine: Vec<(String, String)>,
    rows: Vec<Row>,
}

impl Table {
    /// An empty one.
    pub fn new(name: &str, machine: Vec<(String, String)>) -> Self {
        Self { name: name.to_owned(), machine, rows: Vec::new() }
    }

    /// Adds a line, and says on standard error that it is there.
    pub fn add(&mut self, row: Row) {
        eprintln!("bench: {}: {}", row.what, row.measured);
        self.rows.push(row);
    }

    /// Adds a fact about where it was measured.
    pub fn note(&mut self, key: &str, value: &str) {
        self.machine.push((key.to_owned(), value.to_owned()));
    }

    /// Adds what the load is when all is measured.
    pub fn note_load(&mut self) {
        self.note("load at the end", &load());
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let (met, of) = self.score();
        let machine: Map<String, Value> =
            self.machine.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({ "bench": self.name, "machine": machine, "rows": rows, "met": met, "targets": of })
    }

    fn score(&self) -> (usize, usize) {
        let met = self.rows.iter().filter(|row| row.met == Some(true)).count();
        (met, self.rows.iter().filter(|row| row.met.is_some()).count())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.machine {
            writeln!(f, "{key}: {value}")?;
        }
        writeln!(f)?;
        let head = ["what", "target", "measured", "n", "peers, in this run"];
        line(f, &head.map(str::to_owned))?;
        line(f, &WIDTHS.map(|width| "-".repeat(width)))?;
        for row in &self.rows {
            line(f, &row.cells())?;
        }
        let (met, of) = self.score();
        writeln!(f, "\n{met} of {of} targets are met")
    }
}

/// One row of the table, in as many lines as its longest cell takes.
fn line(f: &mut fmt::Formatter<'_>, cells: &[String; 5]) -> fmt::Result {
    let columns: Vec<Vec<String>> =
        cells.iter().zip(WIDTHS).map(|(cell, width)| wrapped(cell, width)).collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..height {
        let mut text = String::new();
        for (column, width) in columns.iter().zip(WIDTHS) {
            let part = column.get(at).map_or("", String::as_str);
            text.push_str(&format!("| {part:width$} "));
        }
        writeln!(f, "{text}|")?;
    }
    Ok(())
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one line at least");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// What a reader has to know to compare the numbers with others.
pub fn machine() -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let release = read("/etc/os-release");
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let limits = read("/proc/self/limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let files = files.and_then(|line| line.split_whitespace().nth(4)).unwrap_or("?");
    [
        ("processor", format!("{}, {cores} cores", model.map_or("?", |(_, name)| name))),
        ("system", system.unwrap_or("?").trim_matches('"').to_owned()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        // libpam before 1.6.0 closes each number up to it in pam_exec's child.
        ("hard limit of open files", files.to_owned()),
        ("load at the start", load()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// `1.25 MiB` of `kib` KiB.
pub fn mebibytes(kib: f64) -> String {
    format!("{} MiB", short(kib / 1024.0))
}
