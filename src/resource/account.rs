//! What `user` and `group` have in common: names, whether there shall be one, and what is never changed behind somebody's back.

use super::fields::is_account_name;
use super::{Declaration, DeclareError, Ensure, Field, ResourceId, codes};
use crate::plan::{Change, Diff, Effect, PlanError};

/// One of the two, as messages and rules need to know it.
pub(super) struct Account {
    /// The kind's name.
    pub(super) kind: &'static str,
    /// What a message calls it.
    pub(super) noun: &'static str,
    /// The key of its number.
    pub(super) number: &'static str,
    /// Whose part of a file's attributes its number is.
    pub(super) part: &'static str,
}

/// The field of both.
pub(super) const fn ensure_field(doc: &'static str) -> Field {
    Field { name: "ensure", kind: "\"present\" or \"absent\"", default: "\"present\"", doc }
}

/// What a declaration finds on the host.
pub(super) enum Found<'a, S> {
    /// It is there and shall be.
    Kept(&'a S),
    /// It is missing and shall be there.
    Missing,
    /// It is there and shall not be.
    Unwanted(&'a S),
    /// It is missing, as it shall be.
    Gone,
}

impl<'a, S> Found<'a, S> {
    /// Compares what shall be with what is.
    pub(super) fn of(ensure: Ensure, state: Option<&'a S>) -> Found<'a, S> {
        match (ensure, state) {
            (Ensure::Present, Some(state)) => Found::Kept(state),
            (Ensure::Present, None) => Found::Missing,
            (Ensure::Absent, Some(state)) => Found::Unwanted(state),
            (Ensure::Absent, None) => Found::Gone,
        }
    }
}

impl Account {
    /// The name of one, checked by its grammar.
    ///
    /// # Errors
    /// The name does not have it.
    pub(super) fn name(&self, declaration: &Declaration<'_>) -> Result<String, DeclareError> {
        if is_account_name(declaration.name) {
            return Ok(declaration.name.to_owned());
        }
        Err(declaration.name_error(
            format!("`{}` is not the name of a {}", crate::error::escaped(declaration.name), self.kind),
            "a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 32 characters",
        ))
    }

    /// Refuses to remove root.
    ///
    /// # Errors
    /// That was declared.
    pub(super) fn keep_root(
        &self,
        declaration: &Declaration<'_>,
        ensure: Ensure,
    ) -> Result<(), DeclareError> {
        if ensure == Ensure::Absent && declaration.name == "root" {
            let message = format!("the {} root is never removed", self.kind);
            return Err(declaration.error("ensure", message, "remove this declaration"));
        }
        Ok(())
    }

    /// Refuses to change what a directory service has.
    ///
    /// # Errors
    /// It has it.
    pub(super) fn local(&self, name: &str, local: bool) -> Result<(), PlanError> {
        if local {
            return Ok(());
        }
        Err(PlanError::new(
            ResourceId::new(self.kind, name),
            codes::ACCOUNT_NOT_LOCAL,
            format!("the {} comes from a directory service, so it cannot be changed here", self.noun),
            "change it in the directory, or remove what differs from this declaration",
        ))
    }

    /// Refuses another number, unless it is allowed. Root keeps its own.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn renumber(&self, name: &str, from: u32, to: u32, allowed: bool) -> Result<(), PlanError> {
        if allowed && from != 0 {
            return Ok(());
        }
        let Account { kind, noun, number, part } = self;
        Err(PlanError::new(
            ResourceId::new(kind, name),
            codes::ACCOUNT_NUMBER,
            format!("the {noun} has the number {from}, not {to}; its files would be left behind"),
            format!(
                "declare `{number} = {from}`, or set `change-{number} = true` and change the files' {part} yourself"
            ),
        ))
    }
}

/// The change that takes one away.
pub(super) fn removal(effect: Effect, summary: &str) -> Change {
    let diff = Diff::Property { name: "ensure".into(), before: "present".into(), after: "absent".into() };
    Change { summary: summary.into(), creates: false, effects: vec![effect], diffs: vec![diff] }
}
