//! What systemd, which started the agent, is told of it.

use std::time::Duration;

/// Tells it.
pub(super) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(states);
}

/// The pulse that systemd's watchdog wants; none when it does not want one.
pub(super) struct Heartbeat {
    period: Option<Duration>,
}

pub(super) fn watchdog() -> Heartbeat {
    Heartbeat { period: sd_notify::watchdog_enabled().map(|period| period / 3) }
}

impl Heartbeat {
    /// Waits for the next beat.
    pub(super) async fn beat(&mut self) {
        match self.period {
            Some(period) => tokio::time::sleep(period).await,
            None => std::future::pending().await,
        }
    }
}
