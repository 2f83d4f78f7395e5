//! Changes to users and groups through the shadow tools.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::Database;
use super::error::AccountError;
use super::{group_elsewhere, read, user_elsewhere};
use crate::failpoint::reach;
use crate::plan::{GroupAction, UserAction};
use crate::system::clock;
use crate::system::exec::{self, Output, Program};
use crate::system::observe::UserState;

/// How long a lock of the account files is waited for. Each tool waits 15 s itself (lckpwdf(3)).
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// Where the account files are.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    prefix: Option<PathBuf>,
}

impl Accounts {
    /// The running host's.
    pub fn of_host() -> Accounts {
        Accounts::default()
    }

    /// Those of a system that is mounted at a folder.
    pub fn below(prefix: &Path) -> Accounts {
        Accounts { prefix: Some(prefix.to_owned()) }
    }

    /// Brings a user to what the action says; nothing happens where it is so already.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn change_user(&self, action: &UserAction) -> Result<(), AccountError> {
        validate_user(action)?;
        let account = format!("user {}", action.name);
        let database = self.database()?;
        let Some(now) = database.users.get(&action.name) else {
            if self.prefix.is_none() && user_elsewhere(&action.name).is_some() {
                return Err(AccountError::Elsewhere { account });
            }
            if action.absent {
                return Ok(());
            }
            self.tool(&account, "useradd", creation(action, &database), Some(&action.name))?;
            return self.change_secrets(action, &account);
        };
        if action.absent {
            let options = if action.remove_home { vec!["--remove".to_owned()] } else { Vec::new() };
            return self.tool(&account, "userdel", options, Some(&action.name));
        }
        let options = modification(action, now);
        if !options.is_empty() {
            self.tool(&account, "usermod", options, Some(&action.name))?;
        }
        self.change_secrets(action, &account)
    }

    /// Brings a group to what the action says; nothing happens where it is so already.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn change_group(&self, action: &GroupAction) -> Result<(), AccountError> {
        validate_name("group name", &action.name)?;
        let account = format!("group {}", action.name);
        let database = self.database()?;
        let now = database.groups.get(&action.name);
        if now.is_none() && self.prefix.is_none() && group_elsewhere(&action.name).is_some() {
            return Err(AccountError::Elsewhere { account });
        }
        let gid = |gid: u32| vec!["--gid".to_owned(), gid.to_string()];
        match (now, action.absent) {
            (None, true) => Ok(()),
            (Some(_), true) => self.tool(&account, "groupdel", Vec::new(), Some(&action.name)),
            (Some(now), false) => match action.gid.filter(|wanted| *wanted != now.gid) {
                Some(wanted) => self.tool(&account, "groupmod", gid(wanted), Some(&action.name)),
                None => Ok(()),
            },
            (None, false) => {
                let mut options = action.gid.map(gid).unwrap_or_default();
                options.extend(action.system.then(|| "--system".to_owned()));
                self.tool(&account, "groupadd", options, Some(&action.name))
            }
        }
    }

    fn database(&self) -> Result<Database, AccountError> {
        match &self.prefix {
            Some(prefix) => read(&prefix.join("etc")),
            None => read(Path::new("/etc")),
        }
    }

    /// Password and lock, which go over standard input: arguments are visible to every user of the host.
    fn change_secrets(&self, action: &UserAction, account: &str) -> Result<(), AccountError> {
        let database = self.database()?;
        let Some(now) = database.users.get(&action.name) else { return Ok(()) };
        let password = action.password.as_deref().unwrap_or(&now.password);
        // The `!` of an account without any hash, as `useradd` makes it, is nobody's lock: its first hash opens it.
        let bare = now.locked && now.password.is_empty() && action.password.is_some();
        let locked = action.locked.unwrap_or(now.locked && !bare);
        if (password, locked) == (now.password.as_str(), now.locked) {
            return Ok(());
        }
        if password.is_empty() && !locked {
            // Unlocking what has no hash would let everybody in.
            return Err(AccountError::Malformed {
                field: "locked",
                value: "false".into(),
                reason: "the user has no password to unlock",
            });
        }
        let lock = if locked { "!" } else { "" };
        let line = format!("{}:{lock}{password}\n", action.name);
        let mut program = Program::new(["chpasswd", "--encrypted"]);
        // chpasswd has no --prefix everywhere; --root is the older form of the same.
        program
            .argv
            .extend(self.prefix.iter().flat_map(|prefix| ["--root".into(), prefix.display().to_string()]));
        program.stdin = line.into_bytes();
        self.run(account, program)
    }

    fn tool(
        &self,
        account: &str,
        tool: &str,
        options: Vec<String>,
        name: Option<&str>,
    ) -> Result<(), AccountError> {
        let mut program = Program::new([tool]);
        program
            .argv
            .extend(self.prefix.iter().flat_map(|prefix| ["--prefix".into(), prefix.display().to_string()]));
        program.argv.extend(options);
        program.argv.extend(name.iter().flat_map(|name| ["--".to_owned(), (*name).to_owned()]));
        self.run(account, program)
    }

    fn run(&self, account: &str, mut program: Program) -> Result<(), AccountError> {
        program.timeout = Duration::from_secs(120);
        let deadline = clock::instant() + LOCK_PATIENCE;
        loop {
            reach("account: before a tool");
            let output = exec::run(&program)
                .map_err(|source| AccountError::NoTool { account: account.to_owned(), source })?;
            reach("account: tool ended");
            if output.success() {
                return Ok(());
            }
            if !lock_failure(&output) {
                return Err(AccountError::Tool {
                    program: program.argv.first().cloned().unwrap_or_default(),
                    account: account.to_owned(),
                    message: output.complaint(),
                });
            }
            if clock::left(deadline).is_zero() {
                return Err(AccountError::Locked {
                    account: account.to_owned(),
                    seconds: LOCK_PATIENCE.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Every tool of the suite says so in these words: `cannot lock /etc/passwd; try again later.`
fn lock_failure(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stderr);
    text.contains("cannot lock") && text.contains("try again later")
}

fn creation(action: &UserAction, database: &Database) -> Vec<String> {
    let mut options = Vec::new();
    let mut option = |name: &str, value: String| options.extend([name.to_owned(), value]);
    if let Some(uid) = action.uid {
        option("--uid", uid.to_string());
    }
    match &action.group {
        Some(group) => option("--gid", group.clone()),
        // Without this the tool refuses: it would make a group of the same name.
        None if database.groups.contains_key(&action.name) => option("--gid", action.name.clone()),
        None => {}
    }
    if let Some(groups) = action.groups.as_ref().filter(|groups| !groups.is_empty()) {
        option("--groups", groups.join(","));
    }
    if let Some(home) = &action.home {
        option("--home-dir", home.display().to_string());
    }
    if let Some(shell) = &action.shell {
        option("--shell", shell.display().to_string());
    }
    if let Some(comment) = &action.comment {
        option("--comment", comment.clone());
    }
    if let Some(expires) = action.expires.as_ref().filter(|expires| !expires.is_empty()) {
        option("--expiredate", expires.clone());
    }
    options.push(if action.create_home { "--create-home" } else { "--no-create-home" }.to_owned());
    options.extend(action.system.then(|| "--system".to_owned()));
    options
}

fn modification(action: &UserAction, now: &UserState) -> Vec<String> {
    let mut options = Vec::new();
    let mut option = |name: &str, value: String| options.extend([name.to_owned(), value]);
    if let Some(uid) = action.uid.filter(|uid| *uid != now.uid) {
        option("--uid", uid.to_string());
    }
    if let Some(group) =
        action.group.as_ref().filter(|group| **group != now.group && **group != now.gid.to_string())
    {
        option("--gid", group.clone());
    }
    if let Some(groups) = &action.groups {
        let mut sorted = groups.clone();
        sorted.sort();
        sorted.dedup();
        if sorted != now.groups {
            option("--groups", sorted.join(","));
        }
    }
    if let Some(home) = action.home.as_ref().filter(|home| **home != now.home) {
        option("--home", home.display().to_string());
    }
    if let Some(shell) = action.shell.as_ref().filter(|shell| **shell != now.shell) {
        option("--shell", shell.display().to_string());
    }
    if let Some(comment) = action.comment.as_ref().filter(|comment| **comment != now.comment) {
        option("--comment", comment.clone());
    }
    if let Some(expires) = action.expires.as_ref().filter(|expires| **expires != now.expires) {
        option("--expiredate", expires.clone());
    }
    options
}

fn validate_user(action: &UserAction) -> Result<(), AccountError> {
    validate_name("user name", &action.name)?;
    for group in action.group.iter().chain(action.groups.iter().flatten()) {
        validate_name("group name", group)?;
    }
    let home = action.home.as_deref().map(|path| path.to_string_lossy().into_owned());
    let shell = action.shell.as_deref().map(|path| path.to_string_lossy().into_owned());
    for (field, value) in [
        ("comment", action.comment.as_deref()),
        ("home directory", home.as_deref()),
        ("shell", shell.as_deref()),
        ("expiry date", action.expires.as_deref()),
    ] {
        validate_field(field, value.unwrap_or_default(), value.unwrap_or_default())?;
    }
    for (field, path) in [("home directory", &home), ("shell", &shell)] {
        if let Some(path) = path.as_ref().filter(|path| !path.starts_with('/')) {
            let reason = "it must be an absolute path";
            return Err(AccountError::Malformed { field, value: path.clone(), reason });
        }
    }
    match action.password.as_deref() {
        Some(password) if password.is_empty() || password.starts_with('!') => Err(AccountError::Malformed {
            field: "password",
            value: "…".into(),
            reason: "it must be a hash as in /etc/shadow; a lock is set by `locked`",
        }),
        password => validate_field("password", password.unwrap_or_default(), "…"),
    }
}

/// The grammar of useradd(8), with the capitals and dots that distributions allow.
fn validate_name(field: &'static str, name: &str) -> Result<(), AccountError> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let body = name.strip_suffix('$').unwrap_or(name);
    let rest = body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if first && rest && name.len() <= 32 {
        return Ok(());
    }
    let reason = "only letters, digits, `_`, `-`, `.`, at most 32 of them, not starting with `-` or `.`";
    Err(AccountError::Malformed { field, value: name.to_owned(), reason })
}

fn validate_field(field: &'static str, value: &str, shown: &str) -> Result<(), AccountError> {
    if value.contains(':') || value.chars().any(char::is_control) {
        let reason = "colons and control characters would break the account files";
        return Err(AccountError::Malformed { field, value: shown.to_owned(), reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
