//! Reads settings from the layers into values, and puts the setting's name on every mistake.

use std::time::Duration;

use super::layers::Layers;
use super::values::{self, Wrong};
use crate::error::{Code, UserError};
use crate::job::Location;
use crate::runtime::machine::Machine;

/// The layers on one machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) layers: &'a Layers,
    pub(super) machine: &'a Machine,
}

impl Reading<'_> {
    /// The value of a setting, read by `parse`.
    pub(super) fn one<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Result<Option<T>, UserError> {
        let Some(found) = self.layers.find(name) else { return Ok(None) };
        parse(found.text()).map(Some).map_err(|wrong| found.error(found.text(), wrong))
    }

    /// The values of a setting that may have several.
    pub(super) fn many<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Result<Vec<T>, UserError> {
        let Some(found) = self.layers.find(name) else { return Ok(Vec::new()) };
        found.texts.iter().map(|text| parse(text).map_err(|wrong| found.error(text, wrong))).collect()
    }

    /// Whether a switch is on.
    pub(super) fn on(&self, name: &'static str) -> Result<bool, UserError> {
        let words = [("true", true), ("false", false), ("1", true), ("0", false), ("yes", true), ("no", false)];
        Ok(self.one(name, |text| values::choice(text, &words))?.unwrap_or(false))
    }

    /// A whole number within its bounds.
    pub(super) fn count(&self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, UserError> {
        self.one(name, |text| values::number(text, least, most))
    }

    /// A duration within its bounds; `code` is the number of the mistake of being outside them.
    pub(super) fn time(
        &self,
        name: &'static str,
        least: Duration,
        most: Duration,
        code: Code,
    ) -> Result<Option<Duration>, UserError> {
        self.one(name, |text| values::duration(text, least, most, code))
    }

    /// A place that keys are appended to.
    pub(super) fn prefix(&self, name: &'static str) -> Result<Option<Location>, UserError> {
        self.one(name, |text| values::prefix(text, &self.machine.directory))
    }
}
