//! `drop-in`: a piece of configuration for a unit that somebody else owns.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

use super::unit::{UNITS, UnitFile};
use super::{Before, Context, Declaration, DeclareError, Field, Provision, Relations, Resource, ResourceId, sections};
use crate::plan::{Attributes, Change, Effect, PlanError, Reach};
use crate::system::observe::{Needs, PathNeed};

/// A drop-in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DropIn {
    name: String,
    file: UnitFile,
}

impl Resource for DropIn {
    const KIND: &'static str = "drop-in";
    const SUMMARY: &'static str = "A piece of configuration for a unit that somebody else owns, named `UNIT/NAME`: the file \
                                   /etc/systemd/system/UNIT.d/NAME.conf.";
    const EXAMPLE: &'static str = r#"
[drop-in."nginx.service/limits".Service]
LimitNOFILE = 65536
Environment = ["A=1", "B=2"]

[service.nginx]
restart-on = ["drop-in:nginx.service/limits"]
"#;
    const FIELDS: &'static [Field] = super::unit::FIELDS;

    fn declare(mut declaration: Declaration<'_>) -> Result<DropIn, DeclareError> {
        let name = declaration.name.to_owned();
        let parts = name.split_once('/').filter(|(_, file)| {
            let plain = |character: char| character.is_ascii_alphanumeric() || "-_.@:".contains(character);
            !file.is_empty() && !file.starts_with('.') && !file.ends_with(".conf") && file.chars().all(plain)
        });
        // A bare type, such as `service`, is for every unit of the type (systemd.unit(5)).
        let suffix = parts.and_then(|(unit, _)| {
            sections::suffix(unit).or_else(|| sections::SUFFIXES.contains(&unit).then_some(unit))
        });
        let (Some((unit, file)), Some(suffix)) = (parts, suffix) else {
            return Err(declaration.name_error(
                format!("`{}` is not the name of a drop-in", crate::error::escaped(&name)),
                "write the unit and a name without `.conf`, such as `nginx.service/limits`",
            ));
        };
        let path = Path::new(UNITS).join(format!("{unit}.d")).join(format!("{file}.conf"));
        let file = UnitFile::declare(&mut declaration, path, suffix)?;
        Ok(DropIn { name: name.clone(), file })
    }

    fn needs(&self, needs: &mut Needs) {
        self.file.needs(needs);
        needs.path(&self.folder(), PathNeed::default());
    }

    fn relations(&self, relations: &mut Relations) {
        self.file.relations(relations);
        relations.requires.push(Provision::Path(UNITS.into()));
        if self.file.is_present() {
            // The unit's service waits for this path.
            relations.provides.push(Provision::Path(self.folder()));
        }
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        // Which unit it is for shows in its path.
        reach.push(Reach::Entry(self.file.path.clone()));
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let Some(mut change) = self.file.plan(&self.id(), context)? else { return Ok(None) };
        if self.file.is_present() && context.path(&self.id(), &self.folder())?.is_none() {
            let attributes = Attributes { mode: Some(0o755), ..Attributes::default() };
            change.effects.insert(0, Effect::MakeDirectory { path: self.folder(), attributes });
        }
        Ok(Some(change))
    }

    fn found(&self, before: &Before<'_>) -> Option<DropIn> {
        Some(DropIn { name: self.name.clone(), file: self.file.found(before)? })
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        self.file.prune(&self.id(), context)
    }
}

impl DropIn {
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.name)
    }

    fn folder(&self) -> PathBuf {
        self.file.path.parent().unwrap_or(Path::new(UNITS)).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{context, declare, effects, file, path, present, refuses, relations};
    use crate::system::observe::{FileType, Observed};

    const TABLE: &str = "[Service]\nLimitNOFILE = 65536";
    const TEXT: &str = "# Managed by abide: changes made here are overwritten.\n\n[Service]\nLimitNOFILE=65536\n";
    const PATH: &str = "/etc/systemd/system/nginx.service.d/limits.conf";
    const FOLDER: &str = "/etc/systemd/system/nginx.service.d";

    fn limits() -> DropIn {
        declare("nginx.service/limits", TABLE).unwrap()
    }

    #[test]
    fn its_directory_is_made_where_it_is_missing() {
        let (write, make) = (format!("write {PATH}"), format!("mkdir {FOLDER}"));
        assert_eq!(effects(&limits(), &context(&Observed::default())), [make.as_str(), write.as_str()]);
        let host = path(FOLDER, present(FileType::Directory));
        assert_eq!(effects(&limits(), &context(&host)), [write.as_str()]);
        assert!(effects(&limits(), &context(&host.with_path(PATH, file(TEXT)))).is_empty());
    }

    #[test]
    fn only_the_file_is_pruned() {
        let host = path(PATH, file(TEXT));
        let change = limits().prune(&context(&host)).unwrap().unwrap();
        assert_eq!(change.effects, [Effect::Remove { path: PATH.into(), recursive: false }]);
        assert!(limits().prune(&context(&Observed::default())).unwrap().is_none());
    }

    #[test]
    fn its_directory_is_provided_for_the_service() {
        let (provides, ..) = relations(&limits());
        assert_eq!(provides, [Provision::Path(PATH.into()), Provision::Path(FOLDER.into())]);
        let service: super::super::service::Service = declare("nginx", "running = true").unwrap();
        assert!(relations(&service).1.contains(&Provision::Path(FOLDER.into())));
    }

    #[test]
    fn what_is_no_drop_in_is_refused() {
        for name in ["limits", "nginx/limits", "nginx.service/", "nginx.service/a.conf", "nginx.service/a/b", "nginx.service/.a"] {
            refuses::<DropIn>(name, TABLE, "not the name of a drop-in", "");
        }
        refuses::<DropIn>("nginx.service/a", "[Timer]\nA = 1", "no section `Timer`", "Timer");
        assert!(declare::<DropIn>("service/a", TABLE).is_ok());
        assert!(declare::<DropIn>("getty@.service/a", TABLE).is_ok());
    }
}
