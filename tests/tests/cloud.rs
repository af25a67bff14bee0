//! `tunnelwatch-cloud` against stand-ins of the three clouds: a jump host is started, found and stopped, and what goes
//! wrong there has its exit code and its words.

use std::time::Duration;

use bastion_tests::certificates;
use bastion_tests::cloud::{Like, Order, Refusal, SECRET_KEY, TOKEN};
use bastion_tests::fault::{Act, Fault};
use bastion_tests::host::{DEADLINE, Host, require};
use bastion_tests::link::names::Names;
use bastion_tests::link::{Net, RESOLVER, SPEED};
use bastion_tests::process::Output;
use bastion_tests::provider::Provider;
use bastion_tests::wait::wait_until;

/// A host, and the cloud that its jump host is in.
struct Rig {
    host: Host,
    cloud: Provider,
}

impl Rig {
    fn new(like: Like) -> Self {
        require("tunnelwatch-cloud");
        let host = Host::new();
        let cloud = Provider::start_cloud(&host, like, "127.0.0.1:0", false);
        like.configure(&host, &cloud.url(), "");
        Self { host, cloud }
    }

    fn call(&self, verb: &str) -> Output {
        call(&self.host, &[], verb)
    }

    /// The line of a call that has to succeed.
    fn told(&self, verb: &str) -> String {
        self.call(verb).ok().text().trim_end().to_owned()
    }

    fn order(&mut self, order: &Order) {
        self.cloud.order(order);
    }
}

fn call(host: &Host, before: &[&str], verb: &str) -> Output {
    let words = ["/artefacts/tunnelwatch-cloud", "home", verb];
    let output = host.run(&[before, &words].concat());
    let said = output.text() + &output.errors();
    assert!(!said.contains(TOKEN) && !said.contains(SECRET_KEY), "a secret: {output:?}");
    assert!(output.errors().lines().count() <= 1, "one line: {output:?}");
    output
}

fn state(state: &str) -> String {
    format!("{{\"state\":\"{state}\"}}")
}

fn on(address: &str) -> String {
    format!("{{\"state\":\"on\",\"address\":\"{address}\"}}")
}

#[test]
fn a_jump_host_is_started_once_found_and_stopped_once() {
    for like in Like::ALL {
        let mut rig = Rig::new(like);
        rig.order(&Order { boot_ms: Some(3000), stop_ms: Some(3000), ..Order::default() });
        assert_eq!(rig.told("describe"), state("off"), "{like:?}");
        for address in ["198.51.100.7", "198.51.100.8"] {
            let before = rig.cloud.machine();
            assert_eq!(rig.told("start"), state("starting"), "{like:?}");
            assert_eq!(rig.told("describe"), state("starting"), "{like:?}");
            // Who was killed before it had noted that it asked asks again.
            assert_eq!(rig.told("start"), state("starting"), "{like:?}");
            assert!(wait_until(DEADLINE, || rig.told("describe") == on(address)), "{like:?}");
            let again = rig.told("start");
            assert!(again == on(address) || again == state("starting"), "{like:?}: {again}");
            assert_eq!(rig.told("describe"), on(address), "{like:?}");
            assert_eq!(rig.told("stop"), state("stopping"), "{like:?}");
            assert_eq!(rig.told("describe"), state("stopping"), "{like:?}");
            assert_eq!(rig.told("stop"), state("stopping"), "{like:?}");
            assert!(wait_until(DEADLINE, || rig.told("describe") == state("off")), "{like:?}");
            assert_eq!(rig.told("stop"), state("off"), "{like:?}");
            let after = rig.cloud.machine();
            assert_eq!((after.starts - before.starts, after.stops - before.stops), (1, 1));
        }
        assert!(rig.cloud.requests().iter().all(|request| request.authorized), "{like:?}");
    }
}

