//! Which of two versions is newer, by the rules of dpkg and of rpm.

use std::cmp::Ordering;

/// The rule by which versions of packages are ordered: that of the package manager which has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VersionOrder {
    /// dpkg's, deb-version(7).
    #[default]
    Dpkg,
    /// rpm's, rpm-version(7).
    Rpm,
}

impl VersionOrder {
    /// Which of two versions is newer.
    pub fn compare(self, left: &str, right: &str) -> Ordering {
        match self {
            VersionOrder::Dpkg => compare_dpkg(left, right),
            VersionOrder::Rpm => compare_rpm(left, right),
        }
    }
}

/// Compares as dpkg does: epoch, upstream version, Debian revision (deb-version(7)).
pub(super) fn compare_dpkg(left: &str, right: &str) -> Ordering {
    let (left, right) = (Debian::parse(left), Debian::parse(right));
    left.epoch
        .cmp(&right.epoch)
        .then_with(|| dpkg_part(left.upstream, right.upstream))
        .then_with(|| dpkg_part(left.revision, right.revision))
}

struct Debian<'a> {
    epoch: u64,
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Debian<'a> {
    fn parse(version: &'a str) -> Debian<'a> {
        let (epoch, rest) = split_epoch(version);
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Debian { epoch, upstream: upstream.as_bytes(), revision: revision.as_bytes() }
    }
}

fn split_epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

