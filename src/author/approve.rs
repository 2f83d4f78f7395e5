//! Vouch for what waits on the branch, with Git's own signature.
//!
//! What is signed is exactly what was shown: a commit over the tree of the review, or a tag on its tip. Hooks, index and work tree
//! have no part in it.

use gix::ObjectId;
use serde::Serialize;

use super::changes::{ChangedFile, changes};
use super::git::{Git, GitError, SigningKey};
use super::repository::policy_of;
use crate::error::{Code, Explain, Problem, escaped};
use crate::source::store::Repository;
use crate::trust::policy::Policy;
use crate::trust::{CommitJudgement, Judgement, Need, Pending, Revision, RootOfTrust, Verdict, judge, short};

/// Where approval tags live.
pub const TAGS: &str = "abide/approve/";

/// Why nothing is approved.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// E760: nothing waits for approvals.
    #[error("there is nothing to approve: {0} is in effect")]
    Nothing(String),
    /// E761: the signer is no principal.
    #[error("the key {key} that Git signs with belongs to no principal of the policy in force")]
    NoPrincipal {
        /// Its fingerprint.
        key: String,
    },
    /// E762: the signer is none of those who are asked.
    #[error("{signer} is no signer of what waits: {scopes}")]
    NotAsked {
        /// The principal.
        signer: String,
        /// The scopes with their signers.
        scopes: String,
    },
    /// E763: the signer has approved already.
    #[error("{signer} has approved this already")]
    Already {
        /// The principal.
        signer: String,
        /// Who is still asked.
        missing: String,
    },
    /// E764: the work tree is elsewhere.
    #[error("HEAD is {head}, and an approval commit of {tip} would have to be made on {reference}")]
    Elsewhere {
        /// Where HEAD is.
        head: String,
        /// What is to be approved.
        tip: String,
        /// The branch.
        reference: String,
    },
    /// E765: the signer's key has expired.
    #[error("the key {key} of {signer} has expired")]
    Expired {
        /// Its fingerprint.
        key: String,
        /// The principal.
        signer: String,
    },
    /// E766: what was signed would not count.
    #[error("the approval was signed, but hosts would not count it: {reason}")]
    NotCounted {
        /// Why not.
        reason: String,
    },
    /// E767: nobody said yes.
    #[error("nothing was signed, because nobody said yes")]
    Declined,
    /// E768: the tag's name cannot be had.
    #[error("the tag {0} exists already, or its name is none that Git takes")]
    TagName(String),
    /// E769: the policy cannot be read.
    #[error("the policy of {commit} cannot be read: {reason}")]
    Policy {
        /// The commit.
        commit: String,
        /// Why not.
        reason: String,
    },
}

impl Explain for ApproveError {
    fn code(&self) -> Code {
        Code(match self {
            ApproveError::Nothing(_) => "E760",
            ApproveError::NoPrincipal { .. } => "E761",
            ApproveError::NotAsked { .. } => "E762",
            ApproveError::Already { .. } => "E763",
            ApproveError::Elsewhere { .. } => "E764",
            ApproveError::Expired { .. } => "E765",
            ApproveError::NotCounted { .. } => "E766",
            ApproveError::Declined => "E767",
            ApproveError::TagName(_) => "E768",
            ApproveError::Policy { .. } => "E769",
        })
    }

