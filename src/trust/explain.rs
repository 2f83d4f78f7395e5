//! Why each commit is or is not accepted, clause by clause of the rule in `docs/SECURITY.md`.
//!
//! Nothing is judged here: it is told in words what the walk found.

use serde::Serialize;

use super::judgement::{CommitJudgement, Judgement, Need, Rule, ScopeUse, Step, Verdict};
use super::rejection::short;
use crate::error::Explain as _;

/// A commit with the reasons for its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// What the walk found.
    #[serde(flatten)]
    pub judgement: CommitJudgement,
    /// The clauses of the rule that decide, in their order.
    pub clauses: Vec<Clause>,
}

/// A clause of the rule, applied to a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// Its number in `docs/SECURITY.md`; `None` for what stands before the numbers: where the line begins and what it contains.
    pub clause: Option<u8>,
    /// What it comes to.
    pub outcome: Outcome,
    /// In words that are safe to print.
    pub text: String,
}

/// What a clause comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Met,
    /// Something is still missing.
    Open,
    /// It is violated.
    Violated,
    /// It has no part in the verdict: an approval that does not count.
    Ignored,
}

impl Clause {
    fn new(clause: impl Into<Option<u8>>, outcome: Outcome, text: impl Into<String>) -> Clause {
        Clause { clause: clause.into(), outcome, text: text.into() }
    }

    fn met(clause: impl Into<Option<u8>>, text: impl Into<String>) -> Clause {
        Clause::new(clause, Outcome::Met, text)
    }
}

/// Explains each commit of a judgement, oldest first.
pub fn explain(judgement: &Judgement) -> Vec<Explained> {
    let explained = judgement.commits.iter().enumerate().map(|(position, commit)| {
        let mut clauses = passing(judgement, commit);
        if commit.merge.is_none() && commit.verdict != Verdict::Refused {
            clauses.extend(approvals(judgement, position));
            clauses.extend(effect(judgement, position));
        }
        Explained { judgement: commit.clone(), clauses }
    });
    explained.collect()
}

/// How a commit passes, or why it does not.
fn passing(judgement: &Judgement, commit: &CommitJudgement) -> Vec<Clause> {
    if let Some(rejection) = &commit.rejection {
        let code = rejection.code();
        let text = format!("[{code}] {}; {}", rejection.reason, rejection.remedy());
        return vec![Clause::new(clause_of(code.0), Outcome::Violated, text)];
    }
    let signer = commit.signer.as_deref().unwrap_or("nobody");
    let signed = match &commit.key {
        Some(key) => format!("signed by {signer} ({key})"),
        None => format!("signed by {signer}"),
    };
    let stands = match commit.rule {
        Rule::Introduction => {
            return vec![Clause::met(None, "trust starts here: the root of trust names it and its key")];
        }
        Rule::HighWater => {
            return vec![Clause::met(None, "this host has accepted it before, and everything below it")];
        }
        Rule::Seal => {
            let because = commit.under_seal.as_ref().map_or_else(String::new, |seal| seal.reason.to_string());
            let scopes = scopes(&commit.scopes);
            format!("under seal, since {because}; every path lies in a scope with merge = \"seal\": {scopes}")
        }
        Rule::Approval => format!("stands for itself: {signed}; it changes nothing and names its tree"),
        Rule::Authority | Rule::Merge if commit.scopes.is_empty() => {
            format!("stands for itself: {signed}; it changes nothing")
        }
        Rule::Authority | Rule::Merge => {
            format!("stands for itself: {signed}, who may sign in {}", scopes(&commit.scopes))
        }
    };
    let mut clauses = vec![
        Clause::met(1, "its bytes are in the one form that Git writes"),
        Clause::met(2, stands),
        Clause::met(3, "nothing in its tree leaves it"),
    ];
    let brought =
        judgement.commits.iter().filter(|side| side.merge.as_deref() == Some(&commit.commit)).count();
    if commit.rule == Rule::Merge || brought > 0 {
        clauses.push(Clause::met(4, format!("the {brought} commits that it brings in pass by themselves")));
    }
    clauses
}

fn scopes(scopes: &[ScopeUse]) -> String {
    let named = scopes.iter().map(|used| match used.paths {
        1 => format!("{} ({})", used.scope, used.first),
        more => format!("{} ({} and {} more)", used.scope, used.first, more - 1),
    });
    named.collect::<Vec<_>>().join(", ")
}

/// What the scopes ask for where this commit counts: at the commit with which it comes into effect, or at the one that waits.
struct Asked<'a> {
    /// The commit with which it is decided, in hex.
    by: &'a str,
    scopes: &'a [Need],
    pending: bool,
}

