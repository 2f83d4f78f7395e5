//! A remote behind a network: handshake, listing of a few refs, and a pack if the branch moved.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::bstr::ByteSlice;
use gix::progress::Discard;
use gix::protocol::transport::client::blocking_io::http as transport;
use gix::refs::transaction::PreviousValue;
use gix::remote::Direction;
use gix::remote::fetch::{RefMap, Status, Tags};
use gix::url::Scheme;

use super::bounded::bound;
use super::explain::{Witness, explain};
use super::http::{self, Login, Setup};
use super::listing::{self, Listing};
use super::meter::Meter;
use super::{Branch, Remote, Task, Wanted};
use crate::source::beside::{APPROVALS, heartbeat_ref};
use crate::source::error::FetchError;
use crate::source::pack::{self, PackError, chain};
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
        // An object is what it is, whatever somebody would rather have in its place; and a history is whole.
        "core.useReplaceRefs=false".to_owned(),
        "clone.rejectShallow=true".to_owned(),
        format!("gitoxide.objects.allocLimit={}", task.limits.object_bytes),
    ]
}

/// A remote behind a network.
pub(super) struct Network {
    task: Task,
    url: gix::Url,
    room: u64,
    stop: Arc<AtomicBool>,
    options: gix::open::Options,
    login: Login,
    setup: Arc<Setup>,
}

/// How many bytes may come, and what is said when it is more.
struct Allowance {
    bytes: u64,
    over: FetchError,
}

/// What a connection shows before anything is received.
enum Look {
    Receive,
    Enough,
}

impl Network {
    pub(super) fn new(
        task: &Task,
        url: &gix::Url,
        room: u64,
        stop: &Arc<AtomicBool>,
    ) -> Result<Network, FetchError> {
        let mut options = open_options(task);
        if url.scheme == Scheme::Ssh {
            // ssh appends: what is there is of an earlier poll.
            std::fs::write(&task.ssh_log, b"").map_err(spool::failed(&task.ssh_log))?;
            let ssh = ["ssh.variant=ssh".to_owned(), format!("core.sshCommand={}", ssh_command(task)?)];
            options = options.config_overrides(configuration(task).into_iter().chain(ssh));
        }
        let login = http::login(task)?;
        let setup = Arc::new(Setup::read(task, &login)?);
        Ok(Network {
            task: task.clone(),
            url: url.clone(),
            room,
            stop: Arc::clone(stop),
            options,
            login,
            setup,
        })
    }

    /// Brings the branch through one connection. `Err` in the answer: the remote has the other object format.
    fn move_branch(
        &self,
        repository: &gix::Repository,
        asked: Option<Listing>,
    ) -> Result<Result<Branch, gix::hash::Kind>, FetchError> {
        let reference = &self.task.source.reference;
        let (ours, mut theirs) = (repository.object_hash(), repository.object_hash());
        let mut found = None;
        let limit = self.task.limits.spool_bytes;
        let over = FetchError::TooMuch { what: "bytes in the spool", limit };
        let specifications = match asked {
            Some(_) => vec![reference.clone()],
            None => everything(reference),
        };
        let received =
            self.receive(repository, &specifications, Allowance { bytes: self.room, over }, &mut |map| {
                theirs = map.object_hash;
                if theirs != ours {
                    return Ok(Look::Enough);
                }
                let listing = chosen(&map.remote_refs, reference)?;
                let moved = spool::branch(repository) != Some(listing.tip);
                found = Some(listing);
                Ok(if moved { Look::Receive } else { Look::Enough })
            })?;
        let Some(found) = found else { return Ok(Err(theirs)) };
        if !repository.has_object(found.tip) {
            return Err(FetchError::Protocol { reason: format!("it did not send commit {}", found.tip) });
        }
        repository.reference(BRANCH, found.tip, PreviousValue::Any, "poll").map_err(|error| {
            FetchError::Spool { path: self.task.repository.clone(), reason: chain(&error) }
        })?;
        let listing = match asked {
            Some(asked) => Listing { tip: found.tip, ..asked },
            None => found,
        };
        Ok(Ok(Branch { received, listing }))
    }

