//! The sender: takes what is in the spool and gets it out. Decisions ([`backoff`], [`health`],
//! [`ledger`],
//! [`limits`], [`metrics`], [`pace`], [`policy`], [`route`], [`weekly`]) are pure; the loop and its effects are in [`engine`].

pub mod also;
pub mod backoff;
pub mod engine;
pub mod health;
pub mod heartbeat;
pub mod ledger;
pub mod limits;
pub mod lock;
pub mod lookup;
pub mod metrics;
pub mod onward;
pub mod outbox;
pub mod pace;
pub mod policy;
pub mod route;
pub mod seen;
pub mod settings;
pub mod silence;
pub mod throttle;
pub mod through;
pub mod version;
mod wakeup;
pub mod weekly;
pub mod worker;
