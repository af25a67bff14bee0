//! `linkprobe report` and `linkprobe import`, on histories that are made up: what they say is what
//! stands there, whatever else lies there, and nothing of it is lost.

use std::time::{Duration, SystemTime};

use bastion_tests::disk::{fill, make_room, small};
use bastion_tests::host::{CONFIG, Host, require};
use bastion_tests::line_history::{Story, time};
use bastion_tests::process::Output;
use bastion_tests::wait::wait_until;

const STATE: &str = "/var/lib/linkprobe";
const HISTORY: &str = "/var/lib/linkprobe/backup.jsonl";

const LINK: &str = "
[host]
name = \"jump\"
[[link]]
name = \"backup\"
interface = \"wwan0\"
min-download = \"10 Mbit/s\"
max-latency = \"100ms\"
monthly-data = \"2 GB\"
expect-isp = [\"starlink\"]
";

fn host() -> Host {
    require("linkprobe");
    let host = Host::new();
    host.sh(&format!("install -d -m 755 -o _linkprobe -g _linkprobe {STATE}"));
    host.write_config(LINK);
    host
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap()
}

/// A machine with a month of a line, and the text of its history; all of it is of the last 30 days.
fn month() -> (Host, String) {
    let host = host();
    let lines = Story::backup(now_s(), 29).lines();
    host.write(HISTORY, &lines, 0o640);
    (host, lines)
}

fn linkprobe(host: &Host, words: &[&str]) -> Output {
    linkprobe_with(host, &["LC_ALL=C.UTF-8"], words)
}

fn linkprobe_with(host: &Host, environment: &[&str], words: &[&str]) -> Output {
    let program = ["/artefacts/linkprobe", "--config", CONFIG, "--state-dir", STATE];
    host.run(&[&["env"], environment, &program, words].concat())
}

/// A line of speedtest-cli's log.
fn speedtest_cli(hour: i64) -> String {
    let at = time(1_750_000_000 + hour * 3600);
    format!(
        r#"{{"download": {}.5, "upload": 0, "ping": 31.25, "server": {{"url": "http://a.example:8080/", "name": "Berlin", "id": "4711", "sponsor": "x"}}, "timestamp": "{at}", "bytes_sent": 0, "bytes_received": 117500000, "share": null, "client": {{"ip": "192.0.2.9", "isp": "Starlink", "country": "DE"}}}}"#,
        90_000_000 + hour
    )
}

#[test]
fn the_table_says_what_the_history_holds_and_a_bound_is_no_speed() {
    let (host, lines) = month();
    let text = linkprobe(&host, &["report"]).ok().text();
    let count = |what: &str| lines.lines().filter(|line| line.contains(what)).count();
    for (word, what) in [("good", "\"good\""), ("slow", "\"slow\""), ("down", "\"down\"")] {
        assert!(text.contains(&format!("{word} {}", count(what))), "{word}:\n{text}");
    }
    let outages = count("\"outage\"");
    assert!(text.contains(&format!("in {outages} outages")) && outages == 4, "{text}");
    assert!(text.contains("2 h 30 min"), "{text}");
    assert!(text.contains("SpaceX Starlink (") && text.contains("Telekom (12)"), "{text}");
    // The line has 70 to 110 Mbit/s, of which checks took 10: the median of all is a bound.
    let row = |name: &str| {
        let row = text.lines().find(|line| line.trim_start().starts_with(name));
        row.unwrap_or_else(|| panic!("no {name}:\n{text}")).to_owned()
    };
    let download: Vec<String> = row("download ").split_whitespace().map(str::to_owned).collect();
    assert!(!download[1].starts_with('≥') && download[1].parse::<f64>().unwrap() < 10.0);
    assert!(download[3].starts_with("≥10") && download[5].starts_with("≥10"), "{download:?}");
    let measured: f64 = row("measured").split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!((70.0..110.0).contains(&measured), "{measured}");
    // Plots, a strip and a row for each hour; no colours, as nobody looks.
    let braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
    assert!(text.chars().filter(|c| braille(*c)).count() > 100, "{text}");
    assert!(text.contains('█') && text.contains("\n  23:00 "), "{text}");
    assert!(!text.contains('\x1b'));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn a_terminal_that_is_not_of_utf8_is_told_and_gets_ascii() {
    let (host, _) = month();
    for environment in [&["LC_ALL=C"][..], &["-u", "LC_ALL", "LANG=de_DE.ISO-8859-1"]] {
        let text = linkprobe_with(&host, environment, &["report"]).ok().text();
        assert!(text.is_ascii() && text.contains(">=10"), "{environment:?}:\n{text}");
        assert!(
            text.contains("the plots need a terminal of UTF-8") && text.contains("###"),
            "{text}"
        );
    }
}

#[test]
fn on_a_terminal_it_is_as_wide_as_that_and_has_colours_unless_they_are_not_wanted() {
    let (host, _) = month();
    let report = format!("/artefacts/linkprobe --config {CONFIG} --state-dir {STATE} report");
    for (columns, no_colour) in [(60, ""), (60, "NO_COLOR=1"), (130, "")] {
        let script = format!("stty cols {columns}; {no_colour} {report}");
        let out = host.run(&["script", "-qec", &script, "/dev/null"]).ok().text();
        assert_eq!(out.contains('\x1b'), no_colour.is_empty(), "{columns} {no_colour}: {out}");
        let plain =
            host.run_with(Duration::from_secs(5), &["sed", "s/\x1b\\[[0-9]*m//g"], out.as_bytes());
        let widest =
            plain.text().lines().map(|line| line.trim_end().chars().count()).max().unwrap();
        assert!(
            (columns - 20..=columns).contains(&widest),
            "{columns}: {widest}\n{}",
            plain.text()
        );
    }
}

/// A reader in Python, which prints what it found.
fn python(host: &Host, script: &str) -> String {
    host.run(&["python3", "-c", script]).ok().text()
}

#[test]
fn the_page_and_the_picture_are_xml_of_their_own_with_titles_for_who_does_not_see_them() {
    let (host, _) = month();
    linkprobe(&host, &["report", "--html", "/tmp/r.html", "--svg", "/tmp/r.svg"]).ok();
    let found = python(
        &host,
        "
import re, xml.etree.ElementTree as xml
page = open('/tmp/r.html').read()
root = xml.fromstring(page.split('\\n', 1)[1])
ns = '{http://www.w3.org/2000/svg}'
pictures = [e for e in root.iter('svg') if e.get('role') == 'img']
ids = [e.get('id') for e in root.iter() if e.get('id')]
assert len(pictures) == 6, len(pictures)
assert len(set(ids)) == len(ids), 'an id twice'
for picture in pictures:
    for id in picture.get('aria-labelledby').split():
        assert ids.count(id) == 1, id
    assert picture.find('title').text and picture.find('desc').text
for tag in ('script', 'link', 'img', 'iframe', 'object', 'image', 'use'):
    assert not list(root.iter(tag)), tag
assert not re.search(r'(?:src|href)=|url\\(|@import|https?://', page), 'something from elsewhere'
assert 'prefers-color-scheme' in page
print(root.find('head/title').text)
svg = xml.parse('/tmp/r.svg').getroot()
assert svg.tag == ns + 'svg' and svg.find(ns + 'title').text.startswith('backup, jump')
assert len([e for e in svg.iter(ns + 'g') if e.get('role') == 'img']) == 6
print(len(list(svg.iter(ns + 'polyline'))) > 0, len(list(svg.iter(ns + 'rect'))) > 50)
",
    );
    assert_eq!(found, "backup: jump\nTrue True\n");
    let mode = host.sh("stat -c %a /tmp/r.html /tmp/r.svg; ls -A /tmp");
    assert_eq!(mode, "644\n644\nr.html\nr.svg\n", "written by rename, nothing is left");
}

#[test]
fn the_list_has_a_row_for_each_record_and_jq_reads_the_history_as_it_did_the_log() {
    let (host, lines) = month();
    linkprobe(&host, &["report", "--csv", "/tmp/r.csv"]).ok();
    let rows = python(
        &host,
        "
import csv
rows = list(csv.DictReader(open('/tmp/r.csv', newline='')))
times = [row['timestamp'] for row in rows]
assert times == sorted(times)
bounds = [row for row in rows if row['download_is'] == 'at-least']
assert all(float(row['download_bits_per_second']) < 11e6 for row in bounds)
assert {row['kind'] for row in rows} == {'check', 'watch', 'measure', 'outage'}
print(len(rows), len(bounds) > 300)
",
    );
    assert_eq!(rows, format!("{} True\n", lines.lines().count()));
    let piped = linkprobe(&host, &["report", "--csv", "-"]).ok().text();
    assert_eq!(piped, host.read("/tmp/r.csv"));
    let jq = host.sh(&format!(
        "jq -r 'select(.kind == \"measure\") | [.client.isp, .download, .ping] | @tsv' {HISTORY}"
    ));
    assert_eq!(jq.lines().count(), lines.matches("\"measure\"").count());
    assert!(jq.lines().all(|line| line.starts_with("SpaceX Starlink\t")), "{jq}");
    let json = linkprobe(&host, &["report", "backup", "--json"]).ok().text();
    host.write("/tmp/r.json", json, 0o644);
    let found = host.sh(
        "jq -r '.links[0] | [.link, .download.p50.is, .measured_download.p50.is, (.outages | length),
         .uptime.seen_by, (.hours | length)] | @tsv' /tmp/r.json",
    );
    assert_eq!(found, "backup\tat-least\tabout\t4\twatch\t24\n");
}

#[test]
fn no_history_one_record_and_a_torn_one_are_reports_too() {
    let host = host();
    let out = linkprobe(&host, &["report"]).ok().text();
    assert!(out.contains("there is nothing of this time in the history"), "{out}");
    let all = ["report", "--html", "/tmp/r.html", "--svg", "/tmp/r.svg", "--csv", "/tmp/r.csv"];
    linkprobe(&host, &all).ok();
    assert!(host.read("/tmp/r.html").contains("There is nothing of this time"));

    let story = Story::backup(now_s(), 1).lines();
    let check = story.lines().rfind(|line| line.contains("\"good\"")).expect("a good check");
    host.write(HISTORY, format!("{check}\n"), 0o640);
    let one = linkprobe(&host, &["report"]).ok();
    assert!(one.text().contains("1: good 1 (100 %)"), "{}", one.text());
    linkprobe(&host, &all).ok();

    host.write(HISTORY, format!("hello\n{check}\n{{\"timestamp\":\"20"), 0o640);
    let torn = linkprobe(&host, &["report"]).ok();
    assert!(torn.text().contains("1: good 1"), "{}", torn.text());
    let want = format!(
        "linkprobe: 2 lines are no records and were left out, the first of them {HISTORY}:1: no JSON\n"
    );
    assert_eq!(torn.errors(), want);

    // A clock that was not set does not stretch the time.
    let unset = check.replacen(&check[14..18], "1970", 1);
    host.write(HISTORY, format!("{unset}\n{check}\n"), 0o640);
    let text = linkprobe(&host, &["report", "--since", "all"]).ok().text();
    assert!(text.contains("1 record of a time that cannot be"), "{text}");
    assert!(!text.contains("1970"), "{text}");
}

#[test]
fn what_cannot_be_done_is_told_with_its_exit_code() {
    let (host, _) = month();
    for (words, code, want) in [
        (
            &["report", "other"][..],
            64,
            "there is no [[link]] \"other\" and no history of it; there are: backup",
        ),
        (&["report", "../../etc/x"], 64, "there is no [[link]]"),
        (&["report", "--since", "yesterday"], 64, "write \"30d\", \"12h\" or \"all\""),
        (&["report", "--html", "/dev/null"], 64, "/dev/null is no plain file"),
        (
            &["report", "--html", "/nowhere/r.html"],
            73,
            "/nowhere/r.html: No such file or directory",
        ),
        (&["import", "backup"], 64, "linkprobe import NAME FILE..."),
        (&["import", "backup", "/nowhere/log"], 73, "/nowhere/log: No such file"),
    ] {
        let out = linkprobe(&host, words);
        assert_eq!(out.code, Some(code), "{words:?}: {out:?}");
        assert!(out.errors().contains(want), "{words:?}: {}", out.errors());
    }
    assert_eq!(host.sh("stat -c %F /dev/null"), "character special file\n");
    // A line that the file does not name any more has its history.
    host.sh(&format!("mv {HISTORY} {STATE}/old.jsonl"));
    assert!(linkprobe(&host, &["report", "old"]).ok().text().contains("in 4 outages"));
    // A link in its place is not followed.
    host.sh(&format!("ln -s {STATE}/old.jsonl {HISTORY}"));
    let out = linkprobe(&host, &["report"]);
    assert!(
        out.code == Some(65) && out.errors().contains("is no plain file; move it away"),
        "{out:?}"
    );
}

#[test]
fn a_log_of_speedtest_cli_becomes_history_once_and_two_at_once_lose_nothing() {
    let host = host();
    let log = |hours: std::ops::Range<i64>| {
        let lines = hours.map(speedtest_cli).map(|line| format!("{line}\n"));
        let lines: Vec<String> = lines.collect();
        format!("ERROR: HTTP Error 403: Forbidden\n{}", lines.concat())
    };
    host.write("/tmp/a.log", log(0..300), 0o644);
    host.write("/tmp/b.log", log(300..600), 0o644);
    let import =
        format!("/artefacts/linkprobe --config {CONFIG} --state-dir {STATE} import backup");
    host.sh(&format!("{import} /tmp/a.log & one=$!; {import} /tmp/b.log; wait $one"));
    let lines = host.read(HISTORY);
    assert_eq!(lines.lines().count(), 600);
    host.sh(&format!("jq -e '.kind == \"measure\" and .upload == null' {HISTORY} >/dev/null"));
    let again = linkprobe(&host, &["import", "backup", "/tmp/a.log"]).ok().text();
    assert_eq!(
        again,
        "/tmp/a.log: 0 taken, 300 were there already\n  \
         1 left out: no JSON, as messages of a tool are (line 1)\n"
    );
    assert_eq!(host.read(HISTORY), lines);
    // What root has begun the daemon can go on with.
    assert_eq!(host.sh(&format!("stat -c '%U %a' {HISTORY}")), "_linkprobe 640\n");
    let text = linkprobe(&host, &["report", "--since", "all"]).ok().text();
    assert!(text.contains("Starlink (600)") && text.contains("90 Mbit/s"), "{text}");
    let piped = host.run_with(
        Duration::from_secs(20),
        &[
            "/artefacts/linkprobe",
            "--config",
            CONFIG,
            "--state-dir",
            STATE,
            "import",
            "backup",
            "-",
        ],
        speedtest_cli(900).as_bytes(),
    );
    assert_eq!(piped.ok().text(), "-: 1 taken\n");
}

#[test]
fn on_a_full_disk_nothing_half_written_stays_and_the_rest_is_taken_when_there_is_room() {
    let host = host();
    small(&host, STATE, "size=256k");
    let log: String = (0..600).map(|hour| format!("{}\n", speedtest_cli(hour))).collect();
    host.write("/tmp/a.log", log, 0o644);
    let first = host.sh("head -n 20 /tmp/a.log >/tmp/first.log; wc -l </tmp/first.log");
    assert_eq!(first, "20\n");
    linkprobe(&host, &["import", "backup", "/tmp/first.log"]).ok();
    let before = host.read(HISTORY);
    fill(&host, STATE);
    let full = linkprobe(&host, &["import", "backup", "/tmp/a.log"]);
    assert!(
        full.code == Some(75)
            && full.errors().contains(
                "No space left on device (os error 28); the history is as it was: make room"
            ),
        "{full:?}"
    );
    // Half a page may have had room; it is gone again.
    assert_eq!(host.read(HISTORY), before);
    assert!(linkprobe(&host, &["report", "--since", "all"]).ok().errors().is_empty());
    make_room(&host, STATE);
    host.sh(&format!("mount -o remount,size=4m {STATE}"));
    linkprobe(&host, &["import", "backup", "/tmp/a.log"]).ok();
    assert_eq!(host.read(HISTORY).lines().count(), 600);
}

#[test]
fn a_run_that_is_killed_while_it_writes_costs_no_record_of_another() {
    let host = host();
    let log: String = (0..20_000).map(|hour| format!("{}\n", speedtest_cli(hour))).collect();
    host.write("/tmp/a.log", log, 0o644);
    host.write("/tmp/b.log", format!("{}\n", speedtest_cli(-5)), 0o644);
    linkprobe(&host, &["import", "backup", "/tmp/b.log"]).ok();
    for _ in 0..5 {
        let import = host.spawn(&[
            "/artefacts/linkprobe",
            "--config",
            CONFIG,
            "--state-dir",
            STATE,
            "import",
            "backup",
            "/tmp/a.log",
        ]);
        let begun = || host.read(HISTORY).len() > 100_000;
        let _ = wait_until(Duration::from_secs(10), begun);
        drop(import);
    }
    linkprobe(&host, &["import", "backup", "/tmp/a.log"]).ok();
    let times = host
        .sh(&format!("jq -R -r 'fromjson? | .timestamp' {STATE}/backup*.jsonl | sort | uniq -c"));
    assert_eq!(times.lines().count(), 20_001, "none is lost");
    assert!(
        times.lines().all(|line| line.trim_start().starts_with("1 ")),
        "and none is there twice"
    );
}

#[test]
fn what_cannot_be_said_on_a_full_disk_ends_nothing() {
    let (host, lines) = month();
    host.write(HISTORY, &(lines + "{\"torn"), 0o640);
    let line =
        format!("/artefacts/linkprobe --config {CONFIG} --state-dir {STATE} report 2>/dev/full");
    let output = host.run(&["sh", "-c", &line]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("backup"), "{output:?}");
}
