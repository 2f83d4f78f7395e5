//! A remote behind a network: handshake, listing of one ref, and a pack if it moved.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice};
use gix::progress::Discard;
use gix::protocol::transport::client::blocking_io::http as transport;
use gix::remote::Direction;
use gix::remote::fetch::{Status, Tags};
use gix::url::Scheme;

use super::explain::{Witness, explain};
use super::http::{self, Login, Setup};
use super::listing;
use super::meter::Meter;
use super::{Fetched, Task};
use crate::source::error::FetchError;
use crate::source::spool::{self, BRANCH};

/// Options that let nothing of the machine's or the user's Git in.
pub(super) fn open_options(task: &Task) -> gix::open::Options {
    gix::open::Options::isolated().open_path_as_is(true).config_overrides(configuration(task))
}

fn configuration(task: &Task) -> Vec<String> {
    vec![
        "protocol.version=2".to_owned(),
        "committer.name=abide".to_owned(),
        "committer.email=abide@localhost".to_owned(),
        "pack.threads=1".to_owned(),
        format!("gitoxide.objects.allocLimit={}", task.limits.object_bytes),
    ]
}

pub(super) fn fetch(
    task: &Task,
    url: &gix::Url,
    room: u64,
    stop: &Arc<AtomicBool>,
) -> Result<Fetched, FetchError> {
    let mut options = open_options(task);
    if url.scheme == Scheme::Ssh {
        // ssh appends: what is there is of an earlier poll.
        std::fs::write(&task.ssh_log, b"").map_err(spool::failed(&task.ssh_log))?;
        let ssh = ["ssh.variant=ssh".to_owned(), format!("core.sshCommand={}", ssh_command(task)?)];
        options = options.config_overrides(configuration(task).into_iter().chain(ssh));
    }
    let login = http::login(task)?;
    let setup = Arc::new(Setup::read(task, &login)?);
    let mut format = None;
    loop {
        let repository = spool::open_repository(&task.repository, format, &options)?;
        if let Some(tip) = listing::ask(task, url, &login, &setup, repository.object_hash())?
            && spool::branch(&repository) == Some(tip)
        {
            return Ok(Fetched { tip, received: 0 });
        }
        match exchange(task, &repository, url, (&login, &setup), room, stop)? {
            Exchange::Done(fetched) => return Ok(fetched),
            // The remote has the other object format: once more with a repository of that.
            Exchange::Format(theirs) if format.is_none() => format = Some(theirs),
            Exchange::Format(theirs) => {
                return Err(FetchError::Protocol {
                    reason: format!("it changes its object format to {theirs}"),
                });
            }
        }
    }
}

enum Exchange {
    Done(Fetched),
    Format(gix::hash::Kind),
}

fn exchange(
    task: &Task,
    repository: &gix::Repository,
    url: &gix::Url,
    (login, setup): (&Login, &Arc<Setup>),
    room: u64,
    stop: &Arc<AtomicBool>,
) -> Result<Exchange, FetchError> {
    let meter = Meter::new(room, stop);
    let witness = Witness {
        ssh_log: (url.scheme == Scheme::Ssh).then_some(&task.ssh_log),
        timeout: task.source.timeout,
        repository: &task.repository,
    };
    let failed = |error: gix::Error| explain(&error, &witness);
    let specification = format!("+{}:{BRANCH}", task.source.reference);
    let remote = repository
        .remote_at(url.clone())
        .and_then(|remote| {
            remote.with_fetch_tags(Tags::None).with_refspecs([specification.as_str()], Direction::Fetch)
        })
        .map_err(failed)?;
    let mut connection = remote.connect(Direction::Fetch).map_err(failed)?;
    // Whatever must be said is said with the first request: asking again would be another round trip.
    connection.set_credentials(|_| Ok(None));
    if let Login::Basic(user, password) = login
        && url.scheme == Scheme::Https
    {
        let account = gix::sec::identity::Account {
            username: user.clone(),
            password: password.clone(),
            oauth_refresh_token: None,
        };
        let refused = |error| explain(&gix::Error::from_error(error), &witness);
        connection.transport_mut().set_identity(account).map_err(refused)?;
    }
    let address = url.to_bstring();
    if let Some(mut options) = repository.transport_options(address.as_bstr(), None).map_err(failed)? {
        if let Some(options) = options.downcast_mut::<transport::Options>() {
            setup.configure(options);
        }
        connection.set_transport_options(options);
    }
    let prepared = connection.prepare_fetch(Discard, Default::default()).map_err(failed)?;
    let theirs = prepared.ref_map().object_hash;
    if theirs != repository.object_hash() {
        return Ok(Exchange::Format(theirs));
    }
    let tip = tip(&prepared.ref_map().remote_refs, &task.source.reference)?;
    if spool::branch(repository) == Some(tip) {
        return Ok(Exchange::Done(Fetched { tip, received: 0 }));
    }
    let outcome = prepared.receive(meter.clone(), stop);
    if meter.is_over() {
        return Err(FetchError::TooMuch { what: "bytes in the spool", limit: task.limits.spool_bytes });
    }
    let outcome = outcome.map_err(failed)?;
    if let Status::Change { write_pack_bundle, .. } = &outcome.status {
        keep(task, write_pack_bundle)?;
    }
    Ok(Exchange::Done(Fetched { tip, received: meter.received() }))
}

