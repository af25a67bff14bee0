use std::fs;

use super::*;
use crate::record::{Bound, Client, Server};

const SPEEDTEST_CLI: &str = r#"{"download": 93821349.5, "upload": 0, "ping": 31.4, "server": {"url": "http://a.example:8080/speedtest/upload.php", "lat": "52.5", "lon": "13.4", "name": "Berlin", "country": "Germany", "cc": "DE", "sponsor": "An ISP", "id": "4711", "host": "a.example:8080", "d": 12.3, "latency": 31.4}, "timestamp": "2025-03-01T10:00:01.123456Z", "bytes_sent": 0, "bytes_received": 117500000, "share": null, "client": {"ip": "192.0.2.9", "lat": "52.5", "lon": "13.4", "isp": "Starlink", "isprating": "3.7", "rating": "0", "ispdlavg": "0", "ispulavg": "0", "loggedin": "0", "country": "DE"}}"#;

const LIBRESPEED: &str = r#"[{"timestamp":"2025-03-01T12:30:01.123456789+01:00","server":{"name":"Frankfurt","url":"https://l.example/?key=1"},"client":{"ip":"192.0.2.9","hostname":"","city":"","region":"","country":"DE","loc":"","org":"AS14593 Space Exploration Technologies Corporation","postal":"","timezone":""},"bytes_sent":5,"bytes_received":7,"ping":38.5,"jitter":2.5,"upload":12.25,"download":87.5,"share":""}]"#;

const OOKLA: &str = r#"{"type":"result","timestamp":"2025-03-01T13:00:01Z","ping":{"jitter":1.5,"latency":28.5,"low":27,"high":33},"download":{"bandwidth":11000000,"bytes":120000000,"elapsed":10000,"latency":{"iqm":120.5,"low":30,"high":300,"jitter":20}},"upload":{"bandwidth":1500000,"bytes":15000000,"elapsed":9000},"packetLoss":2.5,"isp":"Starlink","interface":{"internalIp":"10.0.0.2","name":"eth0","macAddr":"00:00:00:00:00:00","isVpn":false,"externalIp":"192.0.2.9"},"server":{"id":4711,"host":"a.example","port":8080,"name":"An ISP","location":"Berlin","country":"Germany","ip":"198.51.100.1"},"result":{"id":"x","url":"https://r.example","persisted":true}}"#;

fn parsed(json: &str) -> Result<Record, &'static str> {
    record(&serde_json::from_str(json).unwrap())
}

#[test]
fn a_line_of_speedtest_cli_is_a_measurement_in_its_own_units() {
    let want = Record {
        timestamp: "2025-03-01T10:00:01.123456Z".into(),
        download: Some(93_821_349.5),
        ping: Some(31.4),
        bytes_received: 117_500_000,
        server: Some(Server {
            url: "http://a.example:8080/speedtest/upload.php".into(),
            host: "a.example:8080".into(),
            name: "Berlin".into(),
            sponsor: "An ISP".into(),
            id: Some("4711".into()),
            country: Some("Germany".into()),
            cc: Some("DE".into()),
            latency: Some(31.4),
        }),
        client: Some(Client {
            ip: Some("192.0.2.9".into()),
            isp: Some("Starlink".into()),
            asn: None,
            country: Some("DE".into()),
        }),
        ..Record::default()
    };
    assert_eq!(parsed(SPEEDTEST_CLI), Ok(want));
}

#[test]
fn numbers_that_say_that_nothing_is_known_become_nothing() {
    let failed =
        SPEEDTEST_CLI.replace("93821349.5", "0").replace("\"ping\": 31.4", "\"ping\": 1800000.0");
    let record = parsed(&failed).unwrap();
    assert_eq!((record.download, record.upload, record.ping), (None, None, None));
    let one_lost = SPEEDTEST_CLI.replace("\"ping\": 31.4", "\"ping\": 600021.3");
    let record = parsed(&one_lost).unwrap();
    assert_eq!((record.download, record.ping), (Some(93_821_349.5), None));
}

