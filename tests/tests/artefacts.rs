//! What is shipped: how large, what it exports and needs, and whose code is in it.
//!
//! A crate that is not listed here fails the test, in whichever program it is: weigh it first
//! (what it replaces, its tree, its age, its unsafe, its licence), then add it to its list.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use bastion_tests::host::rigs;

/// Most that the module may weigh, stripped: it is mapped into each sshd.
const MAX_MODULE: u64 = 700 * 1024;

/// Most that the sender may weigh, stripped, in bytes. The goal is 2.4 MB; TLS and HTTP alone are
/// 1.6 MB, and DESIGN.md says what the rest is. `bastion check` and `bastion enable` have 0.26 MB of
/// it: a judge for each of a dozen programs, libpam's grammar, and words for a person; `bastion drill`
/// has 0.18 MB, for much of the same, and who came through a tunnel and went on 0.13 MB.
const MAX_SENDER: u64 = 3_690_000;

/// The same without the feature `mail`, where the goal is 1.8 MB.
const MAX_SENDER_WITHOUT_MAIL: u64 = 3_480_000;

/// Most that the tunnel's keeper may weigh, stripped, in bytes: 0.12 MB of it start and stop a jump host, 0.07 MB ask
/// who came.
const MAX_TUNNEL: u64 = 1_490_000;

/// Most that linkprobe may weigh, stripped, in bytes: HTTPS is 1.6 MB of it, as in the sender.
const MAX_LINK: u64 = 3_200_000;

/// Most that what asks the clouds may weigh by itself, stripped, in bytes: HTTPS is 1.6 MB of it, as in linkprobe.
const MAX_CLOUD: u64 = 2_800_000;

/// The hooks of a PAM module (pam(3)). Any other name would be visible to all of sshd.
const HOOKS: [&str; 6] = [
    "pam_sm_acct_mgmt",
    "pam_sm_authenticate",
    "pam_sm_chauthtok",
    "pam_sm_close_session",
    "pam_sm_open_session",
    "pam_sm_setcred",
];

/// Libraries that the module needs, beside the loader (its name is the architecture's).
const LIBRARIES: [&str; 3] = ["libc.so.6", "libgcc_s.so.1", "libpam.so.0"];

/// Crates in the PAM module, those that run at build time (serde's derive) among them.
const MODULE: &[&str] = &[
    "base64",
    "cfg-if",
    "deranged",
    "hmac-sha256",
    "hostname",
    "ipnet",
    "itoa",
    "libc",
    "log",
    "memchr",
    "num-conv",
    "num_threads",
    "pam-bindings",
    "powerfmt",
    "proc-macro2",
    "quote",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "serde_spanned",
    "syn",
    "syslog",
    "time",
    "time-core",
    "toml",
    "toml_datetime",
    "toml_parser",
    "unicode-ident",
    "winnow",
    "zeroize",
    "zmij",
];

/// What must not be in the module, whatever the list above says: it never does a network's, a
/// runtime's or a command's work.
const NOT_IN_MODULE: &[&str] = &[
    "clap",
    "hyper",
    "lettre",
    "lexopt",
    "native-tls",
    "openssl",
    "reqwest",
    "ring",
    "rustls",
    "tokio",
    "ureq",
];

/// Crates in `bastion` that are not in the module.
const SENDER: &[&str] = &[
    "byteorder",
    "bytes",
    "email-encoding",
    "email_address",
    "fastrand",
    "form_urlencoded",
    "getrandom",
    "http",
    "httparse",
    "httpdate",
    "idna",
    "idna_adapter",
    "lettre",
    "lexopt",
    "mime",
    "nom",
    "once_cell",
    "openssl-probe",
    "percent-encoding",
    "quoted_printable",
    "ring",
    "rustls",
    "rustls-native-certs",
    "rustls-pki-types",
    "rustls-platform-verifier",
    "rustls-webpki",
    "smallvec",
    "socket2",
    "subtle",
    "thiserror",
    "thiserror-impl",
    "untrusted",
    "ureq",
    "ureq-proto",
    "url",
    "utf8-zero",
    "utf8_iter",
    "utf_types",
    "utmp-raw",
    "utmp-rs",
    "zerocopy",
    "zerocopy-derive",
];

