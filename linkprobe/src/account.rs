//! What a test may take of the month's data, from its first reservation to its end, also where that comes from outside:
//! who ends a measurement by ^C has used what went over the line until then, and not what it might have taken.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use notifier::ffi::{take_signals, wait_readable};

use crate::budget::{Budget, BudgetError};
use crate::ffi::die_of;
use crate::wire::Wire;

/// The account of one test.
#[derive(Clone)]
pub struct Account(Arc<Inner>);

struct Inner {
    budget: Budget,
    wire: Wire,
    now_s: i64,
    /// Bytes that were written down as used before they were; nothing once that was put right.
    reserved: Mutex<Option<u64>>,
}

impl Account {
    /// That of a test by `wire` that begins now.
    #[must_use]
    pub fn new(budget: Budget, wire: Wire, now_s: i64) -> Self {
        Self(Arc::new(Inner { budget, wire, now_s, reserved: Mutex::new(Some(0)) }))
    }

    /// Its book.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Writes so many bytes down as used.
    ///
    /// # Errors
    ///
    /// [`BudgetError`].
    pub fn reserve(&self, bytes: u64) -> Result<(), BudgetError> {
        let mut reserved = self.reserved();
        self.0.budget.reserve(bytes, self.0.now_s)?;
        *reserved = Some(reserved.unwrap_or(0).saturating_add(bytes));
        Ok(())
    }

    /// Puts right what was reserved, once: so many bytes were used.
    ///
    /// # Errors
    ///
    /// [`BudgetError::Io`]; then all that was reserved counts as used.
    pub fn settle(&self, used: u64) -> Result<(), BudgetError> {
        self.settle_of(&mut self.reserved(), used)
    }

    fn settle_of(&self, reserved: &mut Option<u64>, used: u64) -> Result<(), BudgetError> {
        let Some(bytes) = reserved.take() else { return Ok(()) };
        self.0.budget.settle(bytes, used, self.0.now_s)
    }

    fn reserved(&self) -> MutexGuard<'_, Option<u64>> {
        self.0.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who waits for SIGINT and SIGTERM while tests are made.
#[derive(Clone, Default)]
pub struct Ends(Arc<Mutex<Option<Account>>>);

impl Ends {
    /// Waits from now on; `before_end` wipes what stands half written on a terminal. Where the system does not let us,
    /// a signal ends the process as it does any, and what was reserved counts as used.
    #[must_use]
    pub fn wait(before_end: fn()) -> Self {
        let ends = Self::default();
        let of_thread = ends.clone();
        if let Ok(mut signals) = take_signals(&[libc::SIGINT, libc::SIGTERM]) {
            thread::spawn(move || {
                let mut record = [0; 128];
                while !matches!(signals.read(&mut record), Ok(read) if read == record.len()) {
                    let _ = wait_readable(&[std::os::fd::AsFd::as_fd(&signals)], Duration::MAX);
                }
                of_thread.end(libc::c_int::from(record[0]), before_end);
            });
        }
        ends
    }

    /// From now on this is the test that is made.
    pub fn mind(&self, account: &Account) {
        *self.account() = Some(account.clone());
    }

    /// Nobody reserves or settles anything any more: the locks are held until the end.
    fn end(&self, signal: libc::c_int, before_end: fn()) -> ! {
        let account = self.account();
        if let Some(account) = account.as_ref() {
            let mut reserved = account.reserved();
            account.0.wire.end();
            let _ = account.settle_of(&mut reserved, account.0.wire.usage().total());
            before_end();
            die_of(signal)
        }
        before_end();
        die_of(signal)
    }

    fn account(&self) -> MutexGuard<'_, Option<Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
