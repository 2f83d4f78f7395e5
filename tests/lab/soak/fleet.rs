//! What is declared, as a model that changes at random and always is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Dice;
use super::archive::{ABIDE, SMALL};

/// A desired state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    pub(super) files: BTreeMap<u64, u64>,
    pub(super) apps: BTreeMap<u64, u64>,
    pub(super) users: BTreeSet<u64>,
    pub(super) links: BTreeMap<u64, u64>,
    /// Small packages, and which of their versions.
    pub(super) packages: BTreeMap<&'static str, &'static str>,
    /// The version of abide itself, once one is declared.
    pub(super) abide: Option<&'static str>,
}

impl Model {
    /// Another one, a change or a few away.
    pub fn change(&mut self, dice: &mut Dice) {
        for _ in 0..=dice.below(4) {
            let (number, version) = (dice.below(12), dice.below(1000));
            // Package managers are slow: packages come and go more rarely than the rest.
            if dice.below(24) == 0 {
                self.change_package(dice);
                continue;
            }
            match dice.below(8) {
                0..=2 => drop(self.files.insert(number, version)),
                3 => drop(self.files.remove(&number)),
                4 => match dice.below(3) {
                    0 => drop(self.apps.remove(&(number % 4))),
                    _ => drop(self.apps.insert(number % 4, version)),
                },
                5 => match self.users.contains(&(number % 4)) {
                    true => drop(self.users.remove(&(number % 4))),
                    false => drop(self.users.insert(number % 4)),
                },
                6 => drop(self.links.insert(number, version)),
                _ => drop(self.links.remove(&number)),
            }
        }
    }

    /// One package more, less, or in another version.
    pub fn change_package(&mut self, dice: &mut Dice) {
        let (name, versions) = SMALL[dice.below(SMALL.len() as u64) as usize];
        let version = versions[dice.below(versions.len() as u64) as usize];
        match self.packages.get(name) {
            Some(known) if *known == version => drop(self.packages.remove(name)),
            _ => drop(self.packages.insert(name, version)),
        }
    }

    /// The other version of abide.
    pub fn upgrade(&mut self) {
        let newest = Some(ABIDE[1]);
        self.abide = if self.abide == newest { Some(ABIDE[0]) } else { newest };
    }

    /// The role that declares it.
    pub fn role(&self) -> String {
        let mut role = String::from(
            "[directory.\"/srv/soak\"]\nmode = \"0755\"\nforce = true\n\
             [directory.\"/srv/tree\"]\nsource = \"tree\"\npurge = true\nforce = true\n",
        );
        for (number, version) in &self.files {
            let _ = writeln!(
                role,
                "[file.\"/srv/soak/f{number}\"]\ncontent = \"\"\"{}\"\"\"\nforce = true",
                format!("version {version}\n").repeat(200)
            );
        }
        for (number, version) in &self.links {
            let _ =
                writeln!(role, "[symlink.\"/srv/soak/l{number}\"]\ntarget = \"f{version}\"\nforce = true");
        }
        for (number, version) in &self.apps {
            let _ = writeln!(
                role,
                "[unit.\"soak{number}.service\"]\nforce = true\n\
                 [unit.\"soak{number}.service\".Service]\nExecStart = \"/bin/sleep {}\"\n\
                 [unit.\"soak{number}.service\".Install]\nWantedBy = \"multi-user.target\"\n\
                 [service.soak{number}]\nrunning = true\nenabled = true\nmasked = false",
                1_000_000 + version
            );
        }
        let abide = self.abide.iter().map(|version| ("abide", *version));
        for (name, version) in self.packages.iter().map(|(name, version)| (*name, *version)).chain(abide) {
            let _ = writeln!(role, "[package.{name}]\nversion = \"{version}\"\nallow-downgrade = true");
        }
        for number in &self.users {
            let _ = writeln!(
                role,
                "[user.soak{number}]\nuid = {}\nshell = \"/bin/sh\"\ncreate-home = false",
                4000 + number
            );
        }
        role
    }
}
