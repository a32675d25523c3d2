//! How a grader's configuration is read and checked, the same way for all.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::suite::{Step, nearest};

/// What is wrong with a grader's configuration, with the way to it from the grader's own place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub path: Vec<Step>,
    /// The key that is wrong, when it is the key and not its value.
    pub key: Option<String>,
    pub message: String,
    pub help: Option<String>,
}

impl ConfigError {
    /// A configuration that is wrong as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        ConfigError { path: Vec::new(), key: None, message: message.into(), help: None }
    }

    /// The value of a key is wrong.
    pub fn at(key: &str, message: impl Into<String>) -> Self {
        ConfigError { path: vec![key.into()], ..ConfigError::new(message) }
    }

    /// With words on what would help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error seen from further out.
    #[must_use]
    pub fn within(mut self, outer: impl IntoIterator<Item = Step>) -> Self {
        self.path = outer.into_iter().chain(self.path).collect();
        self
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Reads a configuration; serde's messages become ours.
pub(super) fn read<C: DeserializeOwned>(value: &Value) -> Result<C, ConfigError> {
    serde_json::from_value(value.clone()).map_err(|error| explain(&error.to_string(), value))
}

/// Turns "unknown field `x`, expected one of `a`, `b`" into an error that stands at its key.
fn explain(message: &str, value: &Value) -> ConfigError {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let word = quoted.next();
    match word {
        Some(field) if message.starts_with("unknown field") => {
            let known: Vec<&str> = quoted.collect();
            let help = match nearest(field, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None if known.is_empty() => "it takes no keys here".to_owned(),
                None => format!("expected one of {}", known.join(", ")),
            };
            let mut path = Vec::new();
            find_key(value, field, &mut path);
            let message = format!("unknown key {field:?}");
            ConfigError { path, key: Some(field.to_owned()), message, help: Some(help) }
        }
        Some(field) if message.starts_with("missing field") => {
            ConfigError::new(format!("the key {field:?} is missing"))
        }
        Some(word) if message.starts_with("unknown variant") => {
            let known: Vec<&str> = quoted.collect();
            let help = match nearest(word, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("expected one of {}", known.join(", ")),
            };
            ConfigError::new(format!("{word:?} is not known here")).help(help)
        }
        _ => ConfigError::new(message),
    }
}

/// The way to the first map that has the key.
fn find_key(value: &Value, key: &str, path: &mut Vec<Step>) -> bool {
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(map) if map.contains_key(key) => return true,
        Value::Object(map) => map.iter().map(|(name, child)| (name.as_str().into(), child)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, child)| (index.into(), child)).collect(),
        _ => return false,
    };
    for (step, child) in children {
        path.push(step);
        if find_key(child, key, path) {
            return true;
        }
        path.pop();
    }
    false
}
