//! What abide writes into the journal.

use abide::report::event::DESCRIPTIONS;
use std::fmt::Write as _;

/// The reference of journal entries.
pub fn reference() -> String {
    let mut text = format!(
        "# Journal entries\n\n{}\n\nEvery decision is one entry of `abide.service`. `journalctl -x -u abide` explains each one, and\n\
         `journalctl MESSAGE_ID=…` lists those of one kind. Fields: `ABIDE_RUN`, `ABIDE_REVISION`, `ABIDE_COMMIT`, `ABIDE_SIGNER`,\n\
         `ABIDE_RESOURCE`, `ABIDE_CHANGE`, `ABIDE_CODE`, as they apply.\n",
        super::NOTE
    );
    for description in DESCRIPTIONS {
        let _ = write!(
            text,
            "\n## {}\n\n`MESSAGE_ID={}`, level {}.\n\n{}\n",
            plain(description.subject),
            description.id,
            format!("{:?}", description.priority).to_lowercase(),
            plain(description.explanation)
        );
    }
    text
}

/// The catalog's `@FIELD@` as people read it.
fn plain(text: &str) -> String {
    let words = text.split('@').enumerate().map(|(index, part)| match (index % 2, part) {
        (0, part) => part.to_owned(),
        (_, part) => part.trim_start_matches("ABIDE_").to_lowercase(),
    });
    words.collect::<String>().replace('\n', "\n\n")
}