    /// Connects, shows the listing to `look`, and receives what the specifications name. Writes no refs.
    fn receive(
        &self,
        repository: &gix::Repository,
        specifications: &[String],
        allowance: Allowance,
        look: &mut dyn FnMut(&RefMap) -> Result<Look, FetchError>,
    ) -> Result<u64, FetchError> {
        let (task, url) = (&self.task, &self.url);
        let meter = Meter::new(allowance.bytes, &self.stop);
        let witness = Witness {
            ssh_log: (url.scheme == Scheme::Ssh).then_some(&task.ssh_log),
            timeout: task.source.timeout,
            repository: &task.repository,
        };
        let failed = |error: gix::Error| explain(&error, &witness);
        let remote = repository
            .remote_at(url.clone())
            .and_then(|remote| {
                let specifications = specifications.iter().map(String::as_str);
                remote.with_fetch_tags(Tags::None).with_refspecs(specifications, Direction::Fetch)
            })
            .map_err(failed)?;
        let mut connection = remote.connect(Direction::Fetch).map_err(failed)?;
        bound(connection.transport_mut());
        // Whatever must be said is said with the first request: asking again would be another round trip.
        connection.set_credentials(|_| Ok(None));
        if let Login::Basic(user, password) = &self.login
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
                self.setup.configure(options);
            }
            connection.set_transport_options(options);
        }
        let prepared = connection.prepare_fetch(Discard, Default::default()).map_err(failed)?;
        if let Look::Enough = look(prepared.ref_map())? {
            return Ok(0);
        }
        let outcome = prepared.receive(meter.clone(), &self.stop);
        if meter.is_over() {
            // What comes after may still be received.
            self.stop.store(false, Ordering::Relaxed);
            return Err(allowance.over);
        }
        let outcome = outcome.map_err(failed)?;
        if let Status::Change { write_pack_bundle, .. } = &outcome.status {
            keep(task, write_pack_bundle)?;
        }
        Ok(meter.received())
    }
}

impl Remote for Network {
    fn branch(&mut self) -> Result<Branch, FetchError> {
        let mut format = None;
        loop {
            let repository = spool::open_repository(&self.task.repository, format, &self.options)?;
            let hash = repository.object_hash();
            let asked = listing::ask(&self.task, &self.url, &self.login, &self.setup, hash)?;
            if let Some(listing) =
                asked.as_ref().filter(|asked| spool::branch(&repository) == Some(asked.tip))
            {
                return Ok(Branch { received: 0, listing: listing.clone() });
            }
            match self.move_branch(&repository, asked)? {
                Ok(branch) => return Ok(branch),
                // The remote has the other object format: once more with a repository of that.
                Err(theirs) if format.is_none() => format = Some(theirs),
                Err(theirs) => {
                    return Err(FetchError::Protocol {
                        reason: format!("it changes its object format to {theirs}"),
                    });
                }
            }
        }
    }

    fn bring(&mut self, wanted: &[Wanted], limit: u64) -> Result<u64, FetchError> {
        let Some(kind) = wanted.first().map(|wanted| wanted.id.kind()) else { return Ok(0) };
        let repository = spool::open_repository(&self.task.repository, Some(kind), &self.options)?;
        let names: Vec<String> = wanted.iter().map(|wanted| wanted.name.clone()).collect();
        let over = FetchError::TooMuch { what: "bytes beside the branch", limit };
        self.receive(&repository, &names, Allowance { bytes: limit, over }, &mut |map| {
            if map.object_hash == kind {
                return Ok(Look::Receive);
            }
            Err(FetchError::Protocol {
                reason: format!("it changes its object format to {}", map.object_hash),
            })
        })
    }
}

/// What to ask a connection for that listed nothing yet: the branch is received, what lies beside it is listed. A refspec and its own negation
/// ask for a prefix and receive nothing.
fn everything(reference: &str) -> Vec<String> {
    let heartbeat = heartbeat_ref(reference);
    let mut specifications = vec![reference.to_owned()];
    // A branch that has the place of its own heartbeat has none.
    if heartbeat != reference {
        specifications.extend([heartbeat.clone(), format!("^{heartbeat}")]);
    }
    // A pattern must go somewhere, even if nothing does.
    specifications.extend([format!("{APPROVALS}*:refs/abide/nowhere/*"), format!("^{APPROVALS}*")]);
    specifications
}

/// What the listing of a connection has. Without the branch it is an answer, too: that the branch is gone.
fn chosen(listed: &[gix::protocol::handshake::Ref], reference: &str) -> Result<Listing, FetchError> {
    let refs = listed.iter().filter_map(|listed| {
        let (name, target, peeled) = listed.unpack();
        Some((name.to_str().ok()?, target?.to_owned(), peeled.map(ToOwned::to_owned)))
    });
    Listing::choose(refs, reference).ok_or_else(|| FetchError::NoBranch { reference: reference.to_owned() })
}

/// Syncs a received pack, or removes it when the root process would not take it: then the next poll asks for another.
fn keep(task: &Task, bundle: &gix::odb::pack::bundle::write::Outcome) -> Result<(), FetchError> {
    let failed = spool::failed(&task.repository);
    if let Some(path) = &bundle.keep_path {
        std::fs::remove_file(path).map_err(&failed)?;
    }
    let (Some(pack), Some(index)) = (&bundle.data_path, &bundle.index_path) else { return Ok(()) };
    let file = File::open(pack).map_err(&failed)?;
    let looked = pack::inspect(&mut BufReader::new(file), bundle.object_hash, &task.limits);
    if let Err(error) = looked {
        std::fs::remove_file(index).and_then(|()| std::fs::remove_file(pack)).map_err(&failed)?;
        return Err(match error {
            PackError::TooMuch { what, limit } => FetchError::TooMuch { what, limit },
            PackError::Damaged(reason) => FetchError::Protocol { reason },
            PackError::Io(error) => failed(error),
        });
    }
    for path in [pack, index] {
        File::open(path).and_then(|file| file.sync_all()).map_err(&failed)?;
    }
    Ok(())
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
