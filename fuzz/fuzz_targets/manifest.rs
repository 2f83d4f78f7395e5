#![no_main]
//! A whole fleet in one input, its files after lines of the form `=== path`: it renders, always to the same, or every problem is explained.

use std::collections::{BTreeMap, BTreeSet};

use abide::manifest::prove::Family;
use abide::manifest::{HostIdentity, Tree, TreeEntry, TreeError, render};
use abide::source::EntryKind;

struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn of(bytes: &[u8]) -> Files {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut path = "fleet.toml".to_owned();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(b"=== ").and_then(|name| std::str::from_utf8(name).ok()) {
                Some(name) => path = name.trim_end().to_owned(),
                None => files.entry(path.clone()).or_default().extend_from_slice(line),
            }
        }
        Files(files)
    }
}

impl Tree for Files {
    fn entry(&self, path: &str) -> Result<Option<TreeEntry>, TreeError> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let kind = if self.0.contains_key(path) {
            EntryKind::File
        } else if path.is_empty() || self.0.keys().any(|known| known.starts_with(&format!("{path}/"))) {
            EntryKind::Tree
        } else {
            return Ok(None);
        };
        Ok(Some(TreeEntry { name, kind, object: None }))
    }

    fn list(&self, folder: &str) -> Result<Vec<TreeEntry>, TreeError> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let names: BTreeSet<&str> = below.filter_map(|rest| rest.split('/').next()).collect();
        if names.is_empty() {
            return Err(TreeError::Missing(folder.to_owned()));
        }
        names.iter().filter_map(|name| self.entry(&format!("{prefix}{name}")).transpose()).collect()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        self.0.get(path).cloned().ok_or_else(|| TreeError::Missing(path.to_owned()))
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let files = Files::of(bytes);
    let host = HostIdentity { name: "web-01".into(), labels: BTreeMap::new() };
    let facts = Family::Debian.facts();
    match (render(&files, &host, &facts), render(&files, &host, &facts)) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(one), Err(other)) => {
            assert!(one.has_errors());
            assert_eq!(one.to_string(), other.to_string());
        }
        (one, other) => panic!("{:?}, then {:?}", one.is_ok(), other.is_ok()),
    }
});
