//! Time zones: those of the host's database by name, and the one that the host itself is in.

use jiff::tz::TimeZone;
use std::path::Path;

/// The zone of this name; without a name the host's own, as localtime(5) has it. `None`: the host does not know it.
pub fn find(name: Option<&str>) -> Option<TimeZone> {
    match name {
        Some("UTC") => Some(TimeZone::UTC),
        Some(name) => TimeZone::get(name).ok(),
        None => Some(own(Path::new("/etc/localtime"))),
    }
}

/// The zone that a link leads to, or a file holds; without one UTC, as systemd has it.
fn own(path: &Path) -> TimeZone {
    let target = std::fs::read_link(path).ok();
    let name = target.as_deref().and_then(Path::to_str).and_then(|target| target.split_once("zoneinfo/"));
    let by_name = name.and_then(|(_, name)| TimeZone::get(name).ok());
    let by_content = || TimeZone::tzif("host", &std::fs::read(path).ok()?).ok();
    by_name.or_else(by_content).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_found_by_name_by_link_and_by_content() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let winter = "2026-01-15T12:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let offset = |zone: &TimeZone| zone.to_offset(winter).seconds();
        assert_eq!(find(Some("Europe/Berlin")), Some(berlin.clone()));
        assert_eq!(find(Some("Europe/Nowhere")), None);
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/usr/share/zoneinfo/Europe/Berlin", &link).unwrap();
        assert_eq!(offset(&own(&link)), 3600);
        let copy = folder.path().join("copy");
        std::fs::copy("/usr/share/zoneinfo/Europe/Berlin", &copy).unwrap();
        assert_eq!(offset(&own(&copy)), 3600);
        assert_eq!(offset(&own(&folder.path().join("none"))), 0);
    }
}
