//! The protobuf messages of OTLP, read by hand: there are five of them, and nothing else here speaks protobuf.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Batch, Event, Log, Span};
use crate::trace::Timestamp;

/// A body that is no OTLP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no OTLP: {0}")]
pub struct Unreadable(pub String);

/// Values inside of values.
const DEEPEST: usize = 24;

fn cut() -> Unreadable {
    Unreadable("the bytes end in the middle of a field".to_owned())
}

/// A field: its number, and its value.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Number(_) => &[],
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    fn number(&self) -> u64 {
        match self {
            Field::Number(number) => *number,
            Field::Bytes(_) => 0,
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&first, rest) = bytes.split_first().ok_or_else(cut)?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first < 0x80 {
            return Ok(number);
        }
    }
    Err(Unreadable("a number is longer than 64 bits".to_owned()))
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Unreadable> {
    let (taken, rest) = bytes.split_at_checked(len).ok_or_else(cut)?;
    *bytes = rest;
    Ok(taken)
}

/// Calls `each` for every field of a message.
fn fields<'a>(
    mut bytes: &'a [u8],
    mut each: impl FnMut(u64, Field<'a>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().expect("eight bytes were taken"))),
            5 => Field::Number(u64::from(u32::from_le_bytes(
                take(&mut bytes, 4)?.try_into().expect("four bytes were taken"),
            ))),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).map_err(|_| cut())?;
                Field::Bytes(take(&mut bytes, len)?)
            }
            kind => return Err(Unreadable(format!("there is no field of wire type {kind}"))),
        };
        if tag >> 3 == 0 {
            return Err(Unreadable("there is no field 0".to_owned()));
        }
        each(tag >> 3, field)?;
    }
    Ok(())
}

/// `AnyValue`.
fn value(bytes: &[u8], depth: usize) -> Result<Value, Unreadable> {
    if depth > DEEPEST {
        return Err(Unreadable("values lie too deep inside of each other".to_owned()));
    }
    let mut found = Value::Null;
    fields(bytes, |number, field| {
        found = match number {
            1 => Value::from(field.text()),
            2 => Value::from(field.number() != 0),
            3 => Value::from(field.number() as i64),
            4 => Value::from(f64::from_bits(field.number())),
            5 => {
                let mut list = Vec::new();
                fields(field.bytes(), |number, field| {
                    if number == 1 {
                        list.push(value(field.bytes(), depth + 1)?);
                    }
                    Ok(())
                })?;
                Value::Array(list)
            }
            6 => {
                let mut map = Map::new();
                fields(
                    field.bytes(),
                    |number, field| if number == 1 { pair(field.bytes(), &mut map, depth + 1) } else { Ok(()) },
                )?;
                Value::Object(map)
            }
            7 => Value::from(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, field.bytes())),
            _ => return Ok(()),
        };
        Ok(())
    })?;
    Ok(found)
}

/// `KeyValue`.
fn pair(bytes: &[u8], into: &mut Map<String, Value>, depth: usize) -> Result<(), Unreadable> {
    let (mut key, mut found) = (String::new(), Value::Null);
    fields(bytes, |number, field| {
        match number {
            1 => key = field.text(),
            2 => found = value(field.bytes(), depth)?,
            _ => {}
        }
        Ok(())
    })?;
    into.insert(key, found);
    Ok(())
}

fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn micros(nanos: u64) -> Timestamp {
    Timestamp(i64::try_from(nanos / 1000).unwrap_or(i64::MAX))
}

fn resource(bytes: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    let mut attributes = Map::new();
    fields(bytes, |number, field| if number == 1 { pair(field.bytes(), &mut attributes, 0) } else { Ok(()) })?;
    Ok(attributes)
}

