//! Who waits for memory, counted for as long as they wait, however the wait ends.

use super::Budget;
use crate::record::Present;

/// One job waiting for its minimum, counted for as long as it waits.
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

/// One job waiting to grow, counted for as long as it waits.
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
