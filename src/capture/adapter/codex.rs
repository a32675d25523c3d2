//! Codex CLI: no variable moves its address, so it gets a provider on its command line. A stock provider with another
//! address would first try a WebSocket; one of our own goes over HTTP at once.

use std::path::Path;

use super::{Adapter, AdapterError, Pointed, Setting, json};

pub(super) struct Codex;

const CHATGPT: &str = "https://chatgpt.com/backend-api/codex";

impl Adapter for Codex {
    fn name(&self) -> &'static str {
        "codex"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["codex"]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Pointed::default();
        let home = at.folder("CODEX_HOME", ".codex");
        let config = home.as_deref().map(read_config).transpose()?.unwrap_or_default();
        let overrides = overrides(at.command);
        let setting = |key: &str| {
            overrides.iter().rev().chain(config.iter()).find(|(known, _)| known == key).map(|(_, value)| value.as_str())
        };
        let profile = flag(at.command, &["-p", "--profile"]).or_else(|| setting("profile"));
        let provider = profile
            .and_then(|profile| setting(&format!("profiles.{profile}.model_provider")))
            .or_else(|| setting("model_provider"))
            .filter(|provider| *provider != "openai");
        if let Some(provider) = provider {
            let key = format!("model_providers.{provider}.base_url");
            if let Some(given) = setting(&key) {
                let address = pointed.redirect(at, &key, provider, given)?;
                pointed.arguments = vec!["-c".to_owned(), format!("{key}={}", quoted(&address))];
            }
            return Ok(pointed);
        }
        let address = match setting("openai_base_url") {
            Some(given) => pointed.redirect(at, "openai_base_url", "openai", given)?,
            None if home.as_deref().map(signed_in_with_chatgpt).transpose()?.unwrap_or(false) => {
                pointed.redirect(at, "the address of ChatGPT", "chatgpt", CHATGPT)?
            }
            None => format!("{}/up/openai/v1", at.base),
        };
        // Called OpenAI, because Codex does some things only for a provider of that name.
        let provider = format!(
            "model_providers.hb={{name=\"OpenAI\",base_url={},wire_api=\"responses\",requires_openai_auth=true}}",
            quoted(&address)
        );
        pointed.arguments = ["-c", &provider, "-c", "model_provider=\"hb\""].map(str::to_owned).to_vec();
        Ok(pointed)
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn flag<'a>(command: &'a [String], names: &[&str]) -> Option<&'a str> {
    let at = command.iter().position(|word| names.contains(&word.as_str()))?;
    command.get(at + 1).map(String::as_str)
}

/// `-c key=value` on the command line.
fn overrides(command: &[String]) -> Vec<(String, String)> {
    let pairs = command.windows(2).filter(|pair| pair[0] == "-c" || pair[0] == "--config");
    pairs.filter_map(|pair| key_value(&pair[1])).collect()
}

fn read_config(home: &Path) -> Result<Vec<(String, String)>, AdapterError> {
    let path = home.join("config.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(texts_of(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(AdapterError::Config { path, reason: error.to_string() }),
    }
}

/// The texts in a TOML file, by their full keys. Enough for addresses and names of providers; the rest is not looked at.
fn texts_of(toml: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in toml.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            section = format!("{}.", name.trim_matches('[').replace('"', "").trim());
        } else if let Some((key, value)) = key_value(line) {
            if value.starts_with('{') {
                let inner = value.trim_matches(['{', '}']).split(',').filter_map(key_value);
                found.extend(inner.map(|(inner, value)| (format!("{section}{key}.{inner}"), value)));
            } else {
                found.push((format!("{section}{key}"), value));
            }
        }
    }
    found
}

/// `key = "text" # comment` -> key, text.
fn key_value(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim().replace('"', ""), value.trim());
    if key.is_empty() || key.starts_with('#') {
        return None;
    }
    let text = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next().unwrap_or_default(),
        '{' => value,
        _ => value.split('#').next().unwrap_or_default().trim(),
    };
    Some((key, text.to_owned()))
}

fn signed_in_with_chatgpt(home: &Path) -> Result<bool, AdapterError> {
    let auth = json::read(&home.join("auth.json"))?.unwrap_or_default();
    let has = |key: &str| auth.get(key).is_some_and(|value| !value.is_null());
    Ok(auth.get("auth_mode").is_some_and(|mode| mode == "chatgpt") || (has("tokens") && !has("OPENAI_API_KEY")))
}

#[cfg(test)]
mod tests {
    use crate::capture::adapter::tests::{BASE, point};

    #[test]
    fn a_stock_codex_gets_a_provider_of_ours() {
        let (_, pointed) = point(&["codex", "exec", "x"], &[]);
        let provider = format!(
            "model_providers.hb={{name=\"OpenAI\",base_url=\"{BASE}/up/openai/v1\",wire_api=\"responses\",requires_openai_auth=true}}"
        );
        assert_eq!(pointed.arguments, ["-c", &provider, "-c", "model_provider=\"hb\""]);
    }

    #[test]
    fn a_provider_of_the_users_own_keeps_everything_but_its_address() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_string_lossy().into_owned();
        let toml = "model = \"m\"\nmodel_provider = \"fake\" # mine\n[model_providers.fake]\nname = \"fake\"\nbase_url = 'http://127.0.0.1:9/v1'\n";
        for toml in [
            toml,
            "model_provider=\"fake\"\n[model_providers]\nfake = { name = \"f\", base_url = \"http://127.0.0.1:9/v1\" }",
        ] {
            std::fs::write(home.path().join("config.toml"), toml).unwrap();
            let (_, pointed) = point(&["codex"], &[("CODEX_HOME", &path)]);
            assert_eq!(pointed.arguments, ["-c", &format!("model_providers.fake.base_url=\"{BASE}/up/fake/v1\"")]);
            assert_eq!(pointed.upstreams[0].1.origin(), "http://127.0.0.1:9");
        }
        std::fs::write(home.path().join("config.toml"), "openai_base_url = \"http://h:1/v1\"").unwrap();
        let (_, pointed) = point(&["codex"], &[("CODEX_HOME", &path)]);
        assert!(pointed.arguments[1].contains(&format!("base_url=\"{BASE}/up/openai/v1\"")));
        std::fs::write(home.path().join("config.toml"), "").unwrap();
        std::fs::write(home.path().join("auth.json"), r#"{"OPENAI_API_KEY":null,"tokens":{"id_token":"x"}}"#).unwrap();
        let (_, pointed) = point(&["codex"], &[("CODEX_HOME", &path)]);
        assert!(pointed.arguments[1].contains(&format!("base_url=\"{BASE}/up/chatgpt/backend-api/codex\"")));
    }
}