/// Crates in `tunnelwatch` that are not in the module: it speaks through ssh, and needs no TLS and no HTTP.
const TUNNEL: &[&str] = &["lexopt", "socket2"];

/// Crates in `linkprobe` that are not in the module: HTTPS as the sender has it, without mail; DNS, XML, and what
/// draws.
const LINK: &[&str] = &[
    "bitflags",
    "bytemuck",
    "byteorder",
    "bytes",
    "colored",
    "drawille",
    "fnv",
    "getrandom",
    "http",
    "httparse",
    "httpdate",
    "lazy_static",
    "lexopt",
    "num-traits",
    "once_cell",
    "openssl-probe",
    "percent-encoding",
    "plotters",
    "plotters-backend",
    "plotters-svg",
    "rgb",
    "ring",
    "roxmltree",
    "rustls",
    "rustls-native-certs",
    "rustls-pki-types",
    "rustls-platform-verifier",
    "rustls-webpki",
    "simple-dns",
    "socket2",
    "subtle",
    "textplots",
    "thiserror",
    "thiserror-impl",
    "untrusted",
    "ureq",
    "ureq-proto",
    "utf8-zero",
    "utmp-raw",
    "utmp-rs",
    "zerocopy",
    "zerocopy-derive",
];

/// Crates in `tunnelwatch-cloud` that are neither in the module nor in `linkprobe`: what signs for AWS, and its tree.
const CLOUD: &[&str] = &[
    "anyhow",
    "block-buffer",
    "cmov",
    "const-oid",
    "const-random",
    "const-random-macro",
    "cpufeatures",
    "crunchy",
    "crypto-common",
    "ctutils",
    "digest",
    "dlv-list",
    "form_urlencoded",
    "futures",
    "futures-channel",
    "futures-core",
    "futures-executor",
    "futures-io",
    "futures-macro",
    "futures-sink",
    "futures-task",
    "futures-util",
    "hashbrown",
    "hex",
    "hmac",
    "hybrid-array",
    "jiff",
    "jiff-core",
    "mea",
    "ordered-multimap",
    "pin-project-lite",
    "quick-xml",
    "reqsign-aws-core",
    "reqsign-aws-v4",
    "reqsign-core",
    "rust-ini",
    "ryu",
    "serde_urlencoded",
    "sha1",
    "sha2",
    "slab",
    "tiny-keccak",
    "typenum",
];

/// What must not be in it, whatever the list above says: it asks once, and waits for the answer.
const NOT_IN_CLOUD: &[&str] =
    &["async-std", "hyper", "mio", "openssl", "reqwest", "rsa", "smol", "tokio"];

/// What must not be in it, whatever the list above says: it waits for some sockets, and needs no runtime for that.
const NOT_IN_LINK: &[&str] = &["async-std", "futures", "hickory-resolver", "mio", "smol", "tokio"];

/// Licences that this project may be shipped under together, each as its crate writes it.
const LICENCES: &[&str] = &[
    "0BSD",
    "(MIT OR Apache-2.0) AND Unicode-3.0",
    "Apache-2.0",
    "Apache-2.0 / MIT",
    "Apache-2.0 AND ISC",
    "Apache-2.0 OR ISC OR MIT",
    "Apache-2.0 OR BSL-1.0",
    "Apache-2.0 OR MIT",
    "BSD-2-Clause OR Apache-2.0 OR MIT",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT OR Apache-2.0",
    "MIT/Apache-2.0",
    // Its terms are for its own files, which we do not change: `colored`, behind textplots.
    "MPL-2.0",
    "Unlicense OR MIT",
    "Zlib OR Apache-2.0 OR MIT",
];