#[test]
fn a_machine_that_does_not_hear_is_forced_after_two_minutes() {
    for like in [Like::Digitalocean, Like::Hetzner] {
        let mut rig = Rig::new(like);
        rig.order(&Order { on: Some(true), deaf: Some(true), ..Order::default() });
        assert_eq!(rig.told("stop"), state("stopping"));
        assert_eq!(rig.told("stop"), state("stopping"), "{like:?}: it gets its time");
        assert_eq!(rig.cloud.machine().stop_requests, 1, "{like:?}");
        rig.order(&Order { ago_ms: Some(121_000), ..Order::default() });
        assert!(rig.told("describe").starts_with("{\"state\":\"on\""), "{like:?}: it still runs");
        assert_eq!(rig.told("stop"), state("stopping"));
        assert!(wait_until(DEADLINE, || rig.told("describe") == state("off")), "{like:?}");
        assert_eq!(rig.cloud.machine().stop_requests, 2, "{like:?}");
    }
}

#[test]
fn a_refusal_has_its_exit_code_its_kind_and_its_words() {
    let kind = |kind: &str| format!("{{\"kind\":\"{kind}\"}}\n");
    for (like, refusals) in [
        (
            Like::Ec2,
            &[
                ("start", 500, "InsufficientInstanceCapacity", 75, "capacity", "told to"),
                ("start", 400, "IncorrectInstanceState", 75, "busy", "IncorrectInstanceState"),
                ("describe", 503, "RequestLimitExceeded", 75, "rate", "503"),
                ("describe", 500, "InternalError", 75, "server", "500"),
                ("describe", 401, "AuthFailure", 77, "", "check access-key-id"),
                ("start", 403, "UnauthorizedOperation", 77, "", "ec2:StartInstances"),
                ("stop", 403, "SignatureDoesNotMatch", 77, "", "secret-key-file"),
                ("stop", 400, "RequestExpired", 77, "", "clock"),
                ("stop", 400, "InvalidInstanceID.Malformed", 78, "", "Malformed"),
            ][..],
        ),
        (
            Like::Digitalocean,
            &[
                ("start", 422, "unprocessable_entity", 75, "busy", "422 unprocessable_entity"),
                ("stop", 422, "unprocessable_entity", 75, "busy", "told to"),
                ("describe", 429, "too_many_requests", 75, "rate", "429"),
                ("describe", 502, "server_error", 75, "server", "502"),
                ("describe", 401, "Unauthorized", 77, "", "check token-file"),
                ("start", 403, "Forbidden", 77, "", "read and write"),
                ("start", 404, "not_found", 78, "", "check instance"),
                ("start", 400, "bad_request", 78, "", "bad_request"),
            ][..],
        ),
        (
            Like::Hetzner,
            &[
                ("start", 423, "locked", 75, "busy", "423 locked: told to"),
                ("start", 409, "conflict", 75, "busy", "409"),
                ("start", 412, "placement_error", 75, "capacity", "412"),
                ("start", 409, "resource_unavailable", 75, "capacity", "resource_unavailable"),
                ("describe", 429, "rate_limit_exceeded", 75, "rate", "429"),
                ("stop", 503, "unavailable", 75, "server", "503"),
                ("describe", 401, "unauthorized", 77, "", "check token-file"),
                ("stop", 403, "forbidden", 77, "", "403"),
                ("stop", 422, "invalid_input", 78, "", "invalid_input"),
            ][..],
        ),
    ] {
        let mut rig = Rig::new(like);
        for (verb, status, code, exit, what, words) in refusals {
            // A stop of what runs, a start of what does not.
            let order = Order {
                on: Some(*verb == "stop"),
                refuse: Some(vec![Refusal::new(verb, *status, code)]),
                ..Order::default()
            };
            rig.order(&order);
            let output = rig.call(verb);
            assert_eq!(output.code, Some(*exit), "{like:?} {code}: {output:?}");
            assert!(output.errors().contains(words), "{like:?} {code}: {output:?}");
            let line = if what.is_empty() { String::new() } else { kind(what) };
            assert_eq!(output.text(), line, "{like:?} {code}");
        }
        // Nothing of it was started, and no try was repeated in one call.
        assert_eq!(rig.cloud.machine().starts, 0, "{like:?}");
        rig.order(&Order { on: Some(false), refuse: Some(vec![]), ..Order::default() });
        assert_eq!(rig.told("describe"), state("off"), "{like:?}");
        rig.order(&Order { gone: Some(true), ..Order::default() });
        assert_eq!(rig.told("describe"), state("gone"), "{like:?}");
        assert_eq!(rig.call("start").code, Some(78), "{like:?}");
    }
}

