use super::*;

const WHOLE: &str = r#"
[[link]]
name = "backup"
interface = "wwan0"
expect-asn = [14593]
expect-isp = ["Starlink"]
min-download = "10 Mbit/s"
max-latency = "100 ms"
monthly-data = "2 GB"
providers = ["librespeed https://speed.example.net", "cloudflare", "speedtest.net"]
resolvers = "auto"
targets = ["203.0.113.50:22022", "198.51.100.1:443"]
quiet-hours = ["18:00-23:30"]
confirm = "2 of 3"
"#;

fn findings(text: &str) -> Vec<String> {
    let findings = Settings::parse(text).err().unwrap_or_default();
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_whole_file_is_read() {
    let link = &Settings::parse(WHOLE).unwrap().links[0];
    assert_eq!((link.interface.as_deref(), link.source), (Some("wwan0"), None));
    assert_eq!((link.min_download, link.min_upload), (Some(Floor::BitsPerSecond(1e7)), None));
    assert_eq!(link.max_latency, Some(Ceiling::Time(Duration::from_millis(100))));
    assert_eq!((link.providers.len(), link.targets.len()), (3, 2));
    assert_eq!((link.resolvers.as_ref(), link.monthly_data), (None, 2_000_000_000));
    let least = &Settings::parse("[[link]]\nname = \"a\"\n").unwrap().links[0];
    assert_eq!(least.providers, provider::defaults());
    assert_eq!((least.confirm, least.month_begins), (MofN { bad: 2, of: 3 }, 1));
}

#[test]
fn each_mistake_has_its_line_its_key_and_a_remedy() {
    let table = [
        ("name = \"backup\"", "name = \"a b\"", "link.1.name: a name has"),
        ("name = \"backup\"", "", "link.1.name: is missing"),
        ("\"wwan0\"", "\"a/b\"", "no name of an interface"),
        ("[14593]", "[\"AS14593\"]", "a whole number"),
        ("\"10 Mbit/s\"", "\"10\"", "is no rate"),
        ("\"10 Mbit/s\"", "\"10 kbit/s\"", "64 kbit/s at least"),
        ("\"10 Mbit/s\"", "\"120 % of usual\"", "a share below the usual"),
        ("\"100 ms\"", "\"0 ms\"", "more than 0"),
        ("\"100 ms\"", "\"90 % of usual\"", "more than the usual"),
        ("\"2 GB\"", "\"2\"", "no amount of data"),
        ("\"2 GB\"", "\"0 GB\"", "nothing could be tested"),
        (
            "providers = [\"librespeed https://speed.example.net\", \"cloudflare\", \"speedtest.net\"]",
            "providers = []",
            "with no providers",
        ),
        ("\"cloudflare\"", "\"ookla\"", "is no provider"),
        ("\"auto\"", "\"automatic\"", "write \"auto\""),
        ("\"auto\"", "[\"x\"]", "write an address"),
        ("198.51.100.1:443", "198.51.100.1", "an address and a port"),
        ("2 of 3", "3 of 2", "write \"2 of 3\""),
        ("18:00-23:30", "18:00-25:00", "a part of the day"),
        ("quiet-hours", "quiet-hour", "no such key"),
        ("\"2 of 3\"", "\"2 of 3\"\nalert-after = \"213503982334d\"", "7d at most"),
        ("\"auto\"", "[\"0.0.0.0\"]", "write an address"),
        ("\"auto\"", "[\"192.0.2.53:0\"]", "write an address"),
        ("198.51.100.1:443", "224.0.0.1:443", "an address and a port"),
        ("targets = [", "resolvers = []\n#", "nobody can be asked"),
        ("\"100 ms\"", "\"100 ms\"\nmax-loss = \"500 %\"", "as \"2 %\""),
        ("https://speed.example.net", "https://[::1/", "is no provider"),
        ("https://speed.example.net", "https://h:99999", "is no provider"),
    ];
    for (old, new, want) in table {
        let whole = if new.contains("resolvers") {
            WHOLE.replace("resolvers = \"auto\"\n", "")
        } else {
            WHOLE.into()
        };
        let text = whole.replacen(old, new, 1);
        assert_ne!(text, WHOLE, "{old}");
        let found = findings(&text);
        assert!(found.iter().any(|line| line.contains(want)), "{new}: {found:?}");
    }
    assert!(findings(&(WHOLE.to_owned() + WHOLE))[0].contains("stands there twice"));
}

#[test]
fn hours_may_go_over_midnight() {
    for (text, minute, inside) in [
        ("18:00-23:30", 18 * 60, true),
        ("18:00-23:30", 23 * 60 + 30, false),
        ("22:00-06:00", 5, true),
        ("22:00-06:00", 12 * 60, false),
        ("00:00-24:00", 1439, true),
    ] {
        assert_eq!(parse_hours(text).unwrap().contains(minute), inside, "{text} {minute}");
    }
}

#[test]
fn the_example_file_has_every_key_and_each_example_in_it_is_valid() {
    const EXAMPLE: &str = include_str!("../../../etc/bastion.toml");
    let ours = EXAMPLE.split_once("#[[link]]").unwrap().1;
    let text: String = ("#[[link]]".to_owned() + ours)
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest.to_owned() + "\n",
            _ => "\n".to_owned(),
        })
        .collect();
    let settings = Settings::parse(&text).unwrap_or_else(|findings| panic!("{findings:?}"));
    let [shown] = &settings.links[..] else { panic!("one") };
    let default = &Settings::parse("[[link]]\nname = \"backup\"\n").unwrap().links[0];
    // What the text says has a default is shown with it.
    let shown = shown.clone();
    assert_eq!(
        Link {
            interface: None,
            source: None,
            expect_asn: Vec::new(),
            expect_isp: Vec::new(),
            min_download: None,
            min_upload: None,
            max_latency: None,
            max_loss: None,
            targets: Vec::new(),
            quiet_hours: Vec::new(),
            ca_file: None,
            ..shown
        },
        *default
    );
    let mut document = Document::parse(&text);
    document.tables("link", |_, section| link(section));
    for known in document.known_keys() {
        let key = known.rsplit('.').next().unwrap();
        let stands = ours.lines().any(|line| line.starts_with(&format!("#{key} = ")));
        assert!(stands, "{known} is read and not in etc/bastion.toml");
    }
}

#[test]
fn a_mapped_source_is_the_address_of_ipv4_that_it_means() {
    let text = "[[link]]\nname = \"a\"\nsource = \"::ffff:192.0.2.10\"\n";
    let source = Settings::parse(text).unwrap().links[0].source;
    assert_eq!(source, Some("192.0.2.10".parse().unwrap()));
}
