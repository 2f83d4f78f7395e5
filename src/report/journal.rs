//! The systemd journal: one structured entry per event, with fields that `journalctl` can filter by.
//!
//! Where there is no journal (a container without systemd, an author's machine), entries go to standard error.

use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::event::{Event, Priority};
use crate::error::escaped;

/// The target of every entry of ours, so that libraries' own messages can be told apart.
const TARGET: &str = "abide";

/// Connects to the journal. Call once, at the start.
pub fn open() {
    let ours = filter_fn(|metadata| metadata.target() == TARGET);
    let mappings = tracing_journald::PriorityMappings {
        error: tracing_journald::Priority::Error,
        warn: tracing_journald::Priority::Warning,
        info: tracing_journald::Priority::Notice,
        debug: tracing_journald::Priority::Informational,
        trace: tracing_journald::Priority::Debug,
    };
    let journal = tracing_journald::layer().ok().map(|layer| {
        layer.with_field_prefix(None).with_syslog_identifier("abide".into()).with_priority_mappings(mappings)
    });
    let fallback = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).without_time()
    });
    let subscriber = tracing_subscriber::registry()
        .with(journal.with_filter(LevelFilter::DEBUG).with_filter(ours.clone()))
        .with(fallback.with_filter(LevelFilter::DEBUG).with_filter(ours));
    // A second call finds the first one's subscriber in place, which is what it wants.
    let _ = subscriber.try_init();
}

/// Writes a line that is no event.
pub fn note(text: &str) {
    tracing::info!(target: TARGET, "{}", escaped(text));
}

/// Writes one event. Text that comes from the branch is escaped.
pub fn write(event: &Event) {
    let Some(kind) = event.kind else { return };
    let description = kind.description();
    let message = event.message.lines().map(escaped).collect::<Vec<_>>().join("\n");
    // One call site per level, because a level is a property of the call site.
    macro_rules! entry {
        ($level:ident) => {
            tracing::$level!(
                target: TARGET,
                message_id = description.id,
                abide_run = event.run,
                abide_revision = event.revision.as_deref(),
                abide_commit = event.commit.as_deref(),
                abide_signer = event.signer.as_deref().map(escaped).as_deref(),
                abide_resource = event.resource.as_deref().map(escaped).as_deref(),
                abide_change = event.change.as_deref().map(escaped).as_deref(),
                abide_code = event.code.as_deref(),
                "{message}"
            )
        };
    }
    match description.priority {
        Priority::Error => entry!(error),
        Priority::Warning => entry!(warn),
        Priority::Notice => entry!(info),
        Priority::Info => entry!(debug),
    }
}
