//! Takes packs out of the spool, which may be hostile.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gix::ObjectId;
use gix::hash::Kind as HashKind;
use serde::{Deserialize, Serialize};

use super::mailbox::{Letter, Spool};
use super::offer::Offer;
use super::shelf::{Shelf, write_atomically};
use super::{Store, failed};
use crate::failpoint::reach;
use crate::source::error::SourceError;
use crate::source::pack::{self, PackError};
use crate::source::{Candidate, Note};

/// A pack that was taken, by content and by what a look at its name shows, so that it need not be read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Taken {
    sha256: String,
    size: u64,
    modified: i64,
    modified_nanoseconds: i64,
    inode: u64,
}

impl Store {
    /// Takes from the spool what is needed for the tip that its note offers, and proves that the tip is there as a whole. Then what lies beside
    /// it: approvals and the heartbeat, each left out and told among [`refused`](Store::refused) when it is not as it should be.
    ///
    /// Nothing is offered before the first good poll. When the tip cannot be made whole, nothing of what was taken is kept.
    ///
    /// # Errors
    /// `E121`–`E126` for what is wrong with the spool, `E127` and `E128` for the offered history, `E120` when the store fails.
    pub fn take(&mut self, spool: &Path) -> Result<Option<Candidate>, SourceError> {
        self.refused.clear();
        let spool = Spool::open(spool)?;
        let Some(note) = spool.note()? else { return Ok(None) };
        let Ok(tip) = ObjectId::from_hex(note.tip.as_bytes()) else { return Ok(None) };
        let limits = self.limits.clone();
        let directory = self.directory.clone();
        let slot = self.slot(tip.kind());
        let shelf = match slot {
            Some(shelf) => shelf,
            None => slot.insert(Shelf::create(&directory, tip.kind(), &limits)?),
        };
        let (offer, doubts) = Offer::read(&note, tip.kind());
        let mut taking = Taking::begin(shelf, &limits, &spool, tip.kind())?;
        let outcome = if taking.shelf.is_whole(&tip) { Ok(()) } else { taking.until_whole(tip) };
        let candidate = outcome.map(|()| {
            taking.refused.extend(doubts);
            // The tip is whole: what goes wrong from here on is told and keeps nobody from it.
            let failed = taking.beside(&offer).err();
            let candidate = offer.candidate(tip, taking.shelf.objects(), &mut taking.refused);
            taking.refused.extend(failed.into_iter().chain(taking.shelf.remember(&candidate).err()));
            candidate
        });
        self.refused = taking.refused;
        candidate.map(Some).map_err(|error| self.with_refused(error))
    }

    /// This commit with what the note offers beside the branch, as far as the store has it; nothing is taken for it.
    pub fn candidate(&self, tip: ObjectId, note: &Note) -> Candidate {
        let (offer, _) = Offer::read(note, tip.kind());
        match self.shelf(tip.kind()) {
            Some(shelf) => offer.candidate(tip, shelf.objects(), &mut Vec::new()),
            None => Candidate::at(tip),
        }
    }

    /// A hole in the history is most likely the fault of a pack that was refused: show both.
    fn with_refused(&mut self, error: SourceError) -> SourceError {
        match error {
            SourceError::Incomplete { tip, missing, .. } if !self.refused.is_empty() => {
                let pack =
                    self.refused.iter().position(|error| !matches!(error, SourceError::NotAPack { .. }));
                let refused = self.refused.remove(pack.unwrap_or(0));
                SourceError::Incomplete { tip, missing, refused: Some(Box::new(refused)) }
            }
            error => error,
        }
    }
}

/// One round of taking.
struct Taking<'a> {
    shelf: &'a mut Shelf,
    limits: &'a crate::config::Limits,
    spool: &'a Spool,
    kind: HashKind,
    taken: Vec<Taken>,
    /// Bytes that may still be read from the spool.
    budget: u64,
    added: Vec<PathBuf>,
    refused: Vec<SourceError>,
    /// The mailbox, once it was looked at.
    letters: Option<Rc<[Letter]>>,
}

impl<'a> Taking<'a> {
    fn begin(
        shelf: &'a mut Shelf,
        limits: &'a crate::config::Limits,
        spool: &'a Spool,
        kind: HashKind,
    ) -> Result<Taking<'a>, SourceError> {
        let taken = match std::fs::read(shelf.path("taken.json")) {
            // What is not understood is forgotten: then packs are read once more.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        shelf.sweep();
        // Twice the spool: what was there before the fetcher compacted it, and after.
        let budget = limits.spool_bytes.saturating_mul(2).saturating_sub(shelf.weigh()?.1);
        let (added, refused) = (Vec::new(), Vec::new());
        Ok(Taking { shelf, limits, spool, kind, taken, budget, added, refused, letters: None })
    }

    fn letters(&mut self) -> Result<Rc<[Letter]>, SourceError> {
        if let Some(letters) = &self.letters {
            return Ok(Rc::clone(letters));
        }
        let letters: Rc<[Letter]> = self.spool.letters(&mut self.refused)?.into();
        Ok(Rc::clone(self.letters.insert(letters)))
    }

