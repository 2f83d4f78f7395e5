//! Steps that are planned and not taken yet: outside of their window, or because what they would remove is in use.
//!
//! They stay in the plan, so that what earlier steps make them owe is noted, and is paid when they are taken.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::Plan;
use crate::error::{Code, Explain};

/// Why a step waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
pub struct Wait {
    /// What it waits for, in words.
    pub what: String,
    /// When it may be taken, seconds since the epoch, where that is known.
    pub until: Option<i64>,
    /// What is in the way, where somebody has to look.
    pub obstacle: Option<Obstacle>,
}

/// Something in the way of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Obstacle {
    /// E371: the user has running processes or is logged in.
    User,
    /// E372: the group is the primary group of a user.
    Group,
    /// E373: a path is mounted, swapped to, attached to a loop device, or the working directory of a process.
    Path,
    /// E374: the package holds what a declared service runs.
    Package,
}

impl Wait {
    /// The wait of a step for a window.
    pub fn window(because: &str, until: Option<i64>) -> Wait {
        Wait { what: format!("waits: {because}"), until, obstacle: None }
    }
}

impl Explain for Wait {
    fn code(&self) -> Code {
        Code(match self.obstacle {
            Some(Obstacle::User) => "E371",
            Some(Obstacle::Group) => "E372",
            Some(Obstacle::Path) => "E373",
            Some(Obstacle::Package) => "E374",
            None => "E375",
        })
    }

    fn remedy(&self) -> String {
        match self.obstacle {
            Some(Obstacle::User) => "end the processes or the session; the next run tries again",
            Some(Obstacle::Group) => {
                "give the user another group, or remove it, too; the next run tries again"
            }
            Some(Obstacle::Path) => {
                "end what uses it: umount, swapoff, losetup -d, or the process; the next run tries again"
            }
            Some(Obstacle::Package) => "declare the service as `running = false`, or keep the package",
            None => "wait for the window, or run `abide sync --ignore-windows` on the host",
        }
        .into()
    }
}

impl Plan {
    /// Has steps wait, and with them what needs them.
    pub fn postpone(&mut self, mut waits: BTreeMap<usize, Wait>) {
        for position in 0..self.steps.len() {
            let step = &self.steps[position];
            let needed = step.needs.iter().find(|needed| self.steps[**needed].waits.is_some());
            let because = needed.map(|needed| Wait {
                what: format!("waits for {}", self.steps[*needed].resource),
                until: self.steps[*needed].waits.as_ref().and_then(|wait| wait.until),
                obstacle: None,
            });
            let wait = waits.remove(&position).or(because);
            let step = &mut self.steps[position];
            step.waits = step.waits.take().or(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;
    use crate::plan::testing::step;

    #[test]
    fn what_needs_a_waiting_step_waits_with_it() {
        let needing = |needs: &[usize]| Step { needs: needs.to_vec(), ..step() };
        let steps = vec![needing(&[]), needing(&[]), needing(&[1]), needing(&[0]), needing(&[2])];
        let mut plan = Plan { steps, ..Plan::default() };
        plan.postpone([(1, Wait::window("closed", Some(5)))].into());
        let waits: Vec<Option<i64>> =
            plan.steps.iter().map(|step| step.waits.as_ref().map(|wait| wait.until.unwrap())).collect();
        assert_eq!(waits, [None, Some(5), Some(5), None, Some(5)]);
        assert_eq!(plan.steps[1].waits.as_ref().unwrap().what, "waits: closed");
    }
}