    fn remedy(&self) -> String {
        match self {
            ApproveError::Nothing(_) => "fetch first, if somebody pushed: `git pull`; `abide verify --repo . --explain` says what let each commit in".into(),
            ApproveError::NoPrincipal { .. } => "sign with the key that trust.toml has for you (`git config user.signingkey`), or let a root signer add this one: `abide trust rotate YOU --key FILE`".into(),
            ApproveError::NotAsked { .. } => "let one of them approve it".into(),
            ApproveError::Already { missing, .. } => format!("push it if you have not; still missing: {missing}"),
            ApproveError::Elsewhere { reference, .. } => {
                let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
                format!("`git switch {branch}` and `git pull`, then approve its tip; or approve with `--tag`, which needs no branch")
            }
            ApproveError::Expired { signer, .. } => format!("let a root signer renew it: `abide trust rotate {signer} --key FILE`"),
            ApproveError::NotCounted { .. } => "nothing was kept; correct what is named, then approve again".into(),
            ApproveError::Declined => "answer y, or give --yes".into(),
            ApproveError::TagName(_) => "give another name with `--tag=NAME`".into(),
            ApproveError::Policy { .. } => "correct trust.toml; `abide check` says what is wrong with it".into(),
        }
    }
}

/// What waits on the branch, as a signer has to see it.
#[derive(Debug, Clone, Serialize)]
pub struct Review {
    /// The fleet.
    pub fleet: String,
    /// The branch.
    pub reference: String,
    /// The commit that is to come into effect.
    pub tip: String,
    /// Its tree.
    pub tree: String,
    /// What is in effect.
    pub effective: Revision,
    /// The commits in between, oldest first.
    pub commits: Vec<CommitJudgement>,
    /// What differs.
    pub files: Vec<ChangedFile>,
    /// Who is missing.
    pub needs: Vec<Need>,
    #[serde(skip)]
    policy: Policy,
    #[serde(skip)]
    next: Policy,
}

/// Looks at what waits between the last commit in effect and a tip.
///
/// # Errors
/// A commit is refused, or nothing waits (`E760`); or the repository cannot be read.
pub fn review(
    repository: &Repository,
    root: &RootOfTrust,
    tip: ObjectId,
    now: i64,
) -> Result<Review, Problem> {
    let judgement = judge(repository, root, None, &repository.candidate(tip, &root.reference), now)?;
    if let Some(rejection) = judgement.rejection {
        return Err(rejection.into());
    }
    let policy = judgement.policy;
    let effective = judgement.verified.map(|verified| verified.revision().clone());
    let (Some(effective), Some(Pending { commit, tree, needs })) = (effective, judgement.pending) else {
        return Err(ApproveError::Nothing(short(&tip.to_string()).to_owned()).into());
    };
    let [before, after] = [&effective.tree, &tree].map(|hex| ObjectId::from_hex(hex.as_bytes()));
    let (Ok(before), Ok(after)) = (before, after) else {
        return Err(ApproveError::Nothing(commit).into());
    };
    let next = policy_of(repository, after)
        .map_err(|reason| ApproveError::Policy { commit: short(&commit).to_owned(), reason })?;
    let unreadable = |error: crate::source::ObjectError| crate::trust::TrustError::Store(error);
    Ok(Review {
        fleet: root.fleet.clone(),
        reference: root.reference.clone(),
        policy,
        next,
        files: changes(repository, before, after).map_err(unreadable)?,
        commits: judgement.commits.into_iter().filter(|commit| commit.verdict == Verdict::Pending).collect(),
        tip: commit,
        tree,
        effective,
        needs,
    })
}

/// What a signer's word would count for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The principal.
    pub signer: String,
    /// The fingerprint of his key.
    pub key: String,
    /// The scopes that ask for him.
    pub scopes: Vec<String>,
}

