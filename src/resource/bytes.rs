//! Bytes in one piece: formats that can, such as that of the compiled desired state, copy them instead of reading one by one.

use serde::{Deserializer, Serializer, de};
use std::fmt;
use std::marker::PhantomData;

/// Writes bytes.
pub(super) fn serialize<T: AsRef<[u8]>, S: Serializer>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes.as_ref())
}

/// Reads bytes; formats without bytes of their own, such as JSON, give a list of numbers.
pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: for<'a> TryFrom<&'a [u8]>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_bytes(Bytes(PhantomData))
}

struct Bytes<T>(PhantomData<T>);

impl<'de, T: for<'a> TryFrom<&'a [u8]>> de::Visitor<'de> for Bytes<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes of the right number")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        T::try_from(bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element()? {
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::resource::{Content, ContentOrigin};

    #[test]
    fn content_survives_both_forms() {
        let content = Content { sha256: [7; 32], size: 3, origin: ContentOrigin::Inline(vec![1, 2, 3]) };
        let compact = postcard::to_stdvec(&content).unwrap();
        assert_eq!(postcard::from_bytes::<Content>(&compact).unwrap(), content);
        let json = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&json).unwrap(), content);
        assert!(serde_json::from_str::<Content>(&json.replacen("[7,", "[", 1)).is_err());
    }
}
