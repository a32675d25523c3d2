//! goose: hosts instead of base URLs, the path in a variable of its own that may stay as it is.

use super::{Adapter, AdapterError, Pointed, Setting};

pub(super) struct Goose;

impl Adapter for Goose {
    fn name(&self) -> &'static str {
        "goose"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["goose"]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Pointed::default();
        pointed.base_url(at, "OPENAI_HOST", "openai", "")?;
        pointed.base_url(at, "ANTHROPIC_HOST", "anthropic", "")?;
        pointed.base_url(at, "GOOGLE_HOST", "gemini", "")?;
        for (name, upstream) in [
            ("OPENROUTER_HOST", "openrouter"),
            ("DATABRICKS_HOST", "databricks"),
            ("LITELLM_HOST", "litellm"),
            ("AZURE_OPENAI_ENDPOINT", "azure"),
        ] {
            pointed.base_url_if_set(at, name, upstream)?;
        }
        if at.var("OLLAMA_HOST").is_some_and(|host| host.contains("://")) {
            pointed.base_url(at, "OLLAMA_HOST", "ollama", "")?;
        }
        Ok(pointed)
    }
}
