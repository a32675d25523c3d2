//! Another model, other parameters, other standing orders: the flags of `replay --from` and `ask`, read.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::Misuse;
use crate::provider::mock;
use crate::replay::{Edits, Patch};
use crate::trace::{Headers, Wire};

/// What is to be asked otherwise.
#[derive(Debug, Clone, Default, Args)]
pub struct Change {
    /// The model to ask, as PROVIDER/MODEL; anthropic, openai, gemini and mock are known, others are named with --upstream.
    /// openai-responses/MODEL asks OpenAI in its newer format
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// A parameter under the name its provider gives it; any number of them
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Standing orders in place of the recorded ones
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_patch")]
    system: Option<PathBuf>,
    /// A change to the recorded standing orders: a unified diff, or YAML with replace:, prepend:, append:
    #[arg(long, value_name = "FILE")]
    prompt_patch: Option<PathBuf>,
}

/// The same, ready for use.
#[derive(Debug, Clone, Default)]
pub struct Changed {
    pub edits: Edits,
    /// The upstream's name; the recorded one where `None`.
    pub upstream: Option<String>,
    /// Headers with the provider's key.
    pub keys: Headers,
}

impl Change {
    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.model.is_none() && self.set.is_empty() && self.system.is_none() && self.prompt_patch.is_none()
    }

    /// Only another model.
    pub fn of_model(model: &str) -> Self {
        Change { model: Some(model.to_owned()), ..Change::default() }
    }

    /// Reads files and the environment.
    pub fn read(&self, environment: &[(String, String)]) -> anyhow::Result<Changed> {
        let mut changed = Changed::default();
        for given in &self.set {
            let (key, value) = given
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| Misuse(format!("--set {given:?}: expected KEY=VALUE, like temperature=0")))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            changed.edits.set.insert(key.to_owned(), value);
        }
        changed.edits.system = self.system.as_deref().map(read_file).transpose()?;
        if let Some(path) = &self.prompt_patch {
            let patch = Patch::parse(&read_file(path)?);
            changed.edits.patch = Some(patch.map_err(|error| Misuse(format!("{}: {error}", path.display())))?);
        }
        if let Some(model) = &self.model {
            let (name, wire, upstream) = address(model)?;
            changed.keys = upstream.as_deref().map(|name| keys(name, environment)).unwrap_or_default();
            changed.edits.model = wire.map(|wire| (name, wire));
            changed.upstream = upstream;
        }
        Ok(changed)
    }
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| Misuse(format!("{}: {error}", path.display())).into())
}

/// A model's name with its provider, the wire format it is asked in, and its upstream. Mock models are asked in the format
/// of whoever asks.
fn address(model: &str) -> anyhow::Result<(String, Option<Wire>, Option<String>)> {
    if mock::is_mock(model) {
        return Ok((model.to_owned(), Some(Wire::Raw), None));
    }
    let (provider, name) = model.split_once('/').ok_or_else(|| {
        Misuse(format!("--model {model:?}: say whose it is, like openai/{model} or anthropic/{model}"))
    })?;
    let (wire, upstream) = match provider {
        "anthropic" => (Wire::AnthropicMessages, "anthropic"),
        "gemini" | "google" => (Wire::Gemini, "gemini"),
        "openai-responses" => (Wire::OpenaiResponses, "openai"),
        other => (Wire::OpenaiChat, other),
    };
    Ok((name.to_owned(), Some(wire), Some(upstream.to_owned())))
}

/// The key of a provider from the environment, under the name its own clients use, in the header it wants.
pub fn keys(provider: &str, environment: &[(String, String)]) -> Headers {
    let value = |name: &str| {
        environment.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, v)| v.clone())
    };
    let own = format!("{}_API_KEY", provider.to_uppercase().replace(['-', '.'], "_"));
    let header = match provider {
        "mock" => None,
        "anthropic" => value(&own).map(|key| ("x-api-key", key)),
        "gemini" | "google" => {
            value("GEMINI_API_KEY").or_else(|| value("GOOGLE_API_KEY")).map(|key| ("x-goog-api-key", key))
        }
        _ => value(&own).map(|key| ("authorization", format!("Bearer {key}"))),
    };
    header.map(|(name, value)| vec![(name.to_owned(), value)]).unwrap_or_default()
}