#[test]
#[ignore = "takes a release build: run ./dev test"]
fn the_module_is_small() {
    let module = release("libpam_bastion.so");
    let size = std::fs::metadata(&module).expect("it was just there").len();
    println!("{}: {size} bytes", module.display());
    assert!(size <= MAX_MODULE, "{} has {size} bytes, more than {MAX_MODULE}", module.display());
}

#[test]
#[ignore = "takes a release build: run ./dev test"]
fn the_module_exports_its_hooks_alone() {
    let module = release("libpam_bastion.so");
    let listing = output(Command::new("nm").args(["-D", "--defined-only"]).arg(module));
    let names: BTreeSet<&str> =
        listing.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, BTreeSet::from(HOOKS));
}

#[test]
#[ignore = "takes a release build: run ./dev test"]
fn the_module_needs_libpam_and_the_c_library_alone() {
    // Without libpam.so.0 among them, a libpam of its own would be linked into the module.
    let module = release("libpam_bastion.so");
    let listing = output(Command::new("readelf").args(["-d", "-W"]).arg(module));
    let needed = listing.lines().filter(|line| line.contains("(NEEDED)"));
    let names: BTreeSet<&str> = needed
        .filter_map(|line| line.split_once('[')?.1.split_once(']'))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("ld-linux"))
        .collect();
    assert_eq!(names, BTreeSet::from(LIBRARIES));
}

#[test]
#[ignore = "takes a release build: run ./dev test"]
fn the_sender_is_small_with_mail_and_without() {
    let sizes = [("bastion", MAX_SENDER), ("bastion-without-mail", MAX_SENDER_WITHOUT_MAIL)];
    let [with, without] = sizes.map(|(name, most)| {
        let sender = release(name);
        let size = std::fs::metadata(&sender).expect("it was just there").len();
        println!("{}: {size} bytes", sender.display());
        assert!(size <= most, "{} has {size} bytes, more than {most}", sender.display());
        size
    });
    assert!(without < with, "the build without mail has {without} bytes, the other {with}");
}

#[test]
#[ignore = "takes a release build: run ./dev test"]
fn the_tunnel_s_keeper_is_small() {
    let program = release("tunnelwatch");
    let size = std::fs::metadata(&program).expect("it was just there").len();
    println!("{}: {size} bytes", program.display());
    assert!(size <= MAX_TUNNEL, "{} has {size} bytes, more than {MAX_TUNNEL}", program.display());
}

#[test]
#[ignore = "takes a release build: run ./dev test"]
fn the_lines_checker_is_small() {
    let program = release("linkprobe");
    let size = std::fs::metadata(&program).expect("it was just there").len();
    println!("{}: {size} bytes", program.display());
    assert!(size <= MAX_LINK, "{} has {size} bytes, more than {MAX_LINK}", program.display());
}

#[test]
#[ignore = "takes a release build: run ./dev test"]
fn what_asks_the_clouds_is_small() {
    let program = release("tunnelwatch-cloud");
    let size = std::fs::metadata(&program).expect("it was just there").len();
    println!("{}: {size} bytes", program.display());
    assert!(size <= MAX_CLOUD, "{} has {size} bytes, more than {MAX_CLOUD}", program.display());
}

#[test]
#[ignore = "takes a release build: run ./dev test"]
fn the_sender_is_there() {
    let help = output(Command::new(release("bastion")).arg("--help"));
    assert!(help.contains("the sender"), "{help}");
}

#[test]
fn the_module_holds_listed_crates_alone() {
    let crates = crates_of("pam_bastion");
    let forbidden: Vec<_> = crates.iter().filter(|c| NOT_IN_MODULE.contains(&&***c)).collect();
    assert!(forbidden.is_empty(), "not in a PAM module: {forbidden:?}");
    compare("MODULE", &crates, MODULE);
}

