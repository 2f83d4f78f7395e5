//! What is worth an entry: every kind of event with its `MESSAGE_ID`, and one event as data.
//!
//! **Invariant:** a `MESSAGE_ID`, once released, never changes its meaning. The journal catalog is generated from this table.

use serde::{Deserialize, Serialize};

/// Every kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "explained in the table below")]
pub enum EventKind {
    AgentStarted,
    RevisionAccepted,
    RevisionRefused,
    ManifestRefused,
    PlanRefused,
    ResourceChanged,
    ResourceFailed,
    ResourceDrifted,
    PruneRefused,
    RunFinished,
    RunFailed,
    RunRecovered,
    PollFailed,
    PollRecovered,
    Suspended,
    Resumed,
    RevisionPending,
    NewsStale,
    NewsFresh,
    HeartbeatRefused,
    ClockDoubted,
    ClockTrusted,
    ClockReset,
    StateLost,
    StateRebuilt,
    TrustConfirmed,
    GlassBroken,
    GenerationTried,
    GenerationGood,
    RolledBack,
    RollbackEnded,
    UpgradeUndone,
    RevisionWaits,
    ChangeHeld,
    ResourceWaits,
    RebootNeeded,
    Rebooting,
    Rebooted,
    TrialFailed,
    HealthFailed,
    HealthRestored,
    Enrolled,
    FightBegan,
    FightEnded,
    EventsLost,
}

/// How loud an event is, as syslog's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Somebody has to look: level 3.
    Error,
    /// Something is not as it should be, and abide deals with it: level 4.
    Warning,
    /// Something happened: level 5.
    Notice,
    /// For the record: level 6.
    Info,
}

/// What is known of a kind of event.
pub struct Description {
    /// The kind.
    pub kind: EventKind,
    /// Its `MESSAGE_ID`.
    pub id: &'static str,
    /// How loud it is.
    pub priority: Priority,
    /// The catalog's subject line.
    pub subject: &'static str,
    /// The catalog's explanation: what it means and what to do.
    pub explanation: &'static str,
}

macro_rules! descriptions {
    ($($kind:ident $id:literal $priority:ident $subject:literal $explanation:literal)*) => {
        /// Every kind of event, in catalog order.
        pub const DESCRIPTIONS: &[Description] = &[$(Description {
            kind: EventKind::$kind,
            id: $id,
            priority: Priority::$priority,
            subject: $subject,
            explanation: $explanation,
        },)*];
    };
}

