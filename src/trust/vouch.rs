//! Who vouches for the newest tree of the line, since the last commit in effect.
//!
//! Somebody vouches *by his work* when every change since then is his: then the tree is what he made of it. Everybody else, and
//! everybody where a commit does not stand for itself, vouches *by an approval* that names the tree.
//!
//! **Invariant:** whoever is counted vouches for the newest tree as it is; a change of content forgets everybody else.

use std::collections::{BTreeMap, BTreeSet};

use super::attestation::Signer;
use super::judgement::Need;
use super::paths::Changed;
use super::policy::{Key, POLICY_FILE, Policy, Scope};

/// Those who vouch, and what is to be vouched for.
#[derive(Debug, Default)]
pub(super) struct Vouchers {
    /// By principal; one who used several keys vouches with each of them, since a new policy may not know all.
    approvers: BTreeMap<String, Vec<Voucher>>,
    author: Author,
    /// The scopes that a seal has to cover: commits in them do not stand for themselves.
    unsealed: BTreeSet<String>,
}

#[derive(Debug)]
struct Voucher {
    key: Key,
    /// By an approval that names the tree, not by his work alone.
    explicit: bool,
}

/// Whose work everything since the last commit in effect is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Author {
    #[default]
    Nobody,
    One(String),
    Several,
}

impl Vouchers {
    /// The tree changed, by a principal's hand or by nobody's whom the policy counts.
    pub fn change(&mut self, by: Option<&Signer>) {
        self.approvers.clear();
        self.author = match (by, &self.author) {
            (Some(signer), Author::Nobody) => Author::One(signer.principal.clone()),
            (Some(signer), Author::One(author)) if *author == signer.principal => {
                Author::One(signer.principal.clone())
            }
            _ => Author::Several,
        };
        if let (Some(signer), Author::One(_)) = (by, &self.author) {
            self.add(signer, false);
        }
    }

    /// A principal approves the tree by its name.
    pub fn approve(&mut self, signer: &Signer) {
        self.add(signer, true);
    }

    fn add(&mut self, signer: &Signer, explicit: bool) {
        let voucher = Voucher { key: signer.key.clone(), explicit };
        self.approvers.entry(signer.principal.clone()).or_default().push(voucher);
    }

    /// Commits in these scopes do not stand for themselves.
    pub fn ask_for_seal(&mut self, scopes: impl IntoIterator<Item = String>) {
        self.unsealed.extend(scopes);
    }

    /// Everybody who approved by name, with the first one's key.
    pub fn sealers(&self) -> Option<(String, &Key)> {
        let mut names: Vec<&str> = Vec::new();
        let mut first = None;
        for (name, vouchers) in &self.approvers {
            if let Some(voucher) = vouchers.iter().find(|voucher| voucher.explicit) {
                names.push(name);
                first = first.or(Some(&voucher.key));
            }
        }
        Some((names.join(", "), first?))
    }

    /// What the scopes touched by the whole change ask for, met or not. A threshold of one is met by each commit's own signer.
    pub fn asked(&self, policy: &Policy, whole: &[Changed]) -> Vec<Need> {
        let mut touched: BTreeMap<&str, &Scope> = BTreeMap::new();
        for scope in whole.iter().filter_map(|change| policy.scope_of(&change.path)) {
            if scope.threshold > 1 {
                touched.insert(&scope.name, scope);
            }
        }
        // What was changed and changed back was there all the same.
        for scope in policy.scopes.iter().filter(|scope| self.unsealed.contains(&scope.name)) {
            touched.insert(&scope.name, scope);
        }
        touched.into_values().map(|scope| self.need(scope, None)).collect()
    }

    /// A change of the policy has to meet the threshold of the policy that it makes, too.
    pub fn asked_of_new(&self, new: &Policy) -> Option<Need> {
        // A policy without such a scope does not parse.
        Some(self.need(new.scope_of(POLICY_FILE)?, Some(new)))
    }

    /// What a scope asks for and who gives it, as the policy in force or a new one knows it.
    fn need(&self, scope: &Scope, new: Option<&Policy>) -> Need {
        let seal = !self.unsealed.is_empty() && (new.is_some() || self.unsealed.contains(&scope.name));
        let vouchers =
            self.approvers.iter().flat_map(|(name, vouchers)| vouchers.iter().map(move |one| (name, one)));
        let names = vouchers.filter(|(_, voucher)| voucher.explicit || !seal);
        let names = names.filter_map(|(name, voucher)| match new {
            None => Some(name.clone()),
            Some(policy) => voucher.key.holder(policy).map(|holder| holder.principal.clone()),
        });
        let have: BTreeSet<String> = names.filter(|name| scope.signers.contains(name)).collect();
        Need {
            scope: scope.name.clone(),
            new_policy: new.is_some(),
            seal,
            threshold: scope.threshold,
            have: have.into_iter().collect(),
            signers: scope.signers.iter().cloned().collect(),
        }
    }
}
