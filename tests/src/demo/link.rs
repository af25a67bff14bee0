//! A backup line is checked: a good one, a slow one, a wrong one; and a month of checks is looked at.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bastion_tests::host::{Host, require, rigs};
use bastion_tests::line_history::Story;
use bastion_tests::link::names::Names;
use bastion_tests::link::speed::{CA, Speed};
use bastion_tests::link::{Net, PAYLOAD, Shape, Way};
use bastion_tests::process::Output;
use bastion_tests::provider::{AUTH_TOKEN, Provider};
use bastion_tests::sender::sms;
use bastion_tests::wait::{pause, wait_until};

use super::style::now_us;
use super::{Demo, Machines};

/// What is expected of the line, but for what the demo alone needs.
const LINK: &str = "[[link]]\nname = \"backup\"\ninterface = \"line0\"\nexpect-asn = [14593]\n\
                    min-download = \"10 Mbit/s\"\nmonthly-data = \"2 GB\"\n";

/// The names of the small internet have certificates of its own CA.
fn link() -> String {
    format!("{LINK}ca-file = \"{CA}\"\n")
}

/// How wide the line is when all is well, and when it is slow, in Mbit/s of TCP payload.
const GOOD: f64 = 50.0;
const SLOW: f64 = 4.0;

/// How long speedtest-cli downloads.
const SPEEDTEST_S: f64 = 10.0;

/// Longest time for a command: speedtest-cli takes 12 s.
const MOST: Duration = Duration::from_secs(60);

/// When the line counts as still: its queue holds 100 ms.
const STILL: Duration = Duration::from_millis(250);

/// A home with two lines, and who answers beyond them.
pub struct Lines {
    net: Net,
    _names: Names,
    _speed: [Speed; 2],
}

impl Machines for Lines {
    fn told(&self) -> &Host {
        &self.net.home
    }
}

/// What a command has said, and used of the lines.
struct Run {
    output: Output,
    bytes: u64,
}

/// Tells the story.
pub fn tell() {
    require("bastion");
    require("linkprobe");
    let begin = now_us();
    let mut demo = set_up();
    demo.heading("A home with two lines, each with an ISP of its own, and an internet behind them");
    demo.note(
        "They live in namespaces of their own: no packet leaves them, no file of yours is touched.",
    );
    demo.note("line1 is the main line, with the default route. line0 is the backup, 40 ms long:");
    LINK.lines().for_each(|line| demo.note(&format!("  {line}")));

    demo.heading(&format!("1. The backup is well: it carries {GOOD} Mbit/s"));
    demo.width(GOOD);
    let good = demo.check(0);
    let cli = demo.speedtest_cli();

    demo.heading(&format!("2. It is slow: {SLOW} Mbit/s"));
    demo.width(SLOW);
    let slow = demo.check(2);
    demo.note("(one slow check is no news; a second of three is: confirm = \"2 of 3\")");
    let _ = demo.check(2);
    demo.follow_sms("speed");

    demo.heading("3. It is well again, and nobody has to look at it to know");
    demo.note("(when two checks say so, as it took two to say that it was not)");
    demo.width(GOOD);
    let _ = demo.check(0);
    let _ = demo.check(0);
    demo.follow_sms("enough again");

    demo.heading("4. The cables were plugged in the wrong way round: this is the main line's ISP");
    demo.note("(told at once, as two sources say so; and nothing is downloaded)");
    demo.swap();
    let wrong = demo.check(2);
    demo.follow_sms("AS3320");

    demo.heading("5. A month of such checks (made up)");
    let page = demo.report();

    demo.heading("What it costs");
    demo.data("linkprobe check, line good", good);
    demo.data("linkprobe check, line slow", slow);
    demo.data("linkprobe check, wrong line", wrong);
    match cli {
        Some(bytes) => demo.data("speedtest-cli, line good", bytes),
        None => {
            let bytes = GOOD / PAYLOAD * 1e6 / 8.0 * SPEEDTEST_S;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive"
            )]
            demo.data("speedtest-cli would take 10 s x rate (not installed)", bytes as u64);
        }
    }
    demo.note("(on the wire, both ways; ./dev bench link measures many lines, and its peers)");
    demo.note(&format!("The page of the report is yours to open: {}", page.display()));
    demo.end(begin);
}

