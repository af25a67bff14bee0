//! Tables of which each row takes seconds of waiting and little work: all rows at once.

use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

/// Most rows at once. A row is a machine with a handful of processes.
const AT_ONCE: usize = 12;

/// Runs `check` on each row, each in a thread of its own.
///
/// # Panics
///
/// When a row did, after all of them have ended, with the rows that did.
pub fn each_row<T: Sync + Debug>(rows: &[T], check: impl Fn(&T) + Sync) {
    let failed = Mutex::new(Vec::new());
    let run = |row: &T| {
        if panic::catch_unwind(AssertUnwindSafe(|| check(row))).is_err() {
            failed.lock().expect("nobody panics with it").push(format!("{row:?}"));
        }
    };
    for rows in rows.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for row in rows {
                scope.spawn(|| run(row));
            }
        });
    }
    let failed = failed.into_inner().expect("nobody panics with it");
    assert!(failed.is_empty(), "these rows failed: {failed:#?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_row_fails_the_table_and_is_named() {
        each_row(&[1, 2, 3], |row| assert!(*row > 0));
        let odd = || each_row(&(0..30).collect::<Vec<_>>(), |row| assert!(*row != 17));
        let panic = panic::catch_unwind(odd).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("17"));
    }
}
