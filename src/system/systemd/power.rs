//! Ending the system in order.

use super::{Systemd, SystemdError, call_error};

impl Systemd {
    /// Begins a reboot as `systemctl reboot` does: services are stopped first, and nothing can take it back. Returns at once.
    ///
    /// # Errors
    /// systemd refuses or does not answer.
    pub fn reboot(&self) -> Result<(), SystemdError> {
        let begun =
            self.runtime.block_on(self.bus.manager("StartUnit", &("reboot.target", "replace-irreversibly")));
        begun.map(drop).map_err(|error| call_error("reboot", error))
    }
}