/// `Resource…`, `Scope…`, and in it the items: the same numbers for traces and logs.
fn items(
    body: &[u8],
    mut each: impl FnMut(&[u8], &Arc<Map<String, Value>>, &Arc<str>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    fields(body, |number, field| {
        if number != 1 {
            return Ok(());
        }
        let group = field.bytes();
        let mut about = Map::new();
        fields(group, |number, field| {
            if number == 1 {
                about = resource(field.bytes())?;
            }
            Ok(())
        })?;
        let about = Arc::new(about);
        fields(group, |number, field| {
            if number != 2 {
                return Ok(());
            }
            let scoped = field.bytes();
            let mut scope: Arc<str> = Arc::from("");
            fields(scoped, |number, field| {
                if number == 1 {
                    fields(field.bytes(), |number, field| {
                        if number == 1 {
                            scope = field.text().into();
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            })?;
            fields(scoped, |number, field| if number == 2 { each(field.bytes(), &about, &scope) } else { Ok(()) })
        })
    })
}

/// `ExportTraceServiceRequest`.
pub fn traces(body: &[u8]) -> Result<Batch, Unreadable> {
    let mut batch = Batch::default();
    items(body, |bytes, resource, scope| {
        let mut span = Span { resource: resource.clone(), scope: scope.clone(), ..Span::default() };
        match one_span(bytes, &mut span)? {
            true => batch.spans.push(span),
            false => batch.reject("a span needs a trace id of 16 bytes and a span id of 8"),
        }
        Ok(())
    })?;
    Ok(batch)
}

fn one_span(bytes: &[u8], span: &mut Span) -> Result<bool, Unreadable> {
    fields(bytes, |number, field| {
        match number {
            1 => span.trace = id(field.bytes()).map_or(0, u128::from_be_bytes),
            2 => span.id = id(field.bytes()).map_or(0, u64::from_be_bytes),
            4 => span.parent = id(field.bytes()).map_or(0, u64::from_be_bytes),
            5 => span.name = field.text(),
            7 => span.start = micros(field.number()),
            8 => span.end = micros(field.number()),
            9 => pair(field.bytes(), &mut span.attributes, 0)?,
            11 => {
                let mut event = Event::default();
                fields(field.bytes(), |number, field| {
                    match number {
                        1 => event.at = micros(field.number()),
                        2 => event.name = field.text(),
                        3 => pair(field.bytes(), &mut event.attributes, 0)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                span.events.push(event);
            }
            15 => {
                let (mut message, mut code) = (String::new(), 0);
                fields(field.bytes(), |number, field| {
                    match number {
                        2 => message = field.text(),
                        3 => code = field.number(),
                        _ => {}
                    }
                    Ok(())
                })?;
                span.error = (code == 2).then_some(if message.is_empty() { "failed".to_owned() } else { message });
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(span.trace != 0 && span.id != 0)
}

/// `ExportLogsServiceRequest`.
pub fn logs(body: &[u8]) -> Result<Batch, Unreadable> {
    let mut batch = Batch::default();
    items(body, |bytes, resource, _| {
        let mut log = Log { resource: resource.clone(), ..Log::default() };
        let mut observed = Timestamp::default();
        fields(bytes, |number, field| {
            match number {
                1 => log.at = micros(field.number()),
                5 => log.body = value(field.bytes(), 0)?,
                6 => pair(field.bytes(), &mut log.attributes, 0)?,
                9 => log.trace = id(field.bytes()).map_or(0, u128::from_be_bytes),
                10 => log.span = id(field.bytes()).map_or(0, u64::from_be_bytes),
                11 => observed = micros(field.number()),
                12 => log.name = field.text(),
                _ => {}
            }
            Ok(())
        })?;
        if log.at == Timestamp::default() {
            log.at = observed;
        }
        batch.logs.push(log);
        Ok(())
    })?;
    Ok(batch)
}

/// The answer to a request: empty, or how many were rejected and why.
pub fn partial(rejected: u64, why: &str) -> Vec<u8> {
    if rejected == 0 {
        return Vec::new();
    }
    let mut inner = Vec::new();
    inner.push(1 << 3);
    put_varint(&mut inner, rejected);
    inner.push(2 << 3 | 2);
    put_varint(&mut inner, why.len() as u64);
    inner.extend_from_slice(why.as_bytes());
    let mut out = vec![1 << 3 | 2];
    put_varint(&mut out, inner.len() as u64);
    out.extend_from_slice(&inner);
    out
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(number: u8, inner: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        put_varint(&mut out, inner.len() as u64);
        out.extend_from_slice(inner);
        out
    }

    #[test]
    fn a_span_is_read_and_one_without_an_id_is_rejected() {
        let attribute = message(9, &[message(1, b"k"), message(2, &message(1, b"v"))].concat());
        let status = message(15, &[&message(2, b"broke")[..], &[3 << 3, 2]].concat());
        let time = [&[7 << 3 | 1][..], &1_700_000_000_000_000_000_u64.to_le_bytes()].concat();
        let span = [message(1, &[7; 16]), message(2, &[9; 8]), message(5, b"chat m"), time, attribute, status].concat();
        let nameless = message(5, b"no ids");
        let scope = message(2, &[message(1, &message(1, b"lib")), message(2, &span), message(2, &nameless)].concat());
        let about = message(1, &message(1, &[message(1, b"service.name"), message(2, &message(1, b"shop"))].concat()));
        let body = message(1, &[scope, about].concat());
        let batch = traces(&body).unwrap();
        assert_eq!((batch.spans.len(), batch.rejected), (1, 1));
        let span = &batch.spans[0];
        assert_eq!((span.name.as_str(), &*span.scope, span.start), ("chat m", "lib", Timestamp(1_700_000_000_000_000)));
        assert_eq!((span.attributes["k"].as_str(), span.error.as_deref()), (Some("v"), Some("broke")));
        assert_eq!(span.resource["service.name"], "shop");
        for cut in 1..body.len() {
            assert!(traces(&body[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_answer_says_what_was_rejected() {
        assert_eq!(partial(0, ""), b"");
        let mut said = (0, String::new());
        fields(&partial(300, "no id"), |_, field| {
            fields(field.bytes(), |number, field| {
                if number == 1 {
                    said.0 = field.number();
                } else {
                    said.1 = field.text();
                }
                Ok(())
            })
        })
        .unwrap();
        assert_eq!(said, (300, "no id".to_owned()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (traces(&bytes), logs(&bytes), value(&bytes, 0));
        }
    }
}