#[test]
fn librespeed_counts_in_megabits_and_names_the_network() {
    let array: Vec<serde_json::Value> = serde_json::from_str(LIBRESPEED).unwrap();
    let record = record(&array[0]).unwrap();
    assert_eq!((record.download, record.upload), (Some(87_500_000.0), Some(12_250_000.0)));
    assert_eq!((record.ping, record.jitter), (Some(38.5), Some(2.5)));
    assert_eq!(record.timestamp, "2025-03-01T11:30:01.123Z");
    let client = record.client.unwrap();
    assert_eq!(client.asn, Some(14593));
    assert_eq!(client.isp.as_deref(), Some("Space Exploration Technologies Corporation"));
    assert_eq!(record.server.unwrap().url, "https://l.example/");
}

#[test]
fn ookla_counts_in_bytes() {
    let record = parsed(OOKLA).unwrap();
    assert_eq!((record.download, record.upload), (Some(88e6), Some(12e6)));
    assert_eq!((record.ping, record.jitter, record.loss), (Some(28.5), Some(1.5), Some(0.025)));
    assert_eq!((record.ping_loaded, record.bytes_sent), (Some(120.5), 15_000_000));
    assert_eq!(record.client.unwrap().isp.as_deref(), Some("Starlink"));
    let server = record.server.unwrap();
    assert_eq!((server.id.as_deref(), server.sponsor.as_str()), (Some("4711"), "An ISP"));
}

