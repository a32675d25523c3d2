//! opencode: it merges the configuration in `OPENCODE_CONFIG_CONTENT` over all its files.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Adapter, AdapterError, Pointed, Setting, json as files};

pub(super) struct Opencode;

const CONTENT: &str = "OPENCODE_CONFIG_CONTENT";
/// Providers it knows by itself: name, variable with the key, upstream, path behind the upstream's address.
const BUILT_IN: [(&str, &str, &str, &str); 4] = [
    ("anthropic", "ANTHROPIC_API_KEY", "anthropic", "/v1"),
    ("openai", "OPENAI_API_KEY", "openai", "/v1"),
    ("google", "GOOGLE_GENERATIVE_AI_API_KEY", "gemini", "/v1beta"),
    ("google", "GEMINI_API_KEY", "gemini", "/v1beta"),
];

impl Adapter for Opencode {
    fn name(&self) -> &'static str {
        "opencode"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["opencode", "opencode-ai"]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Pointed::default();
        let mut content = match at.var(CONTENT) {
            Some(text) => files::parse(text)
                .map_err(|error| AdapterError::Config { path: CONTENT.into(), reason: error.to_string() })?,
            None => json!({}),
        };
        let mut addresses: Map<String, Value> = Map::new();
        let signed_in = signed_in(at)?;
        for (name, key, upstream, path) in BUILT_IN {
            // Naming a provider that the user has no key for would make it look available.
            if at.var(key).is_some() || signed_in.get(name).is_some() {
                addresses.insert(name.to_owned(), format!("{}/up/{upstream}{path}", at.base).into());
            }
        }
        let mut configs: Vec<Value> = Vec::new();
        for path in config_files(at) {
            configs.extend(files::read(&path)?);
        }
        configs.push(content.clone());
        for config in &configs {
            for (name, provider) in config.get("provider").and_then(Value::as_object).into_iter().flatten() {
                if let Some(given) = provider.pointer("/options/baseURL").and_then(Value::as_str) {
                    let address = pointed.redirect(at, &format!("provider.{name}.options.baseURL"), name, given)?;
                    addresses.insert(name.clone(), address.into());
                }
            }
        }
        for (name, address) in addresses {
            content["provider"][name]["options"]["baseURL"] = address;
        }
        pointed.set(CONTENT, content.to_string());
        Ok(pointed)
    }
}

fn signed_in(at: &Setting<'_>) -> Result<Value, AdapterError> {
    let Some(data) = at.folder("XDG_DATA_HOME", ".local/share") else { return Ok(Value::Null) };
    Ok(files::read(&data.join("opencode/auth.json"))?.unwrap_or_default())
}

/// Where its configuration can be, the later over the earlier.
fn config_files(at: &Setting<'_>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut both = |folder: &Path| found.extend(["opencode.json", "opencode.jsonc"].map(|name| folder.join(name)));
    if let Some(config) = at.folder("XDG_CONFIG_HOME", ".config") {
        both(&config.join("opencode"));
    }
    let above: Vec<&Path> = at.cwd.ancestors().collect();
    above.into_iter().rev().for_each(both);
    found.extend(at.var("OPENCODE_CONFIG").map(PathBuf::from));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::adapter::tests::{BASE, point, var};

    #[test]
    fn providers_with_a_key_or_an_address_are_redirected_and_no_others_named() {
        let given = r#"{"provider":{"mine":{"npm":"x","options":{"baseURL":"http://h:1/v1"}}},"model":"mine/m"}"#;
        let (_, pointed) = point(&["opencode", "run"], &[(CONTENT, given), ("OPENAI_API_KEY", "k")]);
        let content: Value = serde_json::from_str(var(&pointed, CONTENT).unwrap()).unwrap();
        let expected = json!({ "model": "mine/m", "provider": {
            "mine": { "npm": "x", "options": { "baseURL": format!("{BASE}/up/mine/v1") } },
            "openai": { "options": { "baseURL": format!("{BASE}/up/openai/v1") } },
        } });
        assert_eq!(content, expected);
    }
}