fn asked(judgement: &Judgement, position: usize) -> Option<Asked<'_>> {
    let above = judgement.commits[position..].iter().filter(|commit| commit.merge.is_none());
    for commit in above {
        if let Some(Step { commit, scopes }) =
            judgement.steps.iter().find(|step| step.commit == commit.commit)
        {
            return Some(Asked { by: commit, scopes, pending: false });
        }
    }
    let pending = judgement.pending.as_ref()?;
    Some(Asked { by: &pending.commit, scopes: &pending.needs, pending: true })
}

/// Which approvals of this commit count, and why others do not.
fn approvals(judgement: &Judgement, position: usize) -> Vec<Clause> {
    let commit = &judgement.commits[position];
    let scopes = asked(judgement, position).map(|asked| asked.scopes).unwrap_or_default();
    let mut clauses = Vec::new();
    if commit.rule == Rule::Approval
        && let Some(signer) = &commit.signer
    {
        clauses.push(counts(scopes, &format!("{signer} approves its tree by this commit"), signer));
    }
    for tag in judgement.approvals.iter().filter(|tag| tag.commit == commit.commit) {
        clauses.push(match (&tag.signer, &tag.rejection) {
            (Some(signer), None) => {
                counts(scopes, &format!("{signer} approves it by the tag {}", tag.name), signer)
            }
            (_, Some(rejection)) => {
                let (code, reason) = (rejection.code(), &rejection.reason);
                let text = format!("the tag {} does not count: [{code}] {reason}", tag.name);
                Clause::new(6, Outcome::Ignored, text)
            }
            (None, None) => continue,
        });
    }
    clauses
}

/// Whether an approval counts for what the scopes ask for.
fn counts(scopes: &[Need], what: &str, signer: &str) -> Clause {
    let among = |names: &[String]| names.iter().any(|name| name == signer);
    let mut given: Vec<&str> =
        scopes.iter().filter(|need| among(&need.have)).map(|need| need.scope.as_str()).collect();
    given.dedup();
    if !given.is_empty() {
        return Clause::met(6, format!("{what}: it counts for {}", given.join(", ")));
    }
    let why = match (scopes.is_empty(), scopes.iter().any(|need| among(&need.signers))) {
        (true, _) => "no scope asks for approvals of this change".to_owned(),
        (false, false) => format!("it does not count, since {signer} is no signer of a scope that asks"),
        (false, true) => "it does not count any more, since the tree changed above it".to_owned(),
    };
    Clause::new(6, Outcome::Ignored, format!("{what}: {why}"))
}

/// When a commit comes into effect, and what it waits for.
fn effect(judgement: &Judgement, position: usize) -> Vec<Clause> {
    let commit = &judgement.commits[position];
    if matches!(commit.rule, Rule::Introduction | Rule::HighWater) {
        return Vec::new();
    }
    let Some(asked) = asked(judgement, position) else { return Vec::new() };
    let outcome = if asked.pending { Outcome::Open } else { Outcome::Met };
    if asked.by != commit.commit {
        let verb = if asked.pending { "waits with" } else { "came into effect with" };
        return vec![Clause::new(5, outcome, format!("{verb} {} above it", short(asked.by)))];
    }
    if asked.scopes.is_empty() {
        return vec![Clause::met(5, "in effect: no scope asks for more than its signer")];
    }
    asked.scopes.iter().map(clause_for).collect()
}

fn clause_for(need: &Need) -> Clause {
    let clause = match (need.new_policy, need.seal) {
        (true, _) => 7,
        (false, true) => 6,
        (false, false) => 5,
    };
    let verb = if need.seal { "approve" } else { "vouch for" };
    let policy = if need.new_policy { " of the new policy" } else { "" };
    let have = if need.have.is_empty() { "nobody so far".into() } else { need.have.join(", ") };
    let (scope, threshold, signers) = (&need.scope, need.threshold, need.signers.join(", "));
    let text = format!("scope {scope}{policy} asks that {threshold} of {signers} {verb} it: {have}");
    if need.is_met() {
        return Clause::met(clause, text);
    }
    let others: Vec<&str> =
        need.signers.iter().filter(|signer| !need.have.contains(signer)).map(String::as_str).collect();
    let missing = threshold - need.have.len();
    let text = format!("{text}; {missing} more of {} with `abide approve`", others.join(", "));
    Clause::new(clause, Outcome::Open, text)
}

/// The clause that a refusal is about.
fn clause_of(code: &str) -> Option<u8> {
    match code {
        "E011" => Some(1),
        "E010" | "E012" | "E013" | "E014" | "E015" | "E016" | "E017" | "E018" | "E020" | "E021" => Some(2),
        "E022" | "E023" | "E024" => Some(3),
        "E035" => Some(4),
        "E025" | "E026" | "E027" | "E028" | "E029" => Some(7),
        _ => None,
    }
}
