//! Where a remote is.

use std::path::PathBuf;

use gix::bstr::ByteSlice;
use gix::url::Scheme;

use crate::config::Source;
use crate::source::error::FetchError;

/// A URL that can be polled.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Address {
    /// A repository on a medium of this host, opened directly.
    Local(PathBuf),
    /// Anything with a network between.
    Remote(gix::Url),
}

impl Address {
    /// Reads a URL, completes it from the settings, and refuses what would send a secret in the clear.
    pub(super) fn parse(text: &str, source: &Source) -> Result<Address, FetchError> {
        let wrong = |reason: &str| FetchError::Url { reason: reason.to_owned() };
        let mut url =
            gix::url::parse(text.as_bytes().as_bstr()).map_err(|_| wrong("it cannot be understood"))?;
        let secret = url.password().is_some() || source.token_credential.is_some();
        match url.scheme {
            Scheme::File => {
                let path = PathBuf::from(url.path.to_str().map_err(|_| wrong("its path is not UTF-8"))?);
                if !path.is_absolute() {
                    return Err(wrong("the path of a repository must be absolute"));
                }
                return Ok(Address::Local(path));
            }
            Scheme::Http if secret => return Err(FetchError::Unencrypted),
            Scheme::Git if url.password().is_some() => return Err(FetchError::Unencrypted),
            Scheme::Http | Scheme::Https | Scheme::Git => {}
            Scheme::Ssh => {
                if url.user().is_none() {
                    url.set_user(source.user.clone());
                }
            }
            _ => return Err(wrong("abide has no such transport")),
        }
        if url.host().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        // What begins with a dash would be an option for ssh.
        if [url.host(), url.user()].into_iter().flatten().any(|part| part.starts_with('-')) {
            return Err(wrong("its host or user begins with a dash"));
        }
        Ok(Address::Remote(url))
    }
}

/// The URL as it may be shown: without a password, and without a user where that may be a token.
pub(super) fn shown(text: &str) -> String {
    let Ok(mut url) = gix::url::parse(text.as_bytes().as_bstr()) else {
        return "(a URL that cannot be understood)".into();
    };
    if url.scheme == Scheme::File {
        return crate::error::escaped(text);
    }
    url.set_password(None);
    if url.scheme != Scheme::Ssh {
        url.set_user(None);
    }
    crate::error::escaped(&url.to_bstring().to_str_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain;

    fn check(text: &str, token: bool, code: Option<&str>) {
        let token_credential = token.then(|| "token".to_owned());
        let source = Source { token_credential, user: Some("deploy".into()), ..Source::default() };
        let found = Address::parse(text, &source);
        assert_eq!(found.as_ref().err().map(|error| error.code().0), code, "{text}: {found:?}");
    }

    #[test]
    fn urls_are_accepted_or_refused() {
        check("https://example.org/a.git", true, None);
        check("https://alice:secret@example.org/a.git", false, None);
        check("http://example.org/a.git", false, None);
        check("ssh://git@example.org:2222/a.git", true, None);
        check("git://example.org/a.git", false, None);
        check("/srv/a.git", true, None);
        check("file:///srv/a.git", true, None);
        check("http://example.org/a.git", true, Some("E114"));
        check("http://alice:secret@example.org/a.git", false, Some("E114"));
        check("ftp://example.org/a.git", false, Some("E101"));
        check("srv/a.git", false, Some("E101"));
        check("ext::sh -c evil", false, Some("E101"));
        check("", false, Some("E101"));
        check("ssh://-oProxyCommand=evil/a", false, Some("E101"));
        check("ssh://git@-oProxyCommand=evil/a", false, Some("E101"));
        check("ssh://-oProxyCommand=evil@example.org/a", false, Some("E101"));
    }

    #[test]
    fn ssh_gets_its_user_from_the_settings() {
        let source = Source { user: Some("deploy".into()), ..Source::default() };
        for (text, user) in [("ssh://h/a", "deploy"), ("ssh://git@h/a", "git")] {
            let Ok(Address::Remote(url)) = Address::parse(text, &source) else { panic!("{text}") };
            assert_eq!(url.user(), Some(user));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (text, expected) in [
            ("https://alice:secret@example.org/a.git", "https://example.org/a.git"),
            ("https://token@example.org/a.git", "https://example.org/a.git"),
            ("ssh://git@example.org/a.git", "ssh://git@example.org/a.git"),
            ("/srv/a.git", "/srv/a.git"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
