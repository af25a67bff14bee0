//! Our requests, judged by Twilio's own description of its API (OpenAPI), which Prism serves.
//!
//! The description is not part of this repository. The test wants it in `BASTION_CONTRACTS`, by
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

const SID: &str = "AC0123456789abcdef0123456789abcdef";

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

/// `bastion test` against a port of this machine: exit code, standard output and error.
fn bastion_test(dir: &Path, port: u16, sid: &str) -> (Option<i32>, String) {
    for sub in ["spool/drop", "spool/queue"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let token = dir.join("token");
    fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let here = dir.display();
    let config = format!(
        "[host]\nname = \"größe\"\nspool = \"{here}/spool\"\nsyslog = \"{here}/log\"\n\
         [notify.channel.sms]\ntype = \"twilio\"\naccount-sid = \"{sid}\"\n\
         auth-token-file = \"{here}/token\"\nfrom = \"+15550100\"\nto = [\"+15550101\"]\n\
         base-url = \"http://127.0.0.1:{port}\"\n"
    );
    let file = dir.join("bastion.toml");
    fs::write(&file, config).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    require("bastion");
    let program = artefacts().join("bastion");
    let output = Command::new(program).arg("--config").arg(&file).arg("test").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn twilio_s_own_description_takes_our_requests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let place = |variable: &str, default: PathBuf| {
        std::env::var_os(variable).map_or(default, PathBuf::from)
    };
    let contracts = place("BASTION_CONTRACTS", root.join("../shared/contracts"));
    let prism = place("BASTION_PRISM", root.join("target/prism/node_modules/.bin/prism"));
    for needed in [contracts.join("twilio_messages_strict_openapi.json"), prism.clone()] {
        if !needed.exists() {
            eprintln!("SKIPPED: our requests are not judged, there is no {}", needed.display());
            return;
        }
    }
    let dir = std::env::temp_dir().join(format!("bastion-contract-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    for contract in ["twilio_messages_openapi.json", "twilio_messages_strict_openapi.json"] {
        let judge = Prism::start(&prism, &contracts.join(contract), &dir);
        let (code, said) = bastion_test(&dir, judge.port, SID);
        assert_eq!(code, Some(0), "{contract}: {said}\n{}", judge.said());
        assert!(said.starts_with("sms to +15550101: "), "{said}");
        assert!(!judge.said().contains("iolat"), "{}", judge.said());
    }
    fs::remove_dir_all(&dir).unwrap();
}
