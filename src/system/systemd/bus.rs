//! The conversation: one connection, many calls in flight.

use futures_core::Stream;
use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;
use zbus::connection::Builder;
use zbus::{Connection, Message, MessageStream};

use super::{SystemdError, direct};

pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub(super) const SERVICE: &str = "org.freedesktop.systemd1.Service";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";

/// Calls in flight at once. The system bus allows a connection 128 unanswered ones (dbus-daemon's
/// `max_replies_per_connection`).
const IN_FLIGHT: usize = 100;

/// How long a whole exchange may take; systemd answers in microseconds unless it reloads or hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// A connection to systemd.
pub(super) struct Bus {
    pub(super) connection: Connection,
}

impl Bus {
    /// For conversations: systemd's own socket where we may use it, because it saves each message the way through the
    /// bus daemon and works without one; else the system bus.
    pub(super) async fn connect() -> Result<Bus, SystemdError> {
        booted()?;
        match direct::connect().await {
            Ok(connection) => Ok(Bus { connection }),
            Err(private) => match Builder::system().build().await {
                Ok(connection) => Ok(Bus { connection }),
                Err(bus) => Err(SystemdError::Unreachable { bus: bus.to_string(), source: private }),
            },
        }
    }

    /// For listening: the system bus, which passes on only what was asked for; else systemd's own socket, which sends everything.
    pub(super) async fn listen() -> Result<(Bus, bool), SystemdError> {
        booted()?;
        match Builder::system().build().await {
            Ok(connection) => Ok((Bus { connection }, true)),
            Err(bus) => match direct::connect().await {
                Ok(connection) => Ok((Bus { connection }, false)),
                Err(source) => Err(SystemdError::Unreachable { bus: bus.to_string(), source }),
            },
        }
    }

    /// One call to the manager.
    pub(super) async fn manager<B>(&self, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let message = manager_call(method, body)?;
        self.all(&[message])
            .await
            .and_then(|mut replies| replies.pop().unwrap_or(Err(zbus::Error::InvalidReply)))
    }

    /// Sends all calls, and collects the answers in the order of the calls.
    pub(super) async fn all(&self, calls: &[Message]) -> zbus::Result<Vec<zbus::Result<Message>>> {
        let mut answers = Vec::with_capacity(calls.len());
        for window in calls.chunks(IN_FLIGHT) {
            let exchange = self.window(window);
            match tokio::time::timeout(PATIENCE, exchange).await {
                Ok(window) => answers.extend(window?),
                Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        }
        Ok(answers)
    }

    async fn window(&self, calls: &[Message]) -> zbus::Result<Vec<zbus::Result<Message>>> {
        let mut stream = MessageStream::from(&self.connection);
        let places: HashMap<u32, usize> = calls
            .iter()
            .enumerate()
            .map(|(place, call)| (call.primary_header().serial_num().get(), place))
            .collect();
        let mut answers: Vec<Option<zbus::Result<Message>>> = vec![None; calls.len()];
        self.connection.send_all(calls).await?;
        let mut missing = calls.len();
        while missing > 0 {
            let message = next(&mut stream).await?;
            let Some(serial) = message.header().reply_serial() else { continue };
            let Some(place) = places.get(&serial.get()) else { continue };
            let answer = match message.message_type() {
                zbus::message::Type::Error => Err(zbus::Error::from(message)),
                _ => Ok(message),
            };
            if answers[*place].replace(answer).is_none() {
                missing -= 1;
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

/// The next message, or an error when the connection ended.
pub(super) async fn next(stream: &mut MessageStream) -> zbus::Result<Message> {
    let message = std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await;
    message.unwrap_or_else(|| Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()))
}

/// A call to an object of systemd.
pub(super) fn call<B>(path: &str, interface: &str, method: &str, body: &B) -> zbus::Result<Message>
where
    B: serde::Serialize + zbus::DynamicType,
{
    Message::method_call(path, method).destination(NAME).interface(interface).build(body)
}

/// A call to the manager object.
pub(super) fn manager_call<B>(method: &str, body: &B) -> zbus::Result<Message>
where
    B: serde::Serialize + zbus::DynamicType,
{
    call(OBJECT, MANAGER, method, body)
}

/// A read of one property.
pub(super) fn property_call(path: &str, interface: &str, property: &str) -> zbus::Result<Message> {
    call(path, PROPERTIES, "Get", &(interface, property))
}

/// The object path of a unit: every byte that is not a letter, or a digit behind the first place, becomes `_` and two
/// hexadecimal digits (systemd's `bus_label_escape`). Asking that object loads the unit where it is not loaded.
pub(super) fn unit_path(unit: &str) -> String {
    use std::fmt::Write;
    let mut path = format!("{OBJECT}/unit/");
    for (place, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (place > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

/// The name of the unit at an object path; the reverse of [`unit_path`].
pub(super) fn unit_of_path(path: &str) -> Option<String> {
    let label = path.strip_prefix(OBJECT)?.strip_prefix("/unit/")?.as_bytes();
    let mut name = Vec::with_capacity(label.len());
    let mut rest = label;
    while let Some((byte, behind)) = rest.split_first() {
        if *byte == b'_' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            name.push(*byte);
            rest = behind;
        }
    }
    String::from_utf8(name).ok()
}

/// Whether this can be the full name of a unit: systemd's characters, a known suffix, at most 255 bytes.
pub fn is_unit_name(name: &str) -> bool {
    const SUFFIXES: [&str; 11] = [
        "service",
        "socket",
        "target",
        "device",
        "mount",
        "automount",
        "swap",
        "timer",
        "path",
        "slice",
        "scope",
    ];
    let Some((stem, suffix)) = name.rsplit_once('.') else { return false };
    name.len() <= 255
        && !stem.is_empty()
        && !stem.starts_with('@')
        && SUFFIXES.contains(&suffix)
        && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

fn booted() -> Result<(), SystemdError> {
    // The test that sd_booted(3) documents.
    if std::path::Path::new("/run/systemd/system").is_dir() { Ok(()) } else { Err(SystemdError::NotBooted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_one_object_path() {
        for (unit, label) in [
            ("nginx.service", "nginx_2eservice"),
            ("0a1.service", "_30a1_2eservice"),
            ("getty@tty1.service", "getty_40tty1_2eservice"),
            ("dev-disk-by\\x2dlabel-x.swap", "dev_2ddisk_2dby_5cx2dlabel_2dx_2eswap"),
        ] {
            let path = unit_path(unit);
            assert_eq!(path, format!("/org/freedesktop/systemd1/unit/{label}"));
            assert_eq!(unit_of_path(&path).as_deref(), Some(unit));
        }
        assert_eq!(unit_of_path("/org/freedesktop/systemd1/job/12"), None);
        assert_eq!(unit_of_path("/org/freedesktop/systemd1/unit/a_2"), None);
    }

    #[test]
    fn names_are_judged() {
        for (name, good) in [
            ("nginx.service", true),
            ("getty@tty1.service", true),
            ("getty@.service", true),
            ("-.mount", true),
            ("nginx", false),
            (".service", false),
            ("@a.service", false),
            ("a b.service", false),
            ("../etc.service/x", false),
            ("a.servic", false),
        ] {
            assert_eq!(is_unit_name(name), good, "{name}");
        }
    }
}
