//! `linkprobe check` on lines of all sorts: whether it is right, and what it takes.

use bastion_tests::random::Random;

use super::super::Effort;
use super::super::report::{Row, Table, mebibytes};
use super::super::stats::{Sample, short};
use super::peers::{Peer, words_of};
use super::rig::{Rig, Run};
use super::scene::{Judged, Scene, Server, judge};
use super::{Rigs, megabytes, number};

/// Keys of the rows in which neither a budget nor the longer check of each day is at work.
pub const PLAIN: &str = "monthly-data = \"900 GB\"\nlong-check = false\n";

/// Thresholds in Mbit/s, and who is asked at each.
const THRESHOLDS: [(f64, Server); 3] =
    [(4.0, Server::LibreSpeed), (10.0, Server::Defaults), (25.0, Server::Nginx)];

/// What the lines have, as a share of the threshold.
const SHARES: [f64; 11] = [0.5, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 2.0, 5.0, 10.0, 30.0];

/// A check that was made.
pub struct Checked {
    /// Of what.
    pub scene: Scene,
    /// What it took.
    pub run: Run,
    /// Whether its verdict is right.
    pub judged: Judged,
}

impl Checked {
    /// Whether it said anything: what says nothing takes nothing.
    pub fn has_verdict(&self) -> bool {
        self.run.json()["verdict"].is_string()
    }

    /// What it said, or why it said nothing.
    fn said(&self) -> String {
        let json = self.run.json();
        let Some(verdict) = json["verdict"].as_str() else { return self.run.why() };
        let reasons = json["reasons"].as_array().map_or(&[][..], Vec::as_slice);
        let first = reasons.first().and_then(|reason| reason.as_str()).unwrap_or_default();
        format!("{verdict} ({first})")
    }
}

/// Checks the line as it is.
pub fn check(rig: &mut Rig, scene: &Scene, state: &str) -> Checked {
    check_with(rig, scene, state, &[])
}

/// The same with further options.
pub fn check_with(rig: &mut Rig, scene: &Scene, state: &str, more: &[&str]) -> Checked {
    let mut words = vec!["check", "backup", "--json"];
    words.extend(more);
    let run = rig.linkprobe(state, &words);
    let json = run.json();
    let verdict = json["verdict"].as_str();
    // Scripts look at the exit code alone: where it says otherwise, the verdict is none.
    let code = match verdict {
        Some("good") => Some(0),
        Some("marginal" | "high-latency") => Some(1),
        Some("slow" | "wrong-isp" | "down") => Some(2),
        _ => Some(3),
    };
    let verdict = verdict.filter(|_| run.once.code == code);
    let judged = judge(verdict, scene.share);
    let checked = Checked { scene: scene.clone(), judged, run };
    eprintln!(
        "bench: {}: {}, {}{}",
        scene.words(),
        checked.said(),
        megabytes(number(checked.run.bytes)),
        if checked.judged == Judged::Wrong && verdict != Some("wrong-isp") {
            ", WRONG"
        } else {
            ""
        }
    );
    checked
}

/// All scenes so often, one after the other, so that a busy moment hits all of them alike.
fn check_all(rigs: &mut Rigs, scenes: &[Scene], times: usize) -> Vec<Checked> {
    let states: Vec<String> = scenes.iter().map(|_| rigs.state()).collect();
    let mut all = Vec::new();
    for _ in 0..times {
        for (scene, state) in scenes.iter().zip(&states) {
            let rig = rigs.of(scene);
            rig.set(scene, PLAIN);
            all.push(check(rig, scene, state));
        }
    }
    all
}

