//! Our requests, judged by descriptions of the providers' APIs (OpenAPI; those of Twilio and
//! Discord are their own), which Prism serves.
//!
//! The descriptions are not part of this repository. The tests want them in `BASTION_CONTRACTS`, by
//! default the folder `contracts` of a folder `shared` beside the checkout, and Prism
//! (npm's `@stoplight/prism-cli`) in `BASTION_PRISM`, by default in `target/prism`, where
//! `./dev test` installs it. Without them it says so and proves nothing.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bastion_tests::host::{artefacts, require};
use bastion_tests::wait::wait_until;

const HEX: &str = "0123456789abcdef0123456789abcdef";

/// Prism with a contract, for as long as this lives.
struct Prism {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Prism {
    fn start(prism: &Path, contract: &Path, dir: &Path) -> Self {
        // The port is free again when the listener is gone, and nobody else is after it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = dir.join("prism.log");
        let out = fs::File::create(&log).unwrap();
        let child = Command::new(prism)
            .args(["mock", "-h", "127.0.0.1", "-p", &port.to_string()])
            .arg(contract)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let prism = Self { child, port, log };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(wait_until(Duration::from_secs(60), listens), "{}", prism.said());
        prism
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `bastion test` with this channel: exit code, standard output and error. In `channel`, `HERE` is
/// the directory of the file `secret`.
fn bastion_test(dir: &Path, channel: &str, secret: &str) -> (Option<i32>, String) {
    for sub in ["spool/drop", "spool/queue"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let write = |name: &str, text: &str, mode| {
        let file = dir.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        file
    };
    write("secret", secret, 0o600);
    let here = dir.display().to_string();
    let channel = channel.replace("HERE", &here);
    let config = format!(
        "[host]\nname = \"größe\"\nspool = \"{here}/spool\"\nsyslog = \"{here}/log\"\n{channel}"
    );
    let file = write("bastion.toml", &config, 0o644);
    require("bastion");
    let program = artefacts().join("bastion");
    let output = Command::new(program).arg("--config").arg(&file).arg("test").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Sends a message to Prism with each of the contracts, by the channel that `config` makes for
/// Prism's address. Without Prism, or a contract, it says so.
fn judge(
    contracts: &[&str],
    secret: impl Fn(&str) -> String,
    config: impl Fn(&str) -> String,
    said: &str,
) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let place = |variable: &str, default: PathBuf| {
        std::env::var_os(variable).map_or(default, PathBuf::from)
    };
    let folder = place("BASTION_CONTRACTS", root.join("../shared/contracts"));
    let prism = place("BASTION_PRISM", root.join("target/prism/node_modules/.bin/prism"));
    for needed in contracts.iter().map(|name| folder.join(name)).chain([prism.clone()]) {
        if !needed.exists() {
            eprintln!("SKIPPED: our requests are not judged, there is no {}", needed.display());
            return;
        }
    }
    let name = format!("bastion-contract-{}-{}", contracts[0], std::process::id());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).unwrap();
    for contract in contracts {
        let judge = Prism::start(&prism, &folder.join(contract), &dir);
        let url = format!("http://127.0.0.1:{}", judge.port);
        let (code, output) = bastion_test(&dir, &config(&url), &secret(&url));
        assert_eq!(code, Some(0), "{contract}: {output}\n{}", judge.said());
        assert!(output.contains(said), "{output}");
        assert!(!judge.said().contains("iolat"), "{}", judge.said());
    }
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn twilio_s_own_description_takes_our_requests() {
    let contracts = ["twilio_messages_openapi.json", "twilio_messages_strict_openapi.json"];
    let secret = |_: &str| "0123456789abcdef0123456789abcdef".to_owned();
    let channel = |url: &str, keys: &str| {
        format!(
            "[notify.channel.sms]\ntype = \"twilio\"\naccount-sid = \"AC{HEX}\"\n{keys}\n\
             to = [\"+15550101\"]\nbase-url = \"{url}\"\n"
        )
    };
    let number =
        |url: &str| channel(url, "auth-token-file = \"HERE/secret\"\nfrom = \"+15550100\"");
    judge(&contracts, secret, number, "sms to +15550101: ");
    let service = |url: &str| {
        let keys = format!(
            "api-key-sid = \"SK{HEX}\"\napi-key-secret-file = \"HERE/secret\"\n\
             messaging-service-sid = \"MG{HEX}\""
        );
        channel(url, &keys)
    };
    judge(&contracts, secret, service, "sms to +15550101: ");
}

#[test]
fn discord_s_own_description_takes_our_requests() {
    let secret = |url: &str| format!("{url}/webhooks/123456789012345678/5ecre7-70ken_AbCdEf");
    let channel =
        |_: &str| "[notify.channel.d]\ntype = \"discord\"\nurl-file = \"HERE/secret\"\n".to_owned();
    judge(&["discord_webhook_openapi.json"], secret, channel, ": taken");
}

#[test]
fn the_description_of_telegram_takes_our_requests() {
    let secret = |_: &str| "987654:5ecre7-70ken_AbCdEf".to_owned();
    let channel = |url: &str| {
        format!(
            "[notify.channel.t]\ntype = \"telegram\"\ntoken-file = \"HERE/secret\"\n\
             to = [\"-1001234567890\"]\nbase-url = \"{url}\"\nsilent-info = true\n"
        )
    };
    judge(&["telegram_sendmessage_openapi.json"], secret, channel, ": taken as message 7");
}
