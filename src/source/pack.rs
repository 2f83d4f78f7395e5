//! Packs: write one, look into one before it is believed, index one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::hash::{Hasher, Kind as HashKind};
use gix::objs::{Exists, Find};
use gix::odb::pack::data::{self, entry::Header, input};
use gix::zlib::{Compression, Decompress, FlushDecompress};

use crate::config::Limits;
use crate::failpoint::reach;

/// All objects of a pack together may inflate to so many times the limit of the spool. A delta of a few bytes can stand for a
/// whole object, so that a small pack can otherwise keep a processor busy for days.
const INFLATION: u64 = 16;

/// Why a pack is not taken.
#[derive(Debug)]
pub enum PackError {
    /// More of something than allowed.
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// Not a sound pack.
    Damaged(String),
    /// The disk failed.
    Io(io::Error),
}

impl From<io::Error> for PackError {
    fn from(error: io::Error) -> PackError {
        PackError::Io(error)
    }
}

/// Reads a pack from end to end and proves that indexing it stays within the limits: number and size of objects, depth of deltas, and the
/// size of everything inflated. Checks its checksum, not its objects' names. Returns the number of objects.
///
/// # Errors
/// See [`PackError`].
pub fn inspect(pack: &mut dyn BufRead, hash: HashKind, limits: &Limits) -> Result<u32, PackError> {
    let damaged = |error: gix::Error| PackError::Damaged(chain(&error));
    // Checked before the iterator is made: others size their tables by this number.
    let start = pack.fill_buf()?;
    let nothing_more = start.len() == 12 + hash.len_in_bytes();
    let header: [u8; 12] = start
        .get(..12)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| PackError::Damaged("it ends in its header".into()))?;
    let (_, count) = data::header::decode(&header).map_err(damaged)?;
    if count > limits.objects {
        return Err(PackError::TooMuch { what: "objects", limit: limits.objects.into() });
    }
    // Of an empty pack the iterator looks at nothing but the header.
    if count == 0 && !nothing_more {
        return Err(PackError::Damaged("there is something in it, although it says that it is empty".into()));
    }
    let entries = input::BytesToEntriesIter::new_from_header(
        &mut *pack,
        input::Mode::Verify,
        input::EntryDataMode::Keep,
        hash,
    )
    .map_err(damaged)?;
    let mut seen = Seen { limits, depths: std::collections::HashMap::new(), by_name: 0, inflated: 0 };
    for entry in entries {
        seen.entry(&entry.map_err(damaged)?)?;
    }
    if !pack.fill_buf()?.is_empty() {
        return Err(PackError::Damaged("something follows after its end".into()));
    }
    Ok(count)
}

struct Seen<'a> {
    limits: &'a Limits,
    /// Depth of the delta at an offset; base objects are left out.
    depths: std::collections::HashMap<u64, u32>,
    /// Deltas against names; each can be one more link of some chain.
    by_name: u32,
    inflated: u64,
}

impl Seen<'_> {
    fn entry(&mut self, entry: &input::Entry) -> Result<(), PackError> {
        let size = match entry.header {
            Header::OfsDelta { base_distance } => {
                let base = entry.pack_offset.checked_sub(base_distance);
                let depth = 1 + base.and_then(|base| self.depths.get(&base)).copied().unwrap_or(0);
                self.deeper(depth + self.by_name)?;
                self.depths.insert(entry.pack_offset, depth);
                delta_result_size(entry.compressed.as_deref().unwrap_or_default())?
            }
            Header::RefDelta { .. } => {
                self.by_name += 1;
                self.deeper(self.by_name)?;
                self.depths.insert(entry.pack_offset, 1);
                delta_result_size(entry.compressed.as_deref().unwrap_or_default())?
            }
            Header::Commit | Header::Tree | Header::Blob | Header::Tag => entry.decompressed_size,
        };
        if size.max(entry.decompressed_size) > self.limits.object_bytes {
            return Err(PackError::TooMuch { what: "bytes in one object", limit: self.limits.object_bytes });
        }
        self.inflated = self.inflated.saturating_add(size);
        let limit = self.limits.spool_bytes.saturating_mul(INFLATION);
        if self.inflated > limit {
            return Err(PackError::TooMuch { what: "bytes of inflated objects", limit });
        }
        Ok(())
    }

    fn deeper(&self, depth: u32) -> Result<(), PackError> {
        // A u16 counts the links where they are resolved.
        let limit = self.limits.delta_depth.min(u32::from(u16::MAX) - 1);
        if depth > limit {
            return Err(PackError::TooMuch { what: "links in a chain of deltas", limit: limit.into() });
        }
        Ok(())
    }
}