#[test]
fn a_server_that_misbehaves_is_no_provider() {
    for like in Like::ALL {
        let mut rig = Rig::new(like);
        let slow = Fault::new(Act::Ok).after(Duration::from_secs(6));
        let limit = Fault::status(429).retry_after("30");
        for (fault, exit, words) in [
            (slow, 0, ""),
            (Fault::new(Act::Garbage), 69, "no HTTP"),
            (Fault::new(Act::BadJson), 69, "not the provider's"),
            (Fault { status: Some(200), ..Fault::new(Act::Huge) }, 69, "longer than"),
            (Fault::new(Act::Reset), 69, "127.0.0.1"),
            (Fault::new(Act::Close), 69, "127.0.0.1"),
            (Fault::status(302), 69, "leads elsewhere"),
            (limit, 75, "429"),
            (Fault::status(500), 75, "500"),
            (Fault::new(Act::Echo), 77, "401"),
            (Fault::new(Act::Refuse), 69, "refused"),
        ] {
            rig.cloud.fault(&fault.clone().on("any"));
            let output = rig.call("describe");
            assert_eq!(output.code, Some(exit), "{like:?} {fault:?}: {output:?}");
            assert!(output.errors().contains(words), "{like:?} {fault:?}: {output:?}");
            if fault.retry_after.is_some() {
                assert_eq!(output.text(), "{\"kind\":\"rate\",\"retry-after-s\":30}\n");
            }
            rig.cloud.heal();
        }
        assert_eq!(rig.told("describe"), state("off"), "{like:?}");
    }
}

#[test]
fn nothing_holds_a_call_for_longer_than_its_time() {
    std::thread::scope(|scope| {
        for (like, act) in
            [(Like::Ec2, Act::Hang), (Like::Digitalocean, Act::Drip), (Like::Hetzner, Act::Hang)]
        {
            scope.spawn(move || {
                let mut rig = Rig::new(like);
                rig.cloud.fault(&Fault::new(act).on("any"));
                let output = rig.call("describe");
                assert_eq!(output.code, Some(69), "{output:?}");
                assert!(output.errors().contains("in"), "{output:?}");
                let took = output.took.as_secs_f64();
                assert!((19.0..24.0).contains(&took), "{act:?}: {output:?}");
            });
        }
    });
}

#[test]
fn what_is_wrong_with_the_settings_is_said_with_its_place() {
    let rig = Rig::new(Like::Hetzner);
    let token = "/etc/bastion/tunnel-secrets/cloud";
    rig.host.write(token, "a guess", 0o600);
    let output = rig.call("describe");
    assert_eq!(output.code, Some(77), "{output:?}");
    assert!(output.errors().contains("401 unauthorized"), "{output:?}");
    for (prepare, words) in [
        (format!("chmod 0644 {token}"), "shows the secret to others"),
        (format!("rm {token}"), "bastion.toml: tunnel home: on-demand.token-file: "),
        (
            "sed -i 's,^endpoint.*,endpoint = \"http://api.example.net\",' /etc/bastion/bastion.toml".into(),
            "in the clear",
        ),
        ("sed -i '/^.tunnel.on-demand/,$d' /etc/bastion/bastion.toml".into(), "no [tunnel.on-demand]"),
        ("sed -i s/home/other/ /etc/bastion/bastion.toml".into(), "no [[tunnel]] named home"),
    ] {
        rig.host.sh(&prepare);
        let output = rig.call("describe");
        assert_eq!(output.code, Some(78), "{prepare}: {output:?}");
        assert!(output.errors().contains(words), "{prepare}: {output:?}");
    }
    let usage = rig.call("dance");
    assert_eq!(usage.code, Some(64), "{usage:?}");
}