fn set_up() -> Demo<Lines> {
    let net = Net::with(&[Some(Way::of_rtt_ms(40.0)), None]);
    let names = Names::start(&net);
    let speed = Speed::start_both(&net);
    let home = &net.home;
    let provider = Provider::start(home);
    home.write_token(AUTH_TOKEN);
    home.write_config(&format!("[host]\nname = \"home\"\n\n{}{}", link(), sms(&provider.url())));
    home.sh("install -d /var/lib/linkprobe /var/lib/made-up /run/linkprobe");
    let sender = home.spawn_sender();
    home.wait_syslog("bastion", "sender-started", 1);
    let lines = Lines { net, _names: names, _speed: speed };
    let mut demo = Demo::new(lines, provider, sender);
    demo.told.0 = demo.machines.told().syslog_lines().len();
    // Of each alert the phone tells.
    demo.hidden = &["alert-queued", "alert-sent", "alert-arrived"];
    demo
}

impl Demo<Lines> {
    /// Makes the backup so wide, both ways.
    fn width(&self, mbit: f64) {
        let shape = Some(Shape::carrying(mbit * 1e6));
        self.machines.net.lines[0].shape(shape, shape);
    }

    /// What the file calls the backup is the main line from now on.
    fn swap(&self) {
        let home = self.machines.told();
        let config = home.read(bastion_tests::host::CONFIG);
        home.write_config(&config.replace("\"line0\"", "\"line1\""));
    }

    /// Checks the backup, which is to end with this exit code; answers the bytes that went over the lines.
    fn check(&mut self, code: i32) -> u64 {
        self.prompt("linkprobe check backup; echo \"exit code $?\"");
        let run = self.run(&["/artefacts/linkprobe", "check", "backup"]);
        // What it has used, it says on standard error, after the rest.
        let said = run.output.text() + &run.output.errors();
        said.lines().for_each(|line| self.note(line));
        self.note(&format!("exit code {}", run.output.code.unwrap_or(-1)));
        assert_eq!(run.output.code, Some(code), "{}", run.output.errors());
        self.tell_news();
        run.bytes
    }

    /// What the hourly script of before does, if it is here; its bytes.
    fn speedtest_cli(&self) -> Option<u64> {
        let home = self.machines.told();
        let there = home.run(&["sh", "-c", "command -v speedtest-cli"]);
        if there.code != Some(0) {
            return None;
        }
        // It cannot be bound to a line, so it gets the only one that has a default route.
        home.sh("ip route del default dev line1; ip -6 route del default dev line1");
        self.prompt(
            "speedtest-cli --no-upload --json | jq .client.isp,.download   # the script of before",
        );
        let run = self.run(&["speedtest-cli", "--no-upload", "--json"]);
        home.sh("ip route add default via 93.192.0.1 dev line1 metric 100 congctl cubic
             ip -6 route add default via 2003:e0:0:1::1 dev line1 metric 100 congctl cubic");
        let said: serde_json::Value = serde_json::from_slice(&run.output.stdout).ok()?;
        self.note(&said["client"]["isp"].to_string());
        self.note(&said["download"].to_string());
        Some(run.bytes)
    }

    /// Shows a month, and has its page written where the machine's end leaves it.
    fn report(&self) -> PathBuf {
        let home = self.machines.told();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let story = Story::backup(i64::try_from(now.as_secs()).unwrap_or(0), 30);
        home.write("/var/lib/made-up/backup.jsonl", story.lines(), 0o600);
        self.prompt("linkprobe report backup --html report.html; linkprobe report backup");
        let report = |more: &[&str]| {
            let words = ["/artefacts/linkprobe", "--state-dir", "/var/lib/made-up", "report"];
            home.run(&[&words[..], &["backup"], more].concat()).ok()
        };
        let page = report(&["--html", "-"]).stdout;
        report(&[]).text().lines().for_each(|line| self.note(line));
        let path = rigs().join("demo-link.html");
        let written = std::fs::write(&path, page).and_then(|()| give_back(&path));
        written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }

    fn run(&self, words: &[&str]) -> Run {
        let all = || self.machines.net.lines.iter().map(|line| line.count().all()).sum::<u64>();
        let before = all();
        let output = self.machines.told().run_with(MOST, words, b"");
        let mut last = all();
        let still = wait_until(MOST, || {
            pause(STILL);
            let now = all();
            std::mem::replace(&mut last, now) == now
        });
        assert!(still, "the line is never still");
        Run { output, bytes: last - before }
    }

    fn data(&self, what: &str, bytes: u64) {
        let text = match bytes {
            0..100_000 => format!("{}.{} kB", bytes / 1000, bytes / 100 % 10),
            _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        };
        println!("  {what:<52}{text:>9}");
    }
}

/// The owner of the directory gets the file in it: it is a user's, and this ran as root.
fn give_back(path: &Path) -> std::io::Result<()> {
    let owner = std::fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    chown(path, Some(owner.uid()), Some(owner.gid()))
}