impl Review {
    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the word of this key's holder would count for.
    ///
    /// # Errors
    /// For nothing; see [`ApproveError`].
    pub fn claim(&self, key: &SigningKey, now: i64) -> Result<Claim, ApproveError> {
        let print = key.fingerprint();
        let Some(holder) = key.holder(&self.policy) else {
            return Err(ApproveError::NoPrincipal { key: print });
        };
        let signer = holder.principal.clone();
        if holder.not_after.is_some_and(|last| now > last) {
            return Err(ApproveError::Expired { key: print, signer });
        }
        // What a new policy asks for, it asks of whoever holds the key there.
        let name_for = |need: &Need| match need.new_policy {
            true => key.holder(&self.next).map(|holder| holder.principal.clone()),
            false => Some(signer.clone()),
        };
        let asked = |need: &&Need| name_for(need).is_some_and(|name| need.signers.contains(&name));
        let given = |need: &&Need| name_for(need).is_some_and(|name| need.have.contains(&name));
        let mut scopes: Vec<String> = self
            .needs
            .iter()
            .filter(|need| asked(need) && !given(need))
            .map(|need| need.scope.clone())
            .collect();
        scopes.dedup();
        if !scopes.is_empty() {
            return Ok(Claim { signer, key: print, scopes });
        }
        if self.needs.iter().any(|need| given(&need)) {
            return Err(ApproveError::Already { signer, missing: missing(&self.needs).join(", ") });
        }
        let scopes =
            self.needs.iter().map(|need| format!("{} asks for {}", need.scope, need.signers.join(", ")));
        Err(ApproveError::NotAsked { signer, scopes: scopes.collect::<Vec<_>>().join("; ") })
    }
}

/// Who could still give what is missing.
pub fn missing(needs: &[Need]) -> Vec<String> {
    let mut names: Vec<String> = needs
        .iter()
        .flat_map(|need| need.signers.iter().filter(|signer| !need.have.contains(signer)).cloned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The form of an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A commit on the branch.
    Commit,
    /// A signed tag; without a name it gets one.
    Tag(Option<String>),
}

/// An approval that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Approval {
    /// Who signed.
    pub claim: Claim,
    /// `commit` or `tag`.
    pub form: &'static str,
    /// The reference that was moved or made.
    pub reference: String,
    /// The commit or tag object.
    pub object: String,
    /// Whether what waited is in effect with it.
    pub in_effect: bool,
    /// What is still missing.
    pub needs: Vec<Need>,
}

/// Signs an approval of what was reviewed, proves that it counts, and keeps it only then.
///
/// # Errors
/// See [`ApproveError`] and [`GitError`].
pub fn approve(
    git: &Git,
    root: &RootOfTrust,
    review: &Review,
    claim: &Claim,
    form: &Form,
    now: i64,
) -> Result<Approval, Problem> {
    git.identity()?;
    match form {
        Form::Commit => with_commit(git, root, review, claim, now),
        Form::Tag(name) => with_tag(git, root, review, claim, name.as_deref(), now),
    }
}

const SIGNING_HELP: &str =
    "if the key has a passphrase, load it with `ssh-add`; if it is a security key, touch it when it blinks";

fn with_commit(
    git: &Git,
    root: &RootOfTrust,
    review: &Review,
    claim: &Claim,
    now: i64,
) -> Result<Approval, Problem> {
    stands_on(git, review)?;
    let subject = format!("Approve {}", short(&review.tip));
    let trailer = format!("Approves-tree: {}", review.tree);
    let arguments = ["commit-tree", "-S", "-p", &review.tip, "-m", &subject, "-m", &trailer, &review.tree];
    let object = git.sign(&arguments, SIGNING_HELP)?;
    let tip = ObjectId::from_hex(object.as_bytes())
        .map_err(|_| ApproveError::NotCounted { reason: format!("git made `{}`", escaped(&object)) })?;
    let judgement = counted(git, root, claim, tip, now)?;
    let help = "somebody moved the branch meanwhile: look at it again";
    git.run(&["update-ref", "-m", "abide approve", &review.reference, &object, &review.tip], help)?;
    Ok(made(claim, "commit", review.reference.clone(), object, judgement))
}

/// An approval commit stands on the branch, where the author is.
fn stands_on(git: &Git, review: &Review) -> Result<(), ApproveError> {
    let branch = git.branch();
    let head = git.ask(&["rev-parse", "--verify", "-q", "HEAD"]).unwrap_or_default();
    if branch.as_deref() == Some(&review.reference) && head == review.tip {
        return Ok(());
    }
    let place = branch.map_or_else(|| "detached".to_owned(), |branch| format!("on {}", escaped(&branch)));
    Err(ApproveError::Elsewhere {
        head: format!("{place} at {}", short(&head)),
        tip: short(&review.tip).to_owned(),
        reference: review.reference.clone(),
    })
}

