//! Fields that never fail: a value of the wrong type reads as none, so that one odd field doesn't hide the others.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Visits of every type but strings, maps and lists, all read as none.
macro_rules! scalars_are_nothing {
    ($out:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($out)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($out)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($out)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($out)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($out)
        }
    };
}

/// A string, borrowed where it has no escapes; empty for anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            scalars_are_nothing!(Text::default());
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                skip_seq(seq)?;
                Ok(Text::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                skip_map(map)?;
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A string, or the list or object that stands in its place; empty for anything else.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextOr<'a> {
    pub text: Cow<'a, str>,
    pub other: Option<Value>,
}

impl<'de: 'a, 'a> Deserialize<'de> for TextOr<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrVisitor;

        impl<'de> Visitor<'de> for TextOrVisitor {
            type Value = TextOr<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list or an object")
            }
            scalars_are_nothing!(TextOr::default());
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(TextOr { text: Cow::Borrowed(text), other: None })
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr { text: Cow::Owned(text.to_owned()), other: None })
            }
            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(TextOr { text: Cow::Owned(text), other: None })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(one) = seq.next_element()? {
                    list.push(one);
                }
                Ok(TextOr { text: Cow::default(), other: Some(Value::Array(list)) })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let object = Value::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TextOr { text: Cow::default(), other: Some(object) })
            }
        }
        deserializer.deserialize_any(TextOrVisitor)
    }
}

/// An object; none for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maybe<T>(pub Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Maybe(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MaybeVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for MaybeVisitor<T> {
            type Value = Maybe<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            scalars_are_nothing!(Maybe(None));
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Maybe(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                skip_seq(seq)?;
                Ok(Maybe(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|found| Maybe(Some(found)))
            }
        }
        deserializer.deserialize_any(MaybeVisitor(PhantomData))
    }
}

/// A list; empty for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Many<T>(pub Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ManyVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ManyVisitor<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            scalars_are_nothing!(Many(Vec::new()));
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Many(Vec::new()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = seq.next_element()? {
                    all.push(one);
                }
                Ok(Many(all))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                skip_map(map)?;
                Ok(Many(Vec::new()))
            }
        }
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}

/// A whole number that isn't negative; none for anything else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count(pub Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Count(value.as_u64()))
    }
}

/// The fields of a JSON object, unread: nesting of any depth costs nothing until somebody looks. A name that stands there
/// twice counts as its last value, as in most readers.
pub struct Fields<'a>(pub Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The last field of one of these names.
    pub fn get(&self, names: &[&str]) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(name, _)| names.contains(&name.as_str())).map(|(_, raw)| *raw)
    }

    /// That field's text; `None` when it is something else.
    pub fn text(&self, names: &[&str]) -> Option<String> {
        serde_json::from_str(self.get(names)?.get()).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The elements of a JSON list, unread. What isn't a list is its own only element; null is nothing.
pub fn elements(raw: &RawValue) -> Vec<&RawValue> {
    match raw.get().as_bytes().first() {
        Some(b'[') => serde_json::from_str(raw.get()).unwrap_or_default(),
        Some(b'n') | None => Vec::new(),
        Some(_) => vec![raw],
    }
}

fn skip_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Reads one JSON text into `T`, whatever it takes: names that stand there twice and bytes that aren't UTF-8 only cost the
/// fast path. `None` when it isn't JSON (or nests deeper than anybody means to).
pub fn read<T>(data: &[u8], mut take: impl FnMut(T::Read<'_>)) -> bool
where
    T: Shape,
{
    if let Ok(found) = serde_json::from_slice::<T::Read<'_>>(data) {
        take(found);
        return true;
    }
    let text = String::from_utf8_lossy(data);
    let Ok(value) = serde_json::from_str::<Value>(&text) else { return false };
    let Ok(found) = T::Read::<'_>::deserialize(&value) else { return false };
    take(found);
    true
}

/// A type that [`read`] can fill, borrowing from the text.
pub trait Shape {
    type Read<'a>: Deserialize<'a>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Sample<'a> {
        #[serde(default, borrow)]
        text: Text<'a>,
        #[serde(default)]
        object: Maybe<Inner>,
        #[serde(default)]
        list: Many<u8>,
        #[serde(default)]
        count: Count,
    }

    #[derive(serde::Deserialize, PartialEq, Debug)]
    struct Inner {
        x: u8,
    }

    impl Shape for Sample<'_> {
        type Read<'a> = Sample<'a>;
    }

    #[test]
    fn a_wrong_type_reads_as_none_and_hides_nothing_else() {
        for odd in ["null", "true", "-1", "1.5", "[[1]]", "{\"a\":{}}", "\"\""] {
            let json = format!(r#"{{"text":{odd},"count":"7","list":[1,2],"object":{{"x":3}}}}"#);
            let read_it = read::<Sample<'static>>(json.as_bytes(), |sample| {
                assert!(sample.text.is_empty(), "{odd}");
                assert_eq!((sample.list.0, sample.object.0, sample.count.0), (vec![1, 2], Some(Inner { x: 3 }), None));
            });
            assert!(read_it, "{json}");
        }
        for odd in ["null", "true", "9", "\"s\"", "[]"] {
            let json = format!(r#"{{"text":"t","object":{odd},"list":"no","count":7}}"#);
            assert!(read::<Sample<'static>>(json.as_bytes(), |sample| {
                assert_eq!((&*sample.text.0, sample.object.0, sample.count.0), ("t", None, Some(7)));
            }));
        }
    }

    #[test]
    fn names_twice_and_broken_utf8_are_read_the_slow_way() {
        assert!(read::<Sample<'static>>(br#"{"text":"a","text":"b"}"#, |sample| assert_eq!(sample.text.0, "b")));
        assert!(read::<Sample<'static>>(b"{\"text\":\"a\xff\"}", |sample| assert_eq!(sample.text.0, "a\u{fffd}")));
        assert!(!read::<Sample<'static>>(b"{\"text\":", |_| {}));
    }
}