#[test]
fn what_is_no_result_has_a_reason() {
    for (json, want) in [
        ("{}", "JSON that is no result of a speed test"),
        (
            r#"{"type":"log","level":"error","message":"Limit reached"}"#,
            "a message of speedtest, and no result",
        ),
        (r#"{"download":1,"ping":1}"#, "a result without a timestamp"),
        (r#"{"download":1,"ping":1,"timestamp":"noon"}"#, "a result without a timestamp"),
        (
            r#"{"kind":"check","link":"a","timestamp":"2025-03-01T10:00:01Z"}"#,
            "a check of linkprobe: it is no measurement",
        ),
    ] {
        assert_eq!(parsed(json).unwrap_err(), want, "{json}");
    }
    let ours = Record {
        timestamp: "2025-03-01T10:00:01Z".into(),
        link: "a".into(),
        download: Some(1e7),
        download_is: Some(Bound::About),
        ..Record::default()
    };
    assert_eq!(parsed(&serde_json::to_string(&ours).unwrap()), Ok(ours));
}

/// `line:kind` of each item: `j`son, `t`ext, `b`roken.
fn scanned(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    scan(text.as_bytes(), |item| {
        let kind = match item.found {
            Found::Json(_) => 'j',
            Found::Text => 't',
            Found::Broken => 'b',
        };
        found.push(format!("{}{kind}", item.line));
    });
    found
}

#[test]
fn json_is_found_a_line_each_over_lines_and_one_after_the_other() {
    let table: [(&str, &[&str]); 12] = [
        ("", &[]),
        ("\n \n", &[]),
        ("{}\n{}\n", &["1j", "2j"]),
        ("{}{}\n{}", &["1j", "1j", "2j"]),
        ("{\n  \"a\": {\n  }\n}\n{}\n", &["1j", "5j"]),
        ("ERROR: HTTP Error 403: Forbidden\n{}\nERROR: x {}\n{}", &["1t", "2j", "3t", "4j"]),
        ("[{},{}]\n[]\n{}", &["1j", "1j", "3j"]),
        ("[1]\n{}", &["1b", "2j"]),
        ("{\"a\": 1, \"b\n{}\n", &["1b", "2j"]),
        ("{\"a\":1}\n{\"a\":", &["1j", "2b"]),
        ("\u{feff}{}\n\0\0\0{}\n", &["1j", "2j"]),
        ("{},\n{},\n", &["1j", "2j"]),
    ];
    for (text, want) in table {
        assert_eq!(scanned(text), want, "{text:?}");
    }
}

#[test]
fn a_log_that_is_cut_anywhere_costs_no_more_than_its_last_value() {
    let log = format!("{SPEEDTEST_CLI}\n{SPEEDTEST_CLI}\n");
    for cut in 0..log.len() {
        let items = scanned(&log[..cut]);
        let whole = log[..cut].matches("\"DE\"}}").count();
        let found = items.iter().filter(|item| item.ends_with('j')).count();
        assert_eq!(found, whole, "{cut}: {items:?}");
    }
}

fn settings() -> Settings {
    let text = "[[link]]\nname = \"backup\"\ninterface = \"eth1\"\nexpect-isp = [\"starlink\"]\nexpect-asn = [14593]\n";
    Settings::parse(text).unwrap_or_else(|findings| panic!("{findings:?}"))
}

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("linkprobe-import-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    dir
}

#[test]
fn the_same_import_twice_adds_nothing() {
    let dir = dir("twice");
    let log = dir.join("speedtest.log");
    let other = SPEEDTEST_CLI.replace("T10:00", "T11:00").replace("\"Starlink\"", "\"Telekom\"");
    fs::write(&log, format!("ERROR: x\n{SPEEDTEST_CLI}\n{LIBRESPEED}\n{OOKLA}{other}\n{{\"a\""))
        .unwrap();
    let history = History::new(&dir, "backup");
    for _ in 0..2 {
        assert!(import(&settings(), &dir, "backup", std::slice::from_ref(&log)).is_ok());
        let (records, skipped) = history.read(None).unwrap();
        assert!(skipped.is_empty());
        let hours: Vec<&str> = records.iter().map(|record| &record.timestamp[11..13]).collect();
        // That of librespeed-cli was written in another zone.
        assert_eq!(hours, ["10", "11", "11", "13"]);
        assert!(
            records.iter().all(|record| record.link == "backup" && record.kind == Kind::Measure)
        );
        let wrong: Vec<bool> =
            records.iter().map(|record| record.verdict == Some(Verdict::WrongIsp)).collect();
        assert_eq!(wrong.iter().filter(|wrong| **wrong).count(), 1);
    }
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_file_says_what_was_left_out_and_where() {
    let link = &settings().links[0];
    let log = format!("ERROR: a\n{{\"x\":1}}\nERROR: b\n{SPEEDTEST_CLI}\nERROR: c\nERROR: d\n{{");
    let mut records = Vec::new();
    let tally = take(log.as_bytes(), link, &mut HashSet::new(), &mut records);
    assert_eq!(
        tally.words(Path::new("a.log")),
        "a.log: 1 taken\n  \
         4 left out: no JSON, as messages of a tool are (lines 1, 3, 5, ...)\n  \
         1 left out: JSON that is no result of a speed test (line 2)\n  \
         1 left out: JSON that is torn or broken (line 7)"
    );
}

#[test]
fn bad_input_is_named_with_its_line_and_what_to_do() {
    let dir = dir("bad");
    let path = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let table = [
        (
            path("a.csv", b"\nServer ID,Sponsor\n"),
            "a.csv:2: no JSON, as messages of a tool are; nothing",
        ),
        (path("empty", b""), "empty: it is empty"),
        (path("a.gz", b"\x1f\x8b\x08"), "compressed; zcat"),
        (dir.join("missing"), "No such file"),
    ];
    for (path, want) in table {
        let failure = import(&settings(), &dir, "backup", &[path]).unwrap_err();
        let text = format!("{failure:?}");
        assert!(text.contains(want), "{text}");
    }
    let failure = import(&settings(), &dir, "other", &[dir.join("a.csv")]).unwrap_err();
    assert!(format!("{failure:?}").contains("there are: backup"), "{failure:?}");
    assert!(!History::new(&dir, "backup").exists());
    fs::remove_dir_all(&dir).unwrap();
}
