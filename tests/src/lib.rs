//! The rigs that the end-to-end tests and the benches stand on.
//!
//! [`host::Host`] is a throwaway machine in namespaces of its own, with a real sshd, a
//! real libpam, a syslog that can be wedged and a spool; [`provider::Provider`] is a
//! stand-in for Twilio that misbehaves on request; [`pam::PamRun`] calls the PAM module
//! without sshd. No rig touches a file of the machine it runs on, no packet leaves it, and
//! nothing is left when a test is killed.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use bastion_tests::fault::Fault;
//! use bastion_tests::host::{Host, UNKNOWN};
//! use bastion_tests::provider::Provider;
//!
//! let mut host = Host::new();
//! let mut provider = Provider::start(&host);
//! host.configure(&provider.url());
//! host.start_sshd();
//! let sender = host.spawn_sender();
//! provider.fault(&Fault::status(429).retry_after("3").times(1));
//! let mark = host.mark();
//! host.ssh(&["-b", UNKNOWN, "alice@jump", "true"]).ok();
//! let sms = provider.wait_accepted(1, Duration::from_secs(10));
//! assert!(sms[0].body().contains("alice"));
//! assert_eq!(host.lines_since(&mark, "login").len(), 1);
//! # drop(sender);
//! ```
//!
//! The tests take root, iproute2, openssh and curl (those of clocks libfaketime, those of channels
//! python3-aiosmtpd, those of the log systemd-journal-remote, those of VPNs openvpn, wireguard-go and
//! polkitd, those of lines iperf3, jq, nginx-light and speedtest-cli, and where they are to be had
//! gammu-smsd, postfix and rsyslog), and what `cargo build --workspace` builds: `bastion`,
//! `tunnelwatch` and `libpam_bastion.so` are taken from the directory `BASTION_ARTEFACTS`, by default
//! the target directory of the running test. A rig that cannot work panics and
//! says what is missing: a test that was skipped in silence proves nothing.
#![deny(unsafe_code)]

pub mod alert;
pub mod boot;
pub mod certificates;
pub mod clock;
pub mod cloud;
pub mod disk;
pub mod doctor;
pub mod drill;
pub mod fault;
#[allow(unsafe_code, reason = "the one module with foreign calls")]
pub mod ffi;
pub mod host;
pub mod journald;
pub mod like;
pub mod line_history;
pub mod lines;
pub mod link;
pub mod login;
pub mod mail;
pub mod manual;
pub mod on_demand;
pub mod pam;
pub mod process;
pub mod provider;
pub mod random;
pub mod recorder;
pub mod rows;
pub mod search;
pub mod sender;
pub mod spool;
pub mod storm;
pub mod syslog;
pub mod told;
pub mod tunnel;
pub mod twilio;
pub mod vpn;
pub mod wait;
