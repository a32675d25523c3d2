//! Something stands at a path in the JSON of the text. Paths are a small part of JSONPath: `$.a.b[0]['c'][*]..d`.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::text::{Subject, compile, json};
use super::{Config, ConfigError, Evidence, Graded, Grader, Need, clip};

/// A path into JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Leg>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Leg {
    Key(String),
    Index(i64),
    Every,
    /// This key at any depth.
    Deep(String),
}

/// A path that isn't one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPath(String);

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a path: it begins with $ and goes on with .key, ['key'], [0], [*] or ..key", self.0)
    }
}

impl std::error::Error for BadPath {}

impl std::str::FromStr for Path {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let bad = || BadPath(text.to_owned());
        let mut rest = text.strip_prefix('$').ok_or_else(bad)?;
        let mut legs = Vec::new();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (inner, after) = inner.split_once(']').ok_or_else(bad)?;
                let quoted = |quote: char| inner.strip_prefix(quote).and_then(|inner| inner.strip_suffix(quote));
                legs.push(match (quoted('\'').or_else(|| quoted('"')), inner) {
                    (Some(key), _) => Leg::Key(key.to_owned()),
                    (None, "*") => Leg::Every,
                    (None, number) => Leg::Index(number.parse().map_err(|_| bad())?),
                });
                rest = after;
                continue;
            }
            let (deep, name) = match (rest.strip_prefix(".."), rest.strip_prefix('.')) {
                (Some(name), _) => (true, name),
                (None, Some(name)) => (false, name),
                (None, None) => return Err(bad()),
            };
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (key, after) = name.split_at(end);
            legs.push(match key {
                "" => return Err(bad()),
                "*" if !deep => Leg::Every,
                key if deep => Leg::Deep(key.to_owned()),
                key => Leg::Key(key.to_owned()),
            });
            rest = after;
        }
        Ok(Path(legs))
    }
}

impl Path {
    /// Everything the path leads to.
    ///
    /// ```
    /// let path: holdback::grade::Path = "$.items[*].id".parse().unwrap();
    /// let value = serde_json::json!({"items": [{"id": 1}, {"id": 2}]});
    /// assert_eq!(path.find(&value), [&serde_json::json!(1), &serde_json::json!(2)]);
    /// ```
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for leg in &self.0 {
            found = found.into_iter().flat_map(|value| step(value, leg)).collect();
        }
        found
    }
}

fn step<'a>(value: &'a Value, leg: &Leg) -> Vec<&'a Value> {
    match (leg, value) {
        (Leg::Key(key), value) => value.get(key).into_iter().collect(),
        (Leg::Index(index), Value::Array(items)) => {
            let at = if *index < 0 { index + items.len() as i64 } else { *index };
            usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        (Leg::Every, Value::Array(items)) => items.iter().collect(),
        (Leg::Every, Value::Object(map)) => map.values().collect(),
        (Leg::Deep(key), value) => {
            let children: Vec<&Value> = match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            };
            let deeper = children.into_iter().flat_map(|child| step(child, leg));
            value.get(key).into_iter().chain(deeper).collect()
        }
        (Leg::Index(_) | Leg::Every, _) => Vec::new(),
    }
}

/// Something stands at a path in the JSON of the text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonPath {
    /// The path, `$.order.id` say.
    path: String,
    /// What must stand there.
    #[serde(default)]
    equals: Option<Value>,
    /// A regular expression for what stands there.
    #[serde(default)]
    matches: Option<String>,
    /// How many values the path must lead to.
    #[serde(default)]
    count: Option<usize>,
    /// `false`: nothing may stand there.
    #[serde(default = "yes")]
    exists: bool,
    #[serde(default)]
    of: Subject,
}

fn yes() -> bool {
    true
}

#[derive(Debug)]
struct Compiled {
    config: JsonPath,
    path: Path,
    regex: Option<regex::Regex>,
}

impl Config for JsonPath {
    const NAME: &'static str = "json_path";
    const ABOUT: &'static str = "Something stands at a path in the JSON of the text.";
    const EXAMPLE: &'static str = "{type: json_path, path: \"$.order.id\", equals: A-17}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        let path = self.path.parse().map_err(|error: BadPath| ConfigError::at("path", error.to_string()))?;
        let regex = self.matches.as_deref().map(|pattern| compile(pattern, false)).transpose();
        let regex = regex.map_err(|error| error.within(["matches".into()]))?;
        Ok(Box::new(Compiled { config: self, path, regex }))
    }
}

impl Grader for Compiled {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        self.config.of.needs()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let text = match self.config.of.text(evidence) {
            Ok(text) => text,
            Err(graded) => return graded,
        };
        let Some(value) = json(&text) else {
            return Graded::fail(format!("{} holds no JSON: {:?}", self.config.of.name(), clip(text.trim())));
        };
        let (found, path) = (self.path.find(&value), &self.config.path);
        if !self.config.exists {
            return match found.first() {
                None => Graded::pass(),
                Some(value) => {
                    Graded::fail(format!("at {path} nothing should stand, there is {}", clip(&value.to_string())))
                }
            };
        }
        if found.is_empty() && self.config.count != Some(0) {
            return Graded::fail(format!("nothing stands at {path}"));
        }
        let mut faults = Vec::new();
        if let Some(count) = self.config.count
            && count != found.len()
        {
            faults.push(format!("{path} leads to {} values, not {count}", found.len()));
        }
        for value in found {
            if let Some(want) = self.config.equals.as_ref().filter(|want| *want != value) {
                faults.push(format!("at {path} should stand {want}, there is {}", clip(&value.to_string())));
            }
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            if self.regex.as_ref().is_some_and(|regex| !regex.is_match(&text)) {
                faults.push(format!("what stands at {path} doesn't match: {}", clip(&text)));
            }
        }
        let checks = faults.len();
        Graded::faults(faults, checks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::graded;
    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        let value = json!({"a": {"b": [1, 2, {"c d": 3}]}, "x": [{"id": 1}, {"id": 2, "in": {"id": 9}}]});
        for (path, want) in [
            ("$", vec![value.clone()]),
            ("$.a.b[0]", vec![json!(1)]),
            ("$.a.b[-1]['c d']", vec![json!(3)]),
            ("$.x[*].id", vec![json!(1), json!(2)]),
            ("$..id", vec![json!(1), json!(2), json!(9)]),
            ("$.nope.b", vec![]),
            ("$.a[0]", vec![]),
        ] {
            let found: Vec<Value> = path.parse::<Path>().unwrap().find(&value).into_iter().cloned().collect();
            assert_eq!(found, want, "{path}");
        }
        for bad in ["", "a.b", "$a", "$.", "$[", "$[x]", "$..", "$.a..[0]"] {
            assert!(bad.parse::<Path>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stands_there_is_checked() {
        for (config, pass) in [
            (json!({"type": "json_path", "path": "$.id", "equals": "A"}), true),
            (json!({"type": "json_path", "path": "$.id", "equals": "B"}), false),
            (json!({"type": "json_path", "path": "$.n", "matches": "^1"}), true),
            (json!({"type": "json_path", "path": "$.no"}), false),
            (json!({"type": "json_path", "path": "$.no", "exists": false}), true),
            (json!({"type": "json_path", "path": "$.list[*]", "count": 2}), true),
            (json!({"type": "json_path", "path": "$.list[*]", "count": 3}), false),
        ] {
            let answer = "{\"id\": \"A\", \"n\": 12, \"list\": [1, 2]}";
            assert_eq!(graded(config.clone(), answer).grade.pass(), Some(pass), "{config}");
        }
    }
}
