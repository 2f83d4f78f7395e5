//! rpm's database: its SQLite file, read directly, through the indexes that rpm keeps in it.

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use super::{PackageError, compare_rpm};

/// Where distributions keep it: RHEL 9 and Debian's rpm, then Fedora and later RHEL.
const PLACES: [&str; 2] = ["/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite"];

// Tags and types of rpm's header format (rpmtag.h).
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCHITECTURE: u32 = 1022;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) name: String,
    /// `[epoch:]version-release`, without an epoch of 0.
    pub(super) version: String,
    pub(super) architecture: String,
}

/// The database, opened to read.
pub(super) struct RpmDatabase {
    path: PathBuf,
    connection: Connection,
}

impl RpmDatabase {
    /// Where the database is; `None` on a host without one.
    pub(super) fn find() -> Option<PathBuf> {
        PLACES.into_iter().map(PathBuf::from).find(|path| path.is_file())
    }

    pub(super) fn open(path: &Path) -> Result<RpmDatabase, PackageError> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |uri: &str| -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(uri, flags)?;
            connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
            Ok(connection)
        };
        let plain = path.display().to_string();
        // Where the folder may not be written, SQLite cannot make its index of the write-ahead log; without such a log
        // there is nothing to index.
        let quiet = !path.with_extension("sqlite-wal").metadata().is_ok_and(|log| log.len() > 0);
        let connection = open(&format!("file:{plain}"))
            .or_else(|error| if quiet { open(&format!("file:{plain}?immutable=1")) } else { Err(error) });
        let connection = connection
            .map_err(|error| PackageError::Database { path: path.to_owned(), reason: error.to_string() })?;
        Ok(RpmDatabase { path: path.to_owned(), connection })
    }

    /// Every installed package of this name, newest first.
    pub(super) fn named(&self, name: &str) -> Result<Vec<Installed>, PackageError> {
        let mut found = self.indexed("SELECT DISTINCT hnum FROM Name WHERE key = ?1", name)?;
        found.sort_by(|left, right| compare_rpm(&right.version, &left.version));
        Ok(found)
    }

    /// Every installed package that provides this name.
    pub(super) fn providing(&self, name: &str) -> Result<Vec<Installed>, PackageError> {
        self.indexed("SELECT DISTINCT hnum FROM Providename WHERE key = ?1", name)
    }

    /// Names of which more than one version is installed for one architecture, though only kernels and keys may be:
    /// an interrupted upgrade leaves such.
    pub(super) fn doubled(&self) -> Result<Vec<String>, PackageError> {
        let mut statement = self
            .connection
            .prepare("SELECT key FROM Name GROUP BY key HAVING count(DISTINCT hnum) > 1 ORDER BY key")
            .map_err(|error| self.failed(&error))?;
        let names: Vec<String> = statement
            .query_map([], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(|error| self.failed(&error))?;
        let install_only = self.providing("installonlypkg(kernel)")?;
        let mut doubled = Vec::new();
        for name in names {
            let copies = self.named(&name)?;
            let same = copies.iter().enumerate().any(|(place, copy)| {
                copies[..place].iter().any(|other| other.architecture == copy.architecture)
            });
            if same
                && name != "gpg-pubkey"
                && !name.starts_with("kernel")
                && !copies.iter().any(|copy| install_only.contains(copy))
            {
                doubled.push(name);
            }
        }
        Ok(doubled)
    }

    fn indexed(&self, query: &str, key: &str) -> Result<Vec<Installed>, PackageError> {
        let numbers: Vec<i64> = {
            let mut statement = self.connection.prepare_cached(query).map_err(|error| self.failed(&error))?;
            statement
                .query_map(params![key], |row| row.get(0))
                .and_then(Iterator::collect)
                .map_err(|error| self.failed(&error))?
        };
        let mut found = Vec::with_capacity(numbers.len());
        for number in numbers {
            let mut statement = self
                .connection
                .prepare_cached("SELECT blob FROM Packages WHERE hnum = ?1")
                .map_err(|error| self.failed(&error))?;
            let package = statement
                .query_row(params![number], |row| Ok(row.get_ref(0)?.as_blob().ok().and_then(header)))
                .optional()
                .map_err(|error| self.failed(&error))?;
            match package {
                Some(Some(package)) => found.push(package),
                Some(None) => return Err(self.broken(format!("header {number} is malformed"))),
                // The index names a package that was removed between two queries.
                None => {}
            }
        }
        Ok(found)
    }

    fn failed(&self, error: &rusqlite::Error) -> PackageError {
        self.broken(error.to_string())
    }

    fn broken(&self, reason: String) -> PackageError {
        PackageError::Database { path: self.path.clone(), reason }
    }
}