/// A row that counts right verdicts.
fn row_of(what: &str, checked: &[&Checked], share: f64) -> Row {
    let count = |judged: Judged| checked.iter().filter(|one| one.judged == judged).count();
    let (all, marginal, wrong) = (checked.len(), count(Judged::Marginal), count(Judged::Wrong));
    let right = all - wrong;
    let of = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let rate = of(right) / of(all.max(1));
    let mut words = format!("{right} of {all} right, {marginal} of them marginal");
    let late = checked.iter().filter(|one| one.run.machine_was_late()).count();
    if late > 0 {
        words += &format!("; in {late} the machine was late");
    }
    let mut wrong = checked.iter().filter(|one| one.judged == Judged::Wrong);
    let some: Vec<String> = wrong
        .by_ref()
        .take(6)
        .map(|one| {
            let late = if one.run.machine_was_late() { ", the machine was late" } else { "" };
            format!("{}: {}{late}", one.scene.words(), one.said())
        })
        .collect();
    if !some.is_empty() {
        let more = wrong.count();
        words += &format!("; wrong: {}", some.join("; "));
        words += &if more > 0 { format!(" and {more} more") } else { String::new() };
    }
    let target = format!(">= {:.0} % right, marginal within 10 % only", share * 100.0);
    Row::new(what, &words, all).target(&target, all > 0 && rate >= share).figure("right", rate)
}

/// The plain grid, and from the same runs bytes, time and memory.
pub fn plain(table: &mut Table, rigs: &mut Rigs, effort: Effort, peers: &[Peer]) {
    let (thresholds, shares): (&[_], &[f64]) = match effort {
        Effort::Full => (&THRESHOLDS, &SHARES),
        Effort::Quick => (&THRESHOLDS[1..2], &[0.5, 1.1, 2.0, 10.0]),
    };
    let mut all = Vec::new();
    for rtt_ms in [0.0, 50.0] {
        let scenes: Vec<Scene> = thresholds
            .iter()
            .flat_map(|(mbit, server)| {
                shares.iter().map(|share| Scene::new(*mbit, *share, *server))
            })
            .map(|scene| scene.rtt_ms(rtt_ms))
            .collect();
        let times = if effort == Effort::Full { 4 } else { 1 };
        let checked = check_all(rigs, &scenes, times);
        let what = format!(
            "right verdicts, 0.5x to 30x, RTT {}",
            if rtt_ms > 0.0 { "50 ms" } else { "~0" }
        );
        table.add(row_of(&what, &checked.iter().collect::<Vec<_>>(), 0.99));
        all.extend(checked);
    }
    bytes(table, &all, peers);
    takes(table, &all, peers);
}

fn bytes(table: &mut Table, all: &[Checked], peers: &[Peer]) {
    type Fits = fn(f64) -> bool;
    let classes: [(&str, Fits, f64); 3] = [
        ("line >= 2x", |share| share >= 2.0, 1.5e6),
        ("line within 10 %", |share| (0.9..=1.1).contains(&share), 2.5e6),
        ("line <= half", |share| share <= 0.5, 0.7e6),
    ];
    for (name, fits, most) in classes {
        let of = all.iter().filter(|one| one.has_verdict() && fits(one.scene.share));
        let sample = Sample::new(of.map(|one| number(one.run.bytes)).collect());
        let (median, p95) = (sample.median(), sample.percentile(95));
        let words = format!(
            "median {}, p95 {}, most {}",
            megabytes(median),
            megabytes(p95),
            megabytes(sample.max())
        );
        let row = Row::new(&format!("bytes of a check, {name}"), &words, sample.len());
        let row = row.target(&format!("<= {:.1} MB median", most / 1e6), median <= most);
        let peer = words_of(peers, fits, |run| megabytes(number(run.bytes)));
        table.add(row.figure("bytes", median).peer(&peer));
    }
}