#[test]
fn the_sender_holds_listed_crates_alone() {
    let crates = crates_of("notifier");
    let extra = crates.into_iter().filter(|name| !MODULE.contains(&name.as_str())).collect();
    compare("SENDER", &extra, SENDER);
}

#[test]
fn the_tunnel_s_keeper_holds_listed_crates_alone() {
    let crates = crates_of("tunnelwatch");
    let extra = crates.into_iter().filter(|name| !MODULE.contains(&name.as_str())).collect();
    compare("TUNNEL", &extra, TUNNEL);
}

#[test]
fn the_lines_checker_holds_listed_crates_alone() {
    let crates = crates_of("linkprobe");
    let forbidden: Vec<_> = crates.iter().filter(|c| NOT_IN_LINK.contains(&&***c)).collect();
    assert!(forbidden.is_empty(), "no runtime: {forbidden:?}");
    let extra = crates.into_iter().filter(|name| !MODULE.contains(&name.as_str())).collect();
    compare("LINK", &extra, LINK);
}

#[test]
fn what_asks_the_clouds_holds_listed_crates_alone() {
    let crates = crates_of("tunnelwatch-cloud");
    let forbidden: Vec<_> = crates.iter().filter(|c| NOT_IN_CLOUD.contains(&&***c)).collect();
    assert!(forbidden.is_empty(), "no runtime, and no other TLS: {forbidden:?}");
    let linkprobe = crates_of("linkprobe");
    let known = |name: &String| MODULE.contains(&name.as_str()) || linkprobe.contains(name);
    compare("CLOUD", &crates.into_iter().filter(|name| !known(name)).collect(), CLOUD);
}

#[test]
fn every_licence_is_listed() {
    let host = output(Command::new(cargo()).arg("-vV"));
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo's host");
    let json = output(
        // Manifests of crates for other systems have not been fetched.
        Command::new(cargo())
            .args(["metadata", "--format-version=1", "--locked", "--offline"])
            .args(["--filter-platform", host]),
    );
    let metadata: serde_json::Value = serde_json::from_str(&json).expect("JSON of cargo");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > MODULE.len(), "{json}");
    let odd: Vec<String> = packages
        .iter()
        .map(|package| (&package["name"], package["license"].as_str().unwrap_or("none")))
        .filter(|(_, licence)| !LICENCES.contains(licence))
        .map(|(name, licence)| format!("{name}: {licence}"))
        .collect();
    assert!(odd.is_empty(), "licences that nobody has read: {odd:#?}");
}

/// A file of the release build, which `./dev test` makes before it comes here.
fn release(name: &str) -> PathBuf {
    let dir = std::env::var_os("BASTION_RELEASE")
        .map_or_else(|| rigs().with_file_name("release"), PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "there is no {}: run ./dev build", path.display());
    path
}

/// Our own packages.
const OURS: &[&str] = &["linkprobe", "notifier", "pam_bastion", "tunnelwatch", "tunnelwatch-cloud"];

/// Names of the crates that are built into `package` for this system, without ours.
fn crates_of(package: &str) -> BTreeSet<String> {
    let tree = output(
        Command::new(cargo())
            .args(["tree", "--locked", "--offline", "--prefix=none", "--format={p}"])
            .args(["--edges=normal", "--package", package]),
    );
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| !OURS.contains(name)).map(str::to_owned).collect()
}

fn compare(list: &str, found: &BTreeSet<String>, listed: &[&str]) {
    let new: Vec<_> = found.iter().filter(|name| !listed.contains(&name.as_str())).collect();
    let gone: Vec<_> = listed.iter().filter(|name| !found.contains(**name)).collect();
    assert!(new.is_empty(), "weigh these crates, then add them to {list}: {new:?}");
    assert!(gone.is_empty(), "no longer used, take them off {list}: {gone:?}");
}

/// The cargo that runs this test.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Standard output of a command that has to succeed.
fn output(command: &mut Command) -> String {
    let output = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}