/// A delta starts with two numbers in base 128, low digits first: the size of its base, and of its result (`Documentation/gitformat-pack`).
fn delta_result_size(compressed: &[u8]) -> Result<u64, PackError> {
    let mut start = [0_u8; 20];
    let mut inflate = Decompress::new();
    inflate
        .decompress(compressed, &mut start, FlushDecompress::None)
        .map_err(|error| PackError::Damaged(chain(&error)))?;
    let length = usize::try_from(inflate.total_out()).unwrap_or(0).min(start.len());
    let mut bytes = start[..length].iter();
    let mut number = || {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes.next()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    number().and_then(|_base| number()).ok_or_else(|| PackError::Damaged("a delta has no sizes".into()))
}

/// Indexes a pack into `directory`: computes the name of every object from its content, completes a thin pack with `bases`, and
/// syncs both files. Returns the path of the pack, or none if it was empty.
pub(super) fn index(
    pack: &Path,
    directory: &Path,
    bases: impl Find,
    hash: HashKind,
    object_bytes: u64,
) -> Result<Option<PathBuf>, PackError> {
    let mut reader = BufReader::with_capacity(64 << 10, File::open(pack)?);
    let options = gix::odb::pack::bundle::write::Options {
        thread_limit: Some(1),
        alloc_limit_bytes: usize::try_from(object_bytes).ok(),
        ..Default::default()
    };
    let outcome = gix::odb::pack::Bundle::write_to_directory(
        &mut reader,
        Some(directory),
        &mut gix::progress::Discard,
        &AtomicBool::new(false),
        Some(bases),
        hash,
        options,
    )
    .map_err(|error| PackError::Damaged(chain(&error)))?;
    reach("store: pack indexed");
    if let Some(keep) = outcome.keep_path {
        std::fs::remove_file(keep)?;
    }
    if let (Some(index), Some(pack)) = (&outcome.index_path, &outcome.data_path) {
        File::open(pack)?.sync_all()?;
        File::open(index)?.sync_all()?;
        File::open(directory)?.sync_all()?;
    }
    reach("store: pack on disk");
    Ok(outcome.data_path)
}

/// Writes the named objects as a pack of whole objects, in this order, into an empty file. Returns its size in bytes.
pub(super) fn write(
    objects: &impl Find,
    names: &[ObjectId],
    hash: HashKind,
    limit: u64,
    file: &File,
) -> Result<u64, PackError> {
    let count = u32::try_from(names.len())
        .map_err(|_| PackError::TooMuch { what: "objects", limit: u32::MAX.into() })?;
    let mut out = Hashing { inner: BufWriter::new(file), hasher: gix::hash::hasher(hash), written: 0 };
    out.write_all(&data::header::encode(data::Version::V2, count))?;
    let mut buffer = Vec::new();
    for name in names {
        let object = objects
            .try_find(name, &mut buffer)
            .map_err(|error| PackError::Damaged(chain(&error)))?
            .ok_or_else(|| PackError::Damaged(format!("object {name} is missing")))?;
        let header = match object.kind {
            gix::objs::Kind::Commit => Header::Commit,
            gix::objs::Kind::Tree => Header::Tree,
            gix::objs::Kind::Blob => Header::Blob,
            gix::objs::Kind::Tag => Header::Tag,
        };
        header.write_to(object.data.len() as u64, &mut out)?;
        let mut deflate = gix::zlib::stream::deflate::Write::new(&mut out, Compression::DEFAULT);
        deflate.write_all(object.data)?;
        deflate.flush()?;
        if out.written > limit {
            return Err(PackError::TooMuch { what: "bytes", limit });
        }
    }
    let Hashing { mut inner, hasher, written } = out;
    let checksum = hasher.try_finalize().map_err(|error| PackError::Damaged(chain(&error)))?;
    inner.write_all(checksum.as_slice())?;
    inner.flush()?;
    Ok(written + checksum.as_slice().len() as u64)
}

/// Replaces every pack in `directory` by one with just the named objects, and returns its path. The old packs go only once the new one is
/// whole on disk, so that an interruption leaves everything readable.
pub(super) fn replace_all(
    objects: &(impl Find + Exists),
    names: &[ObjectId],
    hash: HashKind,
    directory: &Path,
    limits: &Limits,
) -> Result<Option<PathBuf>, PackError> {
    let temporary = tempfile::Builder::new().prefix(".compact-").tempfile_in(directory)?;
    write(objects, names, hash, limits.spool_bytes, temporary.as_file())?;
    // The index is made by reading what was written, which proves it, too.
    let pack = index(temporary.path(), directory, gix::objs::find::Never, hash, limits.object_bytes)?;
    for old in list(directory)? {
        if Some(&old) != pack.as_ref() {
            reach("store: before an old pack is removed");
            std::fs::remove_file(old.with_extension("idx"))?;
            reach("store: old index removed");
            std::fs::remove_file(&old)?;
        }
    }
    File::open(directory)?.sync_all()?;
    Ok(pack)
}

/// The packs in a folder that have an index, in the order of their names.
pub(super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut packs = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pack")
            && path.with_extension("idx").exists()
        {
            packs.push(path);
        }
    }
    packs.sort();
    Ok(packs)
}

/// Number and bytes of the packs in a folder.
pub(super) fn weigh(directory: &Path) -> io::Result<(usize, u64)> {
    let packs = list(directory)?;
    let mut bytes = 0;
    for pack in &packs {
        bytes += std::fs::metadata(pack)?.len();
    }
    Ok((packs.len(), bytes))
}

/// An error with all its causes on one line, each once, safe to print.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        cause = error.source();
    }
    crate::error::escaped(&parts.join(": "))
}

struct Hashing<W> {
    inner: W,
    hasher: Hasher,
    written: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