fn takes(table: &mut Table, all: &[Checked], peers: &[Peer]) {
    type Takes = fn(&Run) -> f64;
    type Says = fn(f64) -> String;
    let rows: [(&str, Takes, Says, &str, f64); 3] = [
        ("wall time of a check", |run| run.once.wall_s, seconds, "<= 4 s, p95", 4.0),
        ("CPU of a check", |run| run.once.cpu_s, seconds, "<= 0.1 s, p95", 0.1),
        (
            "memory of a check, resident",
            |run| number(run.once.kib),
            mebibytes,
            "<= 8 MiB, p95",
            8192.0,
        ),
    ];
    for (what, takes, say, target, most) in rows {
        let said = all.iter().filter(|one| one.has_verdict());
        let sample = Sample::new(said.map(|one| takes(&one.run)).collect());
        let p95 = sample.percentile(95);
        let words = format!(
            "median {}, p95 {}, most {}",
            say(sample.median()),
            say(p95),
            say(sample.max())
        );
        let peer = words_of(peers, |share| share == 2.0, |run| say(takes(run)));
        let row = Row::new(what, &words, sample.len()).target(target, p95 <= most);
        table.add(row.figure("p95", p95).peer(&peer));
    }
}

fn seconds(seconds: f64) -> String {
    format!("{} s", short(seconds))
}

/// Loss and jitter, others' traffic, and the other way to share a line.
pub fn hard(table: &mut Table, rigs: &mut Rigs, effort: Effort) {
    let full = effort == Effort::Full;
    let times = if full { 3 } else { 1 };
    let thresholds = if full { &THRESHOLDS[..] } else { &THRESHOLDS[1..2] };
    let grid = |shares: &[f64], change: &dyn Fn(Scene) -> Scene| -> Vec<Scene> {
        let shares = if full { shares } else { &shares[1..2] };
        let plain = thresholds.iter().flat_map(|(mbit, server)| {
            shares.iter().map(|share| Scene::new(*mbit, *share, *server))
        });
        plain.map(change).collect()
    };
    let lossy = |scene: Scene| Scene { loss: 0.005, jitter_ms: 5.0, ..scene.rtt_ms(50.0) };
    // Three tenths of what is asked for, in the same queue.
    let crossed = |scene: Scene| Scene { cross: scene.threshold * 0.3, ..scene };
    let bbr = |scene: Scene| Scene { congestion: "bbr", ..scene };
    let shares = [0.5, 0.9, 1.1, 2.0, 5.0, 20.0];
    let rows: [(&str, Vec<Scene>); 5] = [
        ("0.5 % loss each way, 50 to 60 ms", grid(&shares, &lossy)),
        ("0.5 % loss each way, 50 to 60 ms, bbr", grid(&shares, &|scene| bbr(lossy(scene)))),
        ("others' traffic, 0.3x by UDP", {
            let mut scenes = grid(&shares, &crossed);
            scenes.extend(grid(&shares, &|scene| crossed(scene.rtt_ms(50.0))));
            scenes
        }),
        ("bbr servers, RTT ~0", grid(&shares, &bbr)),
        ("bbr servers, RTT 50 ms", grid(&shares, &|scene| bbr(scene.rtt_ms(50.0)))),
    ];
    let mut lossy_bytes = Vec::new();
    for (what, scenes) in rows {
        let checked = check_all(rigs, &scenes, times);
        if what.contains("loss") {
            lossy_bytes.extend(checked.iter().map(|one| number(one.run.bytes)));
        }
        table.add(row_of(what, &checked.iter().collect::<Vec<_>>(), 0.97));
    }
    let sample = Sample::new(lossy_bytes);
    let words = format!("median {}, most {}", megabytes(sample.median()), megabytes(sample.max()));
    table.add(Row::new("bytes of a check, lossy line", &words, sample.len()));
}

/// Lines that nobody chose.
pub fn random(table: &mut Table, rigs: &mut Rigs, effort: Effort, seed: Option<u64>) {
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        now.map_or(1, |now| now.as_secs())
    });
    let mut random = Random::seeded(seed);
    let scenes: Vec<Scene> =
        (0..effort.times(100)).map(|_| Scene::at_random(&mut random)).collect();
    let checked = check_all(rigs, &scenes, 1);
    let what = format!("lines drawn at random (--seed {seed})");
    table.add(row_of(&what, &checked.iter().collect::<Vec<_>>(), 0.97));
}
