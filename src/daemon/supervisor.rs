//! What systemd, which started the agent, is told of it.

use std::time::Duration;

/// Tells it.
pub(super) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(states);
}

/// The pulse that systemd's watchdog wants; none when it does not want one.
pub(super) struct Heartbeat {
    ticks: Option<tokio::time::Interval>,
}

pub(super) fn watchdog() -> Heartbeat {
    Heartbeat::every(sd_notify::watchdog_enabled().map(|period| period / 3))
}

impl Heartbeat {
    fn every(period: Option<Duration>) -> Heartbeat {
        Heartbeat { ticks: period.filter(|period| !period.is_zero()).map(tokio::time::interval) }
    }

    /// Waits for the next beat. The beats come in time however often the waiting is given up: the loop has much else to do.
    pub(super) async fn beat(&mut self) {
        match &mut self.ticks {
            Some(ticks) => drop(ticks.tick().await),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn an_agent_with_much_to_do_still_has_a_heartbeat() {
        let mut heartbeat = Heartbeat::every(Some(Duration::from_millis(60)));
        heartbeat.beat().await;
        let mut beats = 0;
        for _ in 0..30 {
            // Something else comes up before each beat.
            let waited = tokio::time::timeout(Duration::from_millis(20), heartbeat.beat()).await;
            beats += u32::from(waited.is_ok());
        }
        assert!(beats >= 5, "{beats} beats");
        let mut none = Heartbeat::every(None);
        let never = tokio::time::timeout(Duration::from_millis(5), none.beat()).await;
        assert!(never.is_err(), "without a watchdog there is none");
    }
}
