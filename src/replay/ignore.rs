//! JSON paths of a request that matching doesn't look at: `$.metadata.user_id`, `messages[*].name`, `..timestamp`.

use std::str::FromStr;

use serde_json::Value;

/// A path that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a path: {why}; paths look like $.metadata.user_id, messages[*].name or ..timestamp")]
pub struct BadPath {
    given: String,
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    At(usize),
    /// Every element, or every member.
    All,
    /// Here and at any depth below.
    Deep,
}

/// A place, or many places, of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore(Vec<Step>);

impl FromStr for Ignore {
    type Err = BadPath;

    fn from_str(given: &str) -> Result<Self, BadPath> {
        let bad = |why| BadPath { given: given.to_owned(), why };
        let mut steps = Vec::new();
        let mut rest = given.trim();
        rest = rest.strip_prefix('$').unwrap_or(rest);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Deep);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (inner, after) = after.split_once(']').ok_or_else(|| bad("a [ has no ]"))?;
                let inner = inner.trim();
                steps.push(match inner.trim_matches(['\'', '"']) {
                    "*" => Step::All,
                    key if key.len() < inner.len() => Step::Key(key.to_owned()),
                    number => {
                        Step::At(number.parse().map_err(|_| bad("between [ and ] goes a number, * or a quoted name"))?)
                    }
                });
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                steps.push(if key == "*" { Step::All } else { Step::Key(key.to_owned()) });
                rest = after;
            }
        }
        match steps.last() {
            None => Err(bad("it names nothing")),
            Some(Step::Deep) => Err(bad("a name has to follow ..")),
            Some(_) => Ok(Ignore(steps)),
        }
    }
}

impl Ignore {
    /// Sets every place it names to null; whether there was any.
    pub fn blank(&self, value: &mut Value) -> bool {
        blank(&self.0, value)
    }
}

fn blank(steps: &[Step], value: &mut Value) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        *value = Value::Null;
        return true;
    };
    let each = |value: &mut Value, steps: &[Step]| blank(steps, value);
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => map.get_mut(key).is_some_and(|inner| each(inner, rest)),
        (Step::At(at), Value::Array(items)) => items.get_mut(*at).is_some_and(|inner| each(inner, rest)),
        (Step::All, Value::Array(items)) => items.iter_mut().fold(false, |any, item| each(item, rest) | any),
        (Step::All, Value::Object(map)) => map.values_mut().fold(false, |any, item| each(item, rest) | any),
        (Step::Deep, value) => {
            let here = each(value, rest);
            let below = match value {
                Value::Array(items) => items.iter_mut().fold(false, |any, item| each(item, steps) | any),
                Value::Object(map) => map.values_mut().fold(false, |any, item| each(item, steps) | any),
                _ => false,
            };
            here | below
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_name_what_they_say() {
        let whole = json!({"a": {"b": 1, "c": [{"t": 1}, {"t": 2, "u": {"t": 3}}]}, "t": 4});
        for (path, left) in [
            ("$.a.b", json!({"a": {"b": null, "c": [{"t": 1}, {"t": 2, "u": {"t": 3}}]}, "t": 4})),
            ("a.c[*].t", json!({"a": {"b": 1, "c": [{"t": null}, {"t": null, "u": {"t": 3}}]}, "t": 4})),
            ("a['c'][1]", json!({"a": {"b": 1, "c": [{"t": 1}, null]}, "t": 4})),
            ("..t", json!({"a": {"b": 1, "c": [{"t": null}, {"t": null, "u": {"t": null}}]}, "t": null})),
        ] {
            let mut value = whole.clone();
            assert!(path.parse::<Ignore>().unwrap().blank(&mut value), "{path}");
            assert_eq!(value, left, "{path}");
        }
        let mut value = whole.clone();
        assert!(!"a.x.y".parse::<Ignore>().unwrap().blank(&mut value));
        assert_eq!(value, whole);
    }

    #[test]
    fn bad_paths_say_what_good_ones_look_like() {
        for bad in ["", "$", "a[", "a[x]", "a.."] {
            let error = bad.parse::<Ignore>().unwrap_err().to_string();
            assert!(error.contains("$.metadata.user_id"), "{error}");
        }
    }
}