descriptions! {
    AgentStarted "4c96a84b5a3f47b4b5665a784e41161e" Info
        "abide watches this host"
        "The agent started. It polls the signed branch and keeps the host as the branch declares."
    RevisionAccepted "0832250793974899a64d754af3b5f4cb" Notice
        "Revision @ABIDE_REVISION@ was proven"
        "Every commit up to this one was made by somebody whom the policy in force allowed to make it. `abide verify @ABIDE_COMMIT@` shows the proof."
    RevisionRefused "a8cbe070dcc047ea963d7386dc914f1e" Error
        "A commit on the branch was refused"
        "A commit could not be proven, so nothing of it is applied. The last good state stays enforced.\nIf the commit was meant, its author has to repair the branch: sign it with a key that trust.toml knows, or let somebody sign who may change these paths. If nobody of yours made it, somebody else can write to your Git host."
    ManifestRefused "9703ad8afdba4355bf6ffb5e0a34d5c8" Error
        "The manifest of @ABIDE_REVISION@ has errors"
        "The commit is proven, but what it declares cannot be read for this host. The last good state stays enforced.\nRun `abide check` in the repository; it shows the same errors before a push."
    PlanRefused "058a329bce744f22b590e386b6b3e831" Error
        "@ABIDE_REVISION@ cannot be planned on this host"
        "At least one resource cannot be brought to its declared state here, so nothing of this revision is applied. The last good state stays enforced."
    ResourceChanged "08c6a99085dc4d51902140be6f083cd8" Notice
        "@ABIDE_RESOURCE@ was changed"
        "The host differed from the branch here, and abide corrected it. `abide trace @ABIDE_RESOURCE@` shows who declared it, in which commit and line."
    ResourceFailed "9944fb9682604e11b7836d8e1550235e" Error
        "@ABIDE_RESOURCE@ could not be brought to its declared state"
        "abide tries again at the next run. What depends on this resource was not touched; everything else was."
    ResourceDrifted "8cc701c2c37b400fbb1ef31a757e67a0" Warning
        "@ABIDE_RESOURCE@ differs from the branch"
        "The resource is declared with `enforce = \"warn\"`, so the difference is reported and left."
    PruneRefused "2c5d690951af4cdcb7708897cd0cb486" Error
        "Removing what left the branch was refused"
        "More would be removed than the host's settings allow in one run. If that is meant, run `abide sync --prune`."
    RunFinished "3a7160fba31e4236a00a184dfc55f2f8" Notice
        "The host is at @ABIDE_REVISION@"
        "A run that changed something, or brought a new revision, ended well. `abide history --runs` lists the runs."
    RunFailed "c2d43b590cc74b08ad2f0f7762e780e0" Error
        "A run at @ABIDE_REVISION@ had failures"
        "Some resources are not as declared. `abide status` lists them with reasons."
    RunRecovered "87b15844527e497699a2873dc1ddb9e5" Warning
        "An interrupted run was recovered"
        "The run before this one ended without finishing, by a crash or a power cut. What it had begun was finished or cleared away, and what it owed is still owed."
    PollFailed "01b63423b3554803a659b84ae8d00ef5" Warning
        "The branch cannot be polled"
        "No remote answered as it should. The last good state stays enforced, and polls go on with growing intervals. `abide status` shows the reason."
    PollRecovered "606da0d4558c41368ee91e9efc2fddf3" Notice
        "The branch can be polled again"
        "A remote answers again."
    Suspended "ea1ad16883d9496e8a2bc20b0b4fbc66" Warning
        "Applying is suspended"
        "Polling and proving go on, applying waits. `abide resume` ends it."
    Resumed "c1aa66b4c6044cd2ba89295facdb5d42" Notice
        "Applying is resumed"
        "The next run brings the host to the branch again."
    RevisionPending "2300018b1305c6274739e1c4bf3027d3" Notice
        "A change waits for approvals"
        "Everything in it is proven for itself, but its scopes ask for more principals than have signed. Nothing of it is applied until they approve it; the last accepted state stays enforced.\n`abide verify` shows who is missing, and `abide approve` in a clone of the repository approves it."
    NewsStale "958761745b9fb5403e891071125ccfcd" Error
        "The news of the branch is stale"
        "No heartbeat that counts came for longer than this host's root of trust allows. Either the schedule that makes heartbeats has stopped, or somebody between it and this host holds back what is new. The last accepted state stays enforced; where freshness is required nothing new is applied."
    NewsFresh "db2ff42d0252bf9149f6e4abd6ebe584" Notice
        "The news of the branch is fresh again"
        "A heartbeat that counts has come."
    HeartbeatRefused "de24a01144b27c2ee4a745eafcf599ff" Warning
        "A heartbeat does not count"
        "The remote offers a heartbeat that cannot be read, is for another branch, is older than one that was seen, or is not signed by a key that trust.toml names for it. It is not believed; the newest one before it still counts until it is stale."
    ClockDoubted "00210b3366b7ef1713a7e59c82ff75c2" Error
        "The clock cannot be believed"
        "It shows a time that is over, or one that is far ahead of everything that this host has seen. Keys and heartbeats are judged by the later time. Set the clock, or run `abide trust reset-clock` if it is right."
    ClockTrusted "607dc05c997fc100b499f2eae1a81ea5" Notice
        "The clock can be believed again"
        "It agrees with what this host has seen."
    ClockReset "723a37fe7a5d74cc5e7d0e616041a1e8" Warning
        "What was remembered of the time was forgotten"
        "An operator ran `abide trust reset-clock`: from now on the clock is believed as it is."
    StateRebuilt "b7d1f0c3a95e4f2f8a6c1d09e4735b68" Error
        "The state of this host was put together again"
        "The database in /var/lib/abide was damaged, older than its copy, or gone. What could be read of it was kept, and what this host believes came from the copy beside it; the event says what is lost. abide goes on by itself, but look for a failing disk.\nResources of which it is not known any more whether abide created them stay when they leave the branch."
    StateLost "d6a810e1ce1f778445084eb75078ea1c" Error
        "This host has lost its state"
        "It has a root of trust, but nothing says which commits it has accepted. Where freshness is required it starts again from the introduction with what a fresh heartbeat names. Elsewhere it applies nothing new until an operator who compared the commit runs `abide trust confirm`."
    TrustConfirmed "32fa36c9715f5c266fe3d1b04b3ac3d3" Warning
        "An operator confirmed where this host stands"
        "The commit was proven from the introduction, and the host goes on from there."
    GlassBroken "bf7dc91d10445f3058ddf3508d76a7cd" Error
        "The high-water mark was moved by a break-glass statement"
        "Somebody with a break-glass key of this host's root of trust signed an exception, and root on this host used it. If that was not you, the host's root and the key are in other hands."
    GenerationTried "e295714a123ff6397ec97c120a8b0abc" Info
        "@ABIDE_REVISION@ is on trial"
        "It was applied. Until its health checks have succeeded and the remote was reached again it may still be given up; `abide status` shows what it waits for."
    GenerationGood "b0bd1f8ae0cecf662064cf75dbb7a3fc" Notice
        "@ABIDE_REVISION@ has passed its trial"
        "Its health checks succeeded, and the remote was reached where that mattered. A rollback can return to it."
    RolledBack "77c0dd40993b9a7b44be7e392b15a3d3" Error
        "The host returns to an earlier generation"
        "A commit was given up, because of its own trial or by an operator. The commit is skipped until a newer one arrives, or until `abide resume`. `abide history` shows the generations."
    RollbackEnded "118321accc30a58b5269b6e3567323ee" Notice
        "The host follows its branch again"
        "A newer commit has arrived, or an operator ran `abide resume`: no earlier generation is kept any more."
    UpgradeUndone "b4a1e6f0c3d94c0e9a6f3f0d5c1b7e28" Error
        "Another version of abide did not work, and the former one is back"
        "The branch, or somebody by hand, had brought another version of abide. It did not start, or could not end a run, within the time that it has for that; so its guard, which is a copy of the version before it, put that one back. A commit that brought it is given up until a newer one arrives, or until `abide resume`."
    RevisionWaits "7df74b4d0fb2442cb0f58a6a2b53ff20" Notice
        "@ABIDE_REVISION@ waits for a window"
        "It is proven, and a window of this host or of the branch does not allow to take it now. The last good state stays enforced. `abide status` shows when the window opens, and `abide sync --ignore-windows` does not wait."
    ChangeHeld "a63cd5b4b2474f5f9f1ae1e5a9b0fd57" Error
        "@ABIDE_REVISION@ would change too much at once"
        "It would change more of what is in force than the host's settings allow, so it is held until somebody confirms it: with a `[[confirm]]` in fleet.toml, or by `abide sync --all-changes` on the host. The last good state stays enforced."
    ResourceWaits "3c1c3d3f8dd04a12a5a3b58ab1f0ab4e" Notice
        "@ABIDE_RESOURCE@ waits"
        "It differs from the branch, and either its window is not open, or what would be removed is in use. The next run tries again; `abide status` shows the reason."
    RebootNeeded "c6a3fbd6b5b843cf8e8fca1e7f8ffb58" Notice
        "The host needs a reboot"
        "Something that is installed comes into effect only with one. Where `[reboot]` of the host or of the branch says `when = \"needed\"`, it takes place by itself in the host's window and slot; `abide status` says when."
    Rebooting "b2f4d0bd0a7c4d5c9b4f54cd6f0b7d8a" Warning
        "The host reboots"
        "abide has begun the reboot that the host needed, as `[reboot]` allows."
    Rebooted "0e8f6fd7b3f1440a8f9f3f4f5cd97a3e" Notice
        "The host is back from a reboot"
        "It was begun by abide. If the need for it lasts, it is not tried again before the `pause` of `[reboot]` is over."
    TrialFailed "2fbd8a4cede7430a9798a2bbab47aea9" Error
        "@ABIDE_REVISION@ has failed its trial and stays in force"
        "Its health checks failed, or the remote was out of reach, and the host does not return to an earlier generation: because its policy says so, or because none was good before. It is good as soon as its health checks are."
    HealthFailed "cccdeb01ec4b4fa6b63a49e4f6e0505b" Error
        "A health check fails"
        "It was good, or has had its time after the boot or a change, and was found bad more than once. Nothing is rolled back for it: only a new commit is. `abide status` shows what is wrong."
    HealthRestored "03c5270fd3fd45689dcbdf783eef2a8e" Notice
        "A health check is good again"
        "What it looks at is as it should be."
    Enrolled "7dc07149c2f948b5872cc604c63fac84" Notice
        "This host is enrolled"
        "The root of trust was written. From now on the host abides by the branch."
    FightBegan "a391f38b6b514b87909954dfe1f4d455" Warning
        "Somebody keeps changing @ABIDE_RESOURCE@ back"
        "abide has corrected this resource again and again within a minute. From now on it waits longer before each correction of it, up to five minutes; everything else is healed at once as before. `abide status` shows what is known of the other side. Stop whoever else manages it, or take it off the branch."
    FightEnded "68f8b9f162ac43eea9bab533b4a9ddb9" Notice
        "Nobody changes @ABIDE_RESOURCE@ back any more"
        "The resource has stayed as declared for a while. It is healed at once again."
    EventsLost "664797111598469989a8d66fec4ace6a" Info
        "More changed at once than could be told"
        "The kernel's queue of file events overflowed (fs.inotify.max_queued_events). Nothing is missed: the whole host is looked at."
}