/// Syncs a received pack, or removes it when it has too many objects.
fn keep(task: &Task, bundle: &gix::odb::pack::bundle::write::Outcome) -> Result<(), FetchError> {
    let failed = spool::failed(&task.repository);
    let limit = task.limits.objects;
    for path in [&bundle.data_path, &bundle.index_path].into_iter().flatten() {
        if bundle.index.num_objects > limit {
            std::fs::remove_file(path).map_err(&failed)?;
        } else {
            std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(&failed)?;
        }
    }
    if bundle.index.num_objects > limit {
        return Err(FetchError::TooMuch { what: "objects", limit: limit.into() });
    }
    Ok(())
}

/// Where the branch is. A listing without it is an answer, too: that the branch is gone.
fn tip(listing: &[gix::protocol::handshake::Ref], reference: &str) -> Result<ObjectId, FetchError> {
    let wanted: &BStr = reference.into();
    listing
        .iter()
        .find_map(|listed| {
            let (name, target, peeled) = listed.unpack();
            (name == wanted).then(|| peeled.or(target).map(ToOwned::to_owned)).flatten()
        })
        .ok_or_else(|| FetchError::NoBranch { reference: reference.to_owned() })
}

/// The command for ssh: this key and this list of hosts, nothing of the user's or the system's configuration, never a question.
fn ssh_command(task: &Task) -> Result<String, FetchError> {
    let seconds = task.source.timeout.seconds.max(1);
    let mut words: Vec<String> = ["ssh", "-F", "/dev/null", "-T", "-E"].map(String::from).to_vec();
    words.push(quoted(&task.ssh_log));
    let mut option = |text: String| words.extend(["-o".to_owned(), text]);
    for text in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        "ControlMaster=no",
        "ControlPath=none",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
    ] {
        option(text.to_owned());
    }
    option(format!("ConnectTimeout={seconds}"));
    option(format!("ServerAliveInterval={seconds}"));
    option("ServerAliveCountMax=2".into());
    match &task.source.known_hosts {
        Some(file) => {
            readable("`known-hosts`", file)?;
            option(quoted_option("UserKnownHostsFile", file));
            option("GlobalKnownHostsFile=/dev/null".into());
        }
        None => option("UserKnownHostsFile=/dev/null".into()),
    }
    if let Some(key) = &task.source.ssh_key {
        let path = match key.strip_prefix("credential:") {
            Some(name) => http::credential_path(task, name)?,
            None => key.into(),
        };
        readable("`ssh-key`", &path)?;
        option(quoted_option("IdentityFile", &path));
    }
    Ok(words.join(" "))
}

fn readable(what: &str, path: &Path) -> Result<(), FetchError> {
    std::fs::File::open(path).map(drop).map_err(|error| FetchError::Credential {
        what: format!("{what} {}", path.display()),
        reason: error.to_string(),
    })
}

/// The library splits the command as a shell would.
fn quoted(path: &Path) -> String {
    gix::quote::single(path.as_os_str().as_encoded_bytes().as_bstr()).to_string()
}

/// ssh itself splits values at spaces unless they are in double quotes.
fn quoted_option(name: &str, path: &Path) -> String {
    let value = format!("{name}=\"{}\"", path.display());
    gix::quote::single(value.as_bytes().as_bstr()).to_string()
}