/// Alternating runs of non-digits and digits. Among non-digits `~` sorts before the end, the end before letters, letters before the rest.
fn dpkg_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    fn weight(byte: Option<&u8>) -> i32 {
        match byte {
            Some(b'~') => -1,
            None => 0,
            Some(byte) if byte.is_ascii_digit() => 0,
            Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
            Some(byte) => i32::from(*byte) + 256,
        }
    }
    let text = |bytes: &[u8]| bytes.first().is_some_and(|byte| !byte.is_ascii_digit());
    while !left.is_empty() || !right.is_empty() {
        while text(left) || text(right) {
            let order = weight(left.first()).cmp(&weight(right.first()));
            if order != Ordering::Equal {
                return order;
            }
            left = left.get(1..).unwrap_or_default();
            right = right.get(1..).unwrap_or_default();
        }
        let order = numbers(&mut left, &mut right);
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes a run of digits from both and compares them as numbers of any length.
fn numbers(left: &mut &[u8], right: &mut &[u8]) -> Ordering {
    let (a, b) = (take(left, u8::is_ascii_digit), take(right, u8::is_ascii_digit));
    let significant = |digits: &[u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn take<'a>(bytes: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = bytes.iter().position(|byte| !wanted(byte)).unwrap_or(bytes.len());
    let (run, rest) = bytes.split_at(end);
    *bytes = rest;
    run
}

/// Compares as rpm does: epoch, version, release. A side without a release matches any release.
pub(super) fn compare_rpm(left: &str, right: &str) -> Ordering {
    let ((left_epoch, left), (right_epoch, right)) = (split_epoch(left), split_epoch(right));
    let split = |text: &str| {
        text.rsplit_once('-').map(|(version, release)| (version.to_owned(), Some(release.to_owned())))
    };
    let (left_version, left_release) = split(left).unwrap_or((left.to_owned(), None));
    let (right_version, right_release) = split(right).unwrap_or((right.to_owned(), None));
    left_epoch.cmp(&right_epoch).then_with(|| rpm_part(&left_version, &right_version)).then_with(|| {
        match (left_release, right_release) {
            (Some(left), Some(right)) => rpm_part(&left, &right),
            _ => Ordering::Equal,
        }
    })
}

/// rpm's segments: runs of digits or of letters, the rest only separates. `~` sorts before the end, `^` after it but before any segment.
fn rpm_part(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    let separator = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'~' && *byte != b'^';
    loop {
        take(&mut left, separator);
        take(&mut right, separator);
        match (left.first(), right.first()) {
            (None, None) => return Ordering::Equal,
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (left, right) = (&left[1..], &right[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), Some(_)) => return Ordering::Less,
            (Some(_), Some(b'^')) => return Ordering::Greater,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.is_ascii_digit(), b.is_ascii_digit()) {
                (true, false) => return Ordering::Greater,
                (false, true) => return Ordering::Less,
                (true, true) => match numbers(&mut left, &mut right) {
                    Ordering::Equal => {}
                    order => return order,
                },
                (false, false) => {
                    match take(&mut left, u8::is_ascii_alphabetic)
                        .cmp(take(&mut right, u8::is_ascii_alphabetic))
                    {
                        Ordering::Equal => {}
                        order => return order,
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(compare: fn(&str, &str) -> Ordering, table: &[(&str, &str, Ordering)]) {
        for (left, right, expected) in table {
            assert_eq!(compare(left, right), *expected, "{left} against {right}");
            assert_eq!(compare(right, left), expected.reverse(), "{right} against {left}");
        }
    }

    #[test]
    fn dpkg_orders_as_its_manual_says() {
        use Ordering::{Equal, Greater, Less};
        check(
            compare_dpkg,
            &[
                ("1.0", "1.0", Equal),
                ("1.0", "1.00", Equal),
                ("1.0-0", "1.0", Equal),
                ("0:1.0", "1.0", Equal),
                ("1:0.1", "2.0", Greater),
                ("1.2~rc1", "1.2", Less),
                ("1.2~~", "1.2~", Less),
                ("1.2~~a", "1.2~", Less),
                ("1.2", "1.2a", Less),
                ("1.2a", "1.2+b", Less),
                ("1.10", "1.9", Greater),
                ("1.0-1", "1.0-2", Less),
                ("1.0-1ubuntu1", "1.0-1", Greater),
                ("1.0-1~bpo12+1", "1.0-1", Less),
                ("2.4.57-2+deb12u1", "2.4.57-2", Greater),
                ("1.22.1-9", "1.22.1-9+deb12u2", Less),
                ("1-2-3", "1-2-4", Less),
                ("1.2", "1.10", Less),
                ("1.0", "1.0-1", Less),
                ("1.0a", "1.0.1", Less),
                ("9.9", "1:0.1", Less),
                ("1.001", "1.1", Equal),
                ("9999999999999999999999", "99999999999999999999990", Less),
            ],
        );
    }

    #[test]
    fn rpm_orders_as_its_own_table_says() {
        use Ordering::{Equal, Greater, Less};
        check(
            compare_rpm,
            &[
                ("1.0", "1.0", Equal),
                ("2.0.1", "2.0", Greater),
                ("2.0.1a", "2.0.1", Greater),
                ("5.5p10", "5.5p1", Greater),
                ("10xyz", "10.1xyz", Less),
                ("xyz10", "xyz10.1", Less),
                ("xyz.4", "8", Less),
                ("5.5p2", "5.6p1", Less),
                ("6.0.rc1", "6.0", Greater),
                ("10b2", "10a1", Greater),
                ("7.2.2", "7.2.2a", Less),
                ("10.0001", "10.1", Equal),
                ("10.0001", "10.0039", Less),
                ("20101121", "20101122", Less),
                ("2_0", "2.0", Equal),
                ("a", "a+", Equal),
                ("1.0~rc1", "1.0", Less),
                ("1.0~rc1~git123", "1.0~rc1", Less),
                ("1.0^", "1.0", Greater),
                ("1.0^git1", "1.0.1", Less),
                ("1.0^git1", "1.01", Less),
                ("1.0", "1.0^git1", Less),
                ("1.0~rc1^git1", "1.0~rc1", Greater),
                ("1.0^git1~pre", "1.0^git1", Less),
                ("1:1.0-1", "2.0-1", Greater),
                ("1.0-1", "1.0-2", Less),
                ("1.0", "1.0-7", Equal),
            ],
        );
    }
}