/// Reads a header: two big-endian counts, an index of 16-byte entries (tag, type, offset, count), and the data they point into.
fn header(blob: &[u8]) -> Option<Installed> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(blob.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    let entries = usize::try_from(number(0)?).ok()?;
    let length = usize::try_from(number(4)?).ok()?;
    let data = blob.get(8usize.checked_add(entries.checked_mul(16)?)?..)?.get(..length)?;
    let mut fields: [Option<&[u8]>; 5] = [None; 5];
    for entry in 0..entries {
        let at = 8 + entry * 16;
        let wanted = [NAME, VERSION, RELEASE, EPOCH, ARCHITECTURE];
        if let Some(place) = wanted.iter().position(|tag| number(at) == Some(*tag)) {
            fields[place] = data.get(usize::try_from(number(at + 8)?).ok()?..);
        }
    }
    let text = |bytes: Option<&[u8]>| -> Option<String> {
        let bytes = bytes?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        String::from_utf8(bytes[..end].to_vec()).ok()
    };
    let [name, version, release, epoch, architecture] = fields;
    let epoch =
        epoch.and_then(|bytes| Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))).unwrap_or(0);
    let plain = format!("{}-{}", text(version)?, text(release)?);
    Some(Installed {
        name: text(name)?,
        version: if epoch == 0 { plain } else { format!("{epoch}:{plain}") },
        // Keys have none.
        architecture: text(architecture).unwrap_or_default(),
    })
}

impl Installed {
    /// Whether this is the package that a name with an optional `:architecture` means.
    pub(super) fn is(&self, asked: &str) -> bool {
        match asked.split_once(':') {
            Some((name, architecture)) => self.name == name && self.architecture == architecture,
            None => self.name == asked,
        }
    }
}

/// Orders as rpm does; what cannot be compared is equal.
pub(super) fn newest(versions: &mut [String]) {
    versions.sort_by(|left, right| match compare_rpm(right, left) {
        Ordering::Equal => left.cmp(right),
        order => order,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with these string tags, and an epoch when there is one.
    fn blob(strings: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        let mut entry = |tag: u32, kind: u32, bytes: &[u8]| {
            let offset = u32::try_from(data.len()).unwrap();
            for number in [tag, kind, offset, 1] {
                index.extend(number.to_be_bytes());
            }
            data.extend_from_slice(bytes);
        };
        if let Some(epoch) = epoch {
            entry(EPOCH, 4, &epoch.to_be_bytes());
        }
        for (tag, text) in strings {
            entry(*tag, 6, format!("{text}\0").as_bytes());
        }
        let count = u32::try_from(index.len() / 16).unwrap();
        let length = u32::try_from(data.len()).unwrap();
        [count.to_be_bytes().to_vec(), length.to_be_bytes().to_vec(), index, data].concat()
    }

    const STRINGS: [(u32, &str); 4] =
        [(NAME, "a"), (VERSION, "1.0"), (RELEASE, "2"), (ARCHITECTURE, "noarch")];

    #[test]
    fn a_header_is_read() {
        assert_eq!(header(&blob(&STRINGS, None)).unwrap().version, "1.0-2");
        assert_eq!(header(&blob(&STRINGS, Some(0))).unwrap().version, "1.0-2");
        let package = header(&blob(&STRINGS, Some(3))).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("a", "3:1.0-2"));
        assert!(package.is("a") && package.is("a:noarch") && !package.is("a:x86_64") && !package.is("b"));
    }

    #[test]
    fn a_malformed_header_is_refused() {
        let good = blob(&STRINGS, None);
        for length in 0..good.len() {
            assert_eq!(header(&good[..length]), None, "cut at {length}");
        }
        let mut huge = good;
        huge[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(header(&huge), None);
    }
}
