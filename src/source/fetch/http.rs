//! How https is set up: authorities, client certificate, token, proxy, times.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex};

use gix::protocol::transport::client::blocking_io::http;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::Task;
use crate::source::error::FetchError;

/// What a request says about who asks.
#[derive(Clone, PartialEq)]
pub(super) enum Login {
    /// Nothing.
    Nobody,
    /// User and password.
    Basic(String, String),
    /// A token in a header of its own. Redirects are then not followed.
    Bearer(String),
}

/// Reads the token, if one is configured: the password of `user`, or without a user a bearer token.
pub(super) fn login(task: &Task) -> Result<Login, FetchError> {
    let Some(name) = &task.source.token_credential else { return Ok(Login::Nobody) };
    let token = credential(task, name)?;
    let token =
        String::from_utf8(token).map_err(|_| unusable(&format!("credential `{name}`"), "it is not text"))?;
    let token = token.trim().to_owned();
    if token.is_empty() || token.chars().any(char::is_control) {
        return Err(unusable(&format!("credential `{name}`"), "it is empty or has more than one line"));
    }
    Ok(match &task.source.user {
        Some(user) => Login::Basic(user.clone(), token),
        None => Login::Bearer(token),
    })
}

/// What every HTTP client of a poll gets. Files are read once, so that a bad one is reported as what it is.
pub(super) struct Setup {
    authorities: Option<Vec<reqwest::Certificate>>,
    identity: Option<reqwest::Identity>,
    proxy: Option<reqwest::Proxy>,
    bearer: Option<HeaderValue>,
    timeout: std::time::Duration,
}

impl Setup {
    pub(super) fn read(task: &Task, login: &Login) -> Result<Setup, FetchError> {
        // Fails when a provider is there already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let source = &task.source;
        Ok(Setup {
            authorities: source.ca_file.as_deref().map(authorities).transpose()?,
            identity: source.client_certificate.as_deref().map(identity).transpose()?,
            proxy: source.proxy.as_deref().map(proxy).transpose()?,
            bearer: bearer(login)?,
            timeout: source.timeout.duration(),
        })
    }

    /// The header that a bearer token makes.
    pub(super) fn bearer(&self) -> Option<HeaderValue> {
        self.bearer.clone()
    }

    pub(super) fn apply(&self, client: reqwest::blocking::ClientBuilder) -> reqwest::blocking::ClientBuilder {
        // The libraries' own 30 s for a silent connection and 20 s to connect are replaced.
        let mut client = client.timeout(self.timeout).connect_timeout(self.timeout);
        if let Some(authorities) = &self.authorities {
            client = client.tls_certs_only(authorities.clone());
        }
        if let Some(identity) = &self.identity {
            client = client.identity(identity.clone());
        }
        if let Some(proxy) = &self.proxy {
            client = client.proxy(proxy.clone());
        }
        client
    }

    /// Fills in the options of the Git library's transport.
    pub(super) fn configure(self: &Arc<Setup>, options: &mut http::Options) {
        let setup = Arc::clone(self);
        let mut backend = http::reqwest::Options {
            configure_client: Some(Box::new(move |client| Ok(setup.apply(client)))),
            configure_request: None,
        };
        if let Some(bearer) = self.bearer() {
            backend.configure_request = Some(Box::new(move |request| {
                request.headers_mut().insert(AUTHORIZATION, bearer.clone());
                Ok(())
            }));
        }
        let backend: Arc<Mutex<dyn Any + Send + Sync>> = Arc::new(Mutex::new(backend));
        options.backend = Some(backend);
    }
}

/// The content of a systemd credential.
pub(super) fn credential(task: &Task, name: &str) -> Result<Vec<u8>, FetchError> {
    let what = format!("credential `{name}`");
    let path = credential_path(task, name)?;
    std::fs::read(&path).map_err(|error| unusable(&what, &error.to_string()))
}

/// Where a systemd credential lies.
pub(super) fn credential_path(task: &Task, name: &str) -> Result<std::path::PathBuf, FetchError> {
    let what = format!("credential `{name}`");
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(unusable(&what, "that is no name of a credential"));
    }
    match &task.credentials {
        Some(folder) => Ok(folder.join(name)),
        None => Err(unusable(&what, "the unit has no credentials (LoadCredential= in abide-fetch.service)")),
    }
}

fn bearer(login: &Login) -> Result<Option<HeaderValue>, FetchError> {
    let Login::Bearer(token) = login else { return Ok(None) };
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| unusable("the token", "it has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, FetchError> {
    let what = format!("`ca-file` {}", path.display());
    let pem = std::fs::read(path).map_err(|error| unusable(&what, &error.to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(list) if list.is_empty() => Err(unusable(&what, "it holds no PEM certificate")),
        Ok(list) => Ok(list),
        Err(error) => Err(unusable(&what, &error.to_string())),
    }
}

fn identity(path: &Path) -> Result<reqwest::Identity, FetchError> {
    let what = format!("`client-certificate` {}", path.display());
    let pem = std::fs::read(path).map_err(|error| unusable(&what, &error.to_string()))?;
    reqwest::Identity::from_pem(&pem)
        .map_err(|_| unusable(&what, "it needs a certificate and its key, both PEM"))
}

fn proxy(url: &str) -> Result<reqwest::Proxy, FetchError> {
    reqwest::Proxy::all(url).map_err(|_| unusable("`proxy`", "it is no URL of a proxy"))
}

fn unusable(what: &str, reason: &str) -> FetchError {
    FetchError::Credential { what: what.to_owned(), reason: reason.to_owned() }
}