fn with_tag(
    git: &Git,
    root: &RootOfTrust,
    review: &Review,
    claim: &Claim,
    name: Option<&str>,
    now: i64,
) -> Result<Approval, Problem> {
    let name = match name {
        Some(name) if name.starts_with(TAGS) => name.to_owned(),
        Some(name) => format!("{TAGS}{name}"),
        None => format!("{TAGS}{}-{}", short(&review.tip), claim.signer),
    };
    let reference = format!("refs/tags/{name}");
    let taken = git.ask(&["rev-parse", "--verify", "-q", &reference]).is_some();
    if taken || git.run(&["check-ref-format", &reference], "").is_err() {
        return Err(ApproveError::TagName(escaped(&name)).into());
    }
    let subject = format!("Approve {}", short(&review.tip));
    let trailer = format!("Approves-tree: {}", review.tree);
    git.sign(&["tag", "-s", "-m", &subject, "-m", &trailer, &name, &review.tip], SIGNING_HELP)?;
    let tip = ObjectId::from_hex(review.tip.as_bytes())
        .map_err(|error| ApproveError::NotCounted { reason: error.to_string() })?;
    match counted(git, root, claim, tip, now) {
        Ok(judgement) => {
            let object = git.run(&["rev-parse", &reference], "look at what Git says")?;
            Ok(made(claim, "tag", reference, object, judgement))
        }
        Err(problem) => {
            // Only what this call has made: the name was free before.
            let _ = git.ask(&["tag", "-d", &name]);
            Err(problem)
        }
    }
}

/// Judges the branch again as a host would, with the approval, and proves that it counts.
fn counted(
    git: &Git,
    root: &RootOfTrust,
    claim: &Claim,
    tip: ObjectId,
    now: i64,
) -> Result<Judgement, Problem> {
    let repository = Repository::open(git.directory())?;
    let judgement = judge(&repository, root, None, &repository.candidate(tip, &root.reference), now)?;
    if let Some(rejection) = judgement.rejection {
        return Err(ApproveError::NotCounted { reason: Problem::from(rejection).what }.into());
    }
    let uncounted = judgement.pending.iter().flat_map(|pending| &pending.needs).find(|need| {
        claim.scopes.contains(&need.scope) && !need.new_policy && !need.have.contains(&claim.signer)
    });
    match uncounted {
        Some(need) => {
            let reason = format!("the scope {} still does not have {}", need.scope, claim.signer);
            Err(ApproveError::NotCounted { reason }.into())
        }
        None => Ok(judgement),
    }
}

fn made(
    claim: &Claim,
    form: &'static str,
    reference: String,
    object: String,
    judgement: Judgement,
) -> Approval {
    let needs = judgement.pending.map(|pending| pending.needs).unwrap_or_default();
    Approval { claim: claim.clone(), form, reference, object, in_effect: needs.is_empty(), needs }
}

/// Where the branch is pushed to: what Git is set to, or `origin`.
pub fn remote(git: &Git, reference: &str) -> String {
    let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    let asked = [
        format!("branch.{branch}.pushRemote"),
        "remote.pushDefault".to_owned(),
        format!("branch.{branch}.remote"),
    ];
    let found = asked.iter().find_map(|name| git.ask(&["config", "--get", name]));
    found.unwrap_or_else(|| "origin".into())
}

/// Pushes a reference.
///
/// # Errors
/// The remote does not take it.
pub fn push(git: &Git, remote: &str, reference: &str, force: bool) -> Result<(), GitError> {
    let refspec = format!("{}{reference}:{reference}", if force { "+" } else { "" });
    let help = "what was signed is kept in this repository: push it by hand when the remote takes it";
    git.sign(&["push", "-q", remote, &refspec], help).map(drop)
}
