//! Records however an export has them: a list, an object with a list in it, one a line, or one document written over many lines.

use std::io::{BufRead, Read};

use serde_json::Value;

use super::lines::{LONGEST, Line, Lines};
use super::{Desk, Trouble, document};

/// Tells each record. `lists` are the names under which an object may hold a list of them.
pub fn each(
    from: &mut dyn BufRead,
    desk: &mut Desk<'_>,
    lists: &[&str],
    tell: &mut dyn FnMut(&mut Desk<'_>, Value) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut first = Vec::new();
    while first.trim_ascii().is_empty() && (&mut *from).take(LONGEST as u64).read_until(b'\n', &mut first)? > 0 {}
    let plain = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first).trim_ascii();
    // A list, or an object, that goes on in the next line.
    let goes_on = plain.first() == Some(&b'[') || plain.last().is_some_and(|byte| b"{[,".contains(byte));
    let over_lines = goes_on && serde_json::from_slice::<Value>(plain).is_err();
    let mut whole = std::io::BufReader::new(first.as_slice().chain(&mut *from));
    if over_lines {
        return inner(document(&mut whole)?, desk, lists, tell);
    }
    let mut lines = Lines::new(whole);
    while let Some(line) = lines.next()? {
        let Line::Whole { bytes, last } = line else {
            desk.skipped("a line that is too long");
            continue;
        };
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) => inner(value, desk, lists, tell)?,
            Err(_) if last => desk.skipped("a last line that was cut off"),
            Err(_) => desk.damaged(),
        }
    }
    Ok(())
}

fn inner(
    value: Value,
    desk: &mut Desk<'_>,
    lists: &[&str],
    tell: &mut dyn FnMut(&mut Desk<'_>, Value) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    match value {
        Value::Array(list) => list.into_iter().try_for_each(|one| tell(desk, one)),
        Value::Object(mut one) => match lists.iter().find(|name| one.get(**name).is_some_and(Value::is_array)) {
            Some(name) => inner(one.remove(*name).unwrap_or_default(), desk, &[], tell),
            None => tell(desk, Value::Object(one)),
        },
        _ => {
            desk.skipped("lines that are no records");
            Ok(())
        }
    }
}