/// What systemd hands over is taken, as of the other channels' secrets.
#[test]
fn the_secret_is_a_credential_where_systemd_hands_it_over() {
    let rig = Rig::new(Like::Digitalocean);
    rig.host.sh("mkdir -p /run/credentials/x
         mv /etc/bastion/tunnel-secrets/cloud /run/credentials/x/secrets_cloud");
    assert_eq!(rig.call("describe").code, Some(78));
    let given = ["env", "CREDENTIALS_DIRECTORY=/run/credentials/x"];
    assert_eq!(call(&rig.host, &given, "describe").ok().text().trim_end(), state("off"));
    rig.host.sh("rm /run/credentials/x/*");
    let output = call(&rig.host, &given, "describe");
    assert!(output.errors().contains("systemctl restart tunnelwatch"), "{output:?}");
}

#[test]
fn the_api_is_asked_by_the_tunnels_line_and_its_name_looked_up_there() {
    require("tunnelwatch-cloud");
    // The default route leads by the second line.
    let net = Net::with(&[None, None]);
    let names = Names::start(&net);
    let dir = "/run/provider";
    net.internet.sh(&format!("mkdir -p {dir}"));
    let _ = certificates::make_for(&net.internet.path(dir), "a CA", &["speed.example.net"], 2090);
    let ca = net.internet.read("/run/provider/ca.pem");
    net.home.write("/etc/bastion/ca.pem", ca, 0o644);
    let like = Like::Digitalocean;
    let listen = format!("{SPEED}:443");
    let log = format!("/run/provider/log-{}-{listen}", like.name());
    let words = ["/rigs/provider", "--listen", &listen, "--log", &log, "--cloud", like.name()];
    let tls = ["--tls", "/run/provider/cert.pem", "/run/provider/key.pem"];
    let daemon = net.internet.spawn(&[&words[..], &tls[..]].concat());
    let cloud = Provider::of(daemon, &net.internet.path(&log), true);
    net.lines[1].cut(true);
    let with_ca = ["env", "SSL_CERT_FILE=/etc/bastion/ca.pem"];
    let link = |interface: &str| {
        format!(
            "[[link]]\nname = \"backup\"\ninterface = \"{interface}\"\nresolvers = [\"{RESOLVER}\"]\n"
        )
    };
    let describe = |tunnel: &str| {
        like.configure(&net.home, "https://speed.example.net", tunnel);
        let config = net.home.read("/etc/bastion/bastion.toml");
        net.home.write_config(&format!("{config}\n{}", link("line0")));
        call(&net.home, &with_ca, "describe")
    };
    let by_routes = describe("");
    assert_eq!(by_routes.code, Some(69), "{by_routes:?}");
    let asked_by_line0 = |option: &str| {
        let before = names.asked().len();
        let output = describe(&format!("ssh-options = [\"{option}\"]"));
        assert_eq!(output.ok().text().trim_end(), state("off"), "{option}");
        let asked = names.asked().split_off(before);
        assert!(!asked.is_empty(), "{option}: nobody was asked for the name");
        let is_its_own = asked.iter().all(|asked| asked.from == net.lines[0].address);
        assert!(is_its_own, "{option}: {asked:?}");
    };
    asked_by_line0("BindInterface=line0");
    // An address alone goes where the routes lead it, and asks whom the machine asks.
    let address = &net.lines[0].address;
    net.home.sh(&format!(
        "echo nameserver {RESOLVER} >/etc/resolv.conf
         ip route add table 77 $(ip -4 route show default dev line0 | sed 's/ metric .*//') dev line0
         ip rule add from {address} lookup 77"
    ));
    asked_by_line0(&format!("BindAddress={address}"));
    let other = describe("ssh-options = [\"BindInterface=line1\"]");
    assert_eq!(other.code, Some(69), "{other:?}");
    let none = describe("ssh-options = [\"BindInterface=wwan9\"]");
    assert_eq!(none.code, Some(69), "{none:?}");
    assert!(none.errors().contains("there is no interface wwan9"), "{none:?}");
    assert!(cloud.requests().len() >= 2);
    assert!(cloud.requests().iter().all(|request| request.authorized));
}
