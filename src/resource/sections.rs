//! The files of systemd: sections of keys in TOML, and the text they become.

use super::{Content, Declaration, DeclareError};
use crate::manifest::node::{Key, Node, Value, nearest};

/// Suffixes of units that can be declared.
pub(super) const SUFFIXES: &[&str] = &[
    "service",
    "socket",
    "timer",
    "path",
    "mount",
    "automount",
    "swap",
    "slice",
    "target",
    "scope",
    "device",
];

/// First line of every generated file.
const HEADER: &str = "# Managed by abide: changes made here are overwritten.\n";

/// The suffix of a unit's name, when it is one and the name has the grammar of systemd.unit(5).
pub(super) fn suffix(unit: &str) -> Option<&str> {
    let (stem, suffix) = unit.rsplit_once('.')?;
    let plain = |character: char| character.is_ascii_alphanumeric() || ":_.\\@-".contains(character);
    let known = SUFFIXES.contains(&suffix);
    (known && !stem.is_empty() && !stem.starts_with('@') && unit.len() < 256 && stem.chars().all(plain))
        .then_some(suffix)
}

/// The name of the template that an instance such as `getty@tty1.service` is made from.
pub(super) fn template(unit: &str) -> Option<String> {
    let (stem, suffix) = unit.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// Takes the sections out of a declaration's table: every key with a capital first letter. `None`: there are none.
///
/// # Errors
/// A section that units of this type do not have, or a value that cannot be written.
pub(super) fn take(declaration: &mut Declaration<'_>, suffix: &str) -> Result<Option<Content>, DeclareError> {
    let Value::Table(entries) = &mut declaration.table.value else { return Ok(None) };
    let capital = |(key, _): &(Key, Node)| key.name.starts_with(|letter: char| letter.is_ascii_uppercase());
    let sections: Vec<(Key, Node)> = entries.extract_if(.., |entry| capital(entry)).collect();
    if sections.is_empty() {
        return Ok(None);
    }
    let mut text = String::from(HEADER);
    for (key, section) in &sections {
        check_section(key, suffix)?;
        text.push_str(&format!("\n[{}]\n", key.name));
        let Value::Table(entries) = &section.value else {
            return Err(section
                .error("a section is a table", format!("write `{} = {{ Key = \"value\" }}`", key.name)));
        };
        for (key, value) in entries {
            write_entry(&mut text, key, value)?;
        }
    }
    Ok(Some(Content::inline(text.into_bytes())))
}

fn check_section(key: &Key, suffix: &str) -> Result<(), DeclareError> {
    let process = matches!(suffix, "service" | "socket" | "mount" | "swap");
    let own = match suffix {
        "target" | "device" => None,
        other => Some(other[..1].to_uppercase() + &other[1..]),
    };
    let known: Vec<&str> = ["Unit", "Install"].into_iter().chain(own.as_deref()).collect();
    if known.contains(&key.name.as_str()) {
        return Ok(());
    }
    let help = match nearest(&key.name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if process && key.name == "Exec" => {
            "options of execution go into the unit's own section".to_owned()
        }
        None => format!("sections of a {suffix}: {}", known.join(", ")),
    };
    Err(DeclareError {
        span: Some(key.span.clone()),
        message: format!("a {suffix} has no section `{}`", key.name),
        help,
    })
}

fn write_entry(text: &mut String, key: &Key, node: &Node) -> Result<(), DeclareError> {
    let starts = key.name.starts_with(|letter: char| letter.is_ascii_uppercase());
    if !starts || !key.name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-') {
        return Err(DeclareError {
            span: Some(key.span.clone()),
            message: format!("`{}` is not a key of a unit", crate::error::escaped(&key.name)),
            help: "keys of units are written like `ExecStart`".into(),
        });
    }
    let values: &[Node] = match &node.value {
        Value::Array(items) => items,
        _ => std::slice::from_ref(node),
    };
    for value in values {
        let shown = match &value.value {
            Value::String(text) | Value::Datetime(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            Value::Array(_) | Value::Table(_) => {
                return Err(value.error(
                    format!("`{}` cannot hold this", key.name),
                    "a value is text, a number, a boolean, or a list of those for a repeated key",
                ));
            }
        };
        // A line break would start a key of the author's template values; a trailing backslash swallows the next line.
        if shown.contains(['\n', '\r', '\0']) || shown.ends_with('\\') {
            return Err(value.error(
                format!("the value of `{}` does not stay on its line", key.name),
                "remove the line break or the backslash at the end; a list gives a repeated key",
            ));
        }
        text.push_str(&format!("{}={shown}\n", key.name));
    }
    Ok(())
}

/// What systemd wants a mount, automount or swap unit to be named for a path: the escaped path (systemd.unit(5)).
pub(super) fn escape_path(path: &str) -> String {
    let trimmed = path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    if trimmed.is_empty() {
        return "-".into();
    }
    let mut escaped = String::new();
    for (position, byte) in trimmed.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if position == 0 => escaped.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("\\x{other:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{NoFiles, text};

    fn render(suffix: &str, table: &str) -> Result<Option<String>, DeclareError> {
        let table = Node::parse(table).unwrap();
        let mut declaration = Declaration { name: "x", table, files: &NoFiles };
        Ok(take(&mut declaration, suffix)?.map(|content| text(&content)))
    }

    #[test]
    fn sections_keep_their_order() {
        let table = "ensure = \"present\"\n[Unit]\nDescription = \"A % b\"\nAfter = [\"a.service\", \"b.service\"]\n\
                     [Service]\nExecStart = [\"\", \"/bin/true\"]\nRemainAfterExit = true\nNice = -5\nX-By = \"me\"\n";
        let expected = "# Managed by abide: changes made here are overwritten.\n\n[Unit]\nDescription=A % b\nAfter=a.service\n\
                        After=b.service\n\n[Service]\nExecStart=\nExecStart=/bin/true\nRemainAfterExit=yes\nNice=-5\nX-By=me\n";
        assert_eq!(render("service", table).unwrap().as_deref(), Some(expected));
        assert_eq!(render("service", "ensure = \"present\"").unwrap(), None);
    }

    #[test]
    fn what_is_not_a_unit_is_an_error_with_a_pointer() {
        for (table, span, message) in [
            ("[Servce]\nA = 1", 1..7, "a service has no section `Servce`"),
            ("[Timer]\nA = 1", 1..6, "a service has no section `Timer`"),
            ("[Service]\nexecStart = \"a\"", 10..19, "`execStart` is not a key of a unit"),
            ("[Service]\nA = \"a\\nB=c\"", 14..22, "the value of `A` does not stay on its line"),
            ("[Service]\nA = 'a\\'", 14..18, "the value of `A` does not stay on its line"),
            ("[Service]\nA = {}", 14..16, "`A` cannot hold this"),
        ] {
            let error = render("service", table).unwrap_err();
            assert_eq!((error.span, error.message.as_str()), (Some(span), message), "{table}");
        }
    }

    #[test]
    fn names_of_units() {
        for (unit, expected) in [
            ("nginx.service", Some("service")),
            ("getty@tty1.service", Some("service")),
            ("srv-my\\x2ddata.mount", Some("mount")),
            ("nginx", None),
            ("nginx.conf", None),
            (".service", None),
            ("@x.service", None),
            ("a/b.service", None),
            ("a b.service", None),
        ] {
            assert_eq!(suffix(unit), expected, "{unit}");
        }
        assert_eq!(template("getty@tty1.service").as_deref(), Some("getty@.service"));
        assert_eq!(template("getty@.service"), None);
        assert_eq!(template("nginx.service"), None);
    }

    #[test]
    fn paths_are_escaped_as_systemd_does() {
        for (path, expected) in [
            ("/", "-"),
            ("/srv/data", "srv-data"),
            ("/srv//my-data/", "srv-my\\x2ddata"),
            ("/.hidden/a.b", "\\x2ehidden-a.b"),
            ("/dév", "d\\xc3\\xa9v"),
        ] {
            assert_eq!(escape_path(path), expected);
        }
    }
}
