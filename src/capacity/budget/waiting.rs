//! Counts the jobs that wait for memory for as long as they wait, however the wait ends.

use super::Budget;
use crate::record::Present;

/// A job that waits for its minimum, counted for as long as it waits.
pub(super) struct Waiting<'a> {
    budget: &'a Budget,
    _short: Present,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        budget.lock().waiting += 1;
        Self { budget, _short: budget.short.enter() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.lock().waiting -= 1;
    }
}

/// A job that waits to grow, counted for as long as it waits.
#[derive(Debug)]
pub(crate) struct Growing<'a> {
    budget: &'a Budget,
    _short: Present,
}

impl<'a> Growing<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        budget.lock().growing += 1;
        Self { budget, _short: budget.short.enter() }
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        self.budget.lock().growing -= 1;
        self.budget.changed.notify_waiters();
    }
}