    fn until_whole(&mut self, tip: ObjectId) -> Result<(), SourceError> {
        let letters = self.letters()?;
        let known = self.taken.clone();
        let fresh = |letter: &&Letter| !known.iter().any(|taken| letter.is(taken));
        let mut outcome = self.from(letters.iter().filter(fresh), tip, false);
        if outcome.is_err() {
            // The store may have lost what it once took.
            outcome = self.from(letters.iter().filter(|letter| !fresh(letter)), tip, true);
        }
        if outcome.is_err() {
            self.shelf.remove(&self.added)?;
            return outcome;
        }
        self.write_taken(&letters)
    }

    /// Takes what was not taken yet until the offer is complete. A pack that adds nothing to it is not kept, and none is read a second time, so that
    /// a note that names what is nowhere costs one reading of each pack.
    fn beside(&mut self, offer: &Offer) -> Result<(), SourceError> {
        let mut missing = offer.missing(self.shelf.objects());
        if missing == 0 {
            return Ok(());
        }
        let letters = self.letters()?;
        for letter in letters.iter() {
            if missing == 0 {
                break;
            }
            if self.taken.iter().any(|taken| letter.is(taken)) {
                continue;
            }
            let before = self.added.len();
            if let Err(error) = self.one(letter, false) {
                let fails = matches!(error, SourceError::Store { .. });
                self.refused.push(error);
                if fails {
                    break;
                }
                continue;
            }
            let left = offer.missing(self.shelf.objects());
            if left == missing {
                let useless = self.added.split_off(before);
                self.shelf.remove(&useless)?;
            }
            missing = left;
        }
        self.write_taken(&letters)
    }

    fn write_taken(&mut self, letters: &[Letter]) -> Result<(), SourceError> {
        self.taken.retain(|taken| letters.iter().any(|letter| letter.is(taken)));
        let json = serde_json::to_vec(&self.taken).unwrap_or_default();
        write_atomically(&self.shelf.path("taken.json"), &json)
    }

    /// Takes one pack after the other until the tip is whole.
    fn from<'l>(
        &mut self,
        letters: impl Iterator<Item = &'l Letter>,
        tip: ObjectId,
        again: bool,
    ) -> Result<(), SourceError> {
        for letter in letters {
            let before = self.added.len();
            match self.one(letter, again) {
                Ok(()) if self.added.len() > before => {
                    if self.shelf.prove(tip, self.limits).is_ok() {
                        return Ok(());
                    }
                }
                Ok(()) => {}
                Err(error @ SourceError::Store { .. }) => return Err(error),
                Err(error) => self.refused.push(error),
            }
        }
        self.shelf.prove(tip, self.limits)
    }

    /// Takes one pack; `again` if it may have been taken before.
    fn one(&mut self, letter: &Letter, again: bool) -> Result<(), SourceError> {
        let incoming = tempfile::Builder::new()
            .prefix("incoming-")
            .tempfile_in(self.shelf.path(""))
            .map_err(failed(&self.shelf.path("")))?;
        let sha256 = self.spool.copy(letter, incoming.as_file(), self.budget)?;
        reach("store: pack copied");
        self.budget = self.budget.saturating_sub(letter.size);
        if !again && self.taken.iter().any(|taken| taken.sha256 == sha256) {
            self.remember(letter, sha256);
            return Ok(());
        }
        let packs = self.shelf.path("pack");
        let refuse = |error| explain(letter, packs.clone(), error);
        let file = File::open(incoming.path()).map_err(failed(incoming.path()))?;
        pack::inspect(&mut BufReader::with_capacity(64 << 10, file), self.kind, self.limits)
            .map_err(refuse)?;
        let existing = pack::list(&packs).map_err(failed(&packs))?;
        match self.shelf.add(incoming.path()) {
            // What was there before must stay when this round fails.
            Ok(Some(pack)) if !existing.contains(&pack) => self.added.push(pack),
            Ok(_) => {}
            Err(error) => return Err(refuse(error)),
        }
        self.remember(letter, sha256);
        Ok(())
    }

    fn remember(&mut self, letter: &Letter, sha256: String) {
        self.taken.push(Taken {
            sha256,
            size: letter.size,
            modified: letter.modified.0,
            modified_nanoseconds: letter.modified.1,
            inode: letter.inode,
        });
    }
}

fn explain(letter: &Letter, path: PathBuf, error: PackError) -> SourceError {
    let name = letter.name.clone();
    match error {
        PackError::TooMuch { what, limit } => SourceError::TooMuch { name, what, limit },
        PackError::Damaged(reason) => SourceError::Damaged { name, reason },
        PackError::Io(error) => SourceError::Store { path, reason: error.to_string() },
    }
}

impl Letter {
    fn is(&self, taken: &Taken) -> bool {
        self.size == taken.size
            && self.modified == (taken.modified, taken.modified_nanoseconds)
            && self.inode == taken.inode
    }
}