impl EventKind {
    /// What is known of this kind.
    pub fn description(self) -> &'static Description {
        // The table has every kind: a unit test counts them.
        DESCRIPTIONS.iter().find(|description| description.kind == self).unwrap_or(&DESCRIPTIONS[0])
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Seconds since the epoch.
    pub time: i64,
    /// Its kind.
    pub kind: Option<EventKind>,
    /// One line for people.
    pub message: String,
    /// The run it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    /// The revision, in Flux's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The whole commit id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The resource it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// The stable code of the problem it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The journal catalog, as `journalctl --update-catalog` reads it.
pub fn catalog() -> String {
    let mut text = String::from("# Generated by `cargo run --example generate`; do not edit.\n");
    for description in DESCRIPTIONS {
        text.push_str(&format!(
            "\n-- {}\nSubject: {}\nDefined-By: abide\nDocumentation: man:abide(8)\n\n{}\n",
            description.id, description.subject, description.explanation
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_is_described_once() {
        let kinds: BTreeSet<_> = DESCRIPTIONS.iter().map(|description| description.kind).collect();
        let ids: BTreeSet<_> = DESCRIPTIONS.iter().map(|description| description.id).collect();
        assert_eq!((kinds.len(), ids.len()), (DESCRIPTIONS.len(), DESCRIPTIONS.len()));
        assert_eq!(DESCRIPTIONS.len(), EventKind::EventsLost as usize + 1);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }
}
