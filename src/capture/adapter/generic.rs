//! Any program: every base-URL variable that a client library is known to read.

use super::{Adapter, AdapterError, Pointed, Setting};

pub(super) struct Generic;

/// Set always: variable, upstream, path behind the upstream's address.
pub(super) const ALWAYS: [(&str, &str, &str); 5] = [
    ("ANTHROPIC_BASE_URL", "anthropic", ""),
    ("OPENAI_BASE_URL", "openai", "/v1"),
    ("OPENAI_API_BASE", "openai", "/v1"),
    ("GOOGLE_GEMINI_BASE_URL", "gemini", ""),
    ("ANTHROPIC_API_BASE", "anthropic", ""),
];

/// Redirected only where the user has set them: without an address of the user's they mean nothing.
pub(super) const IF_SET: [(&str, &str); 19] = [
    ("AZURE_OPENAI_ENDPOINT", "azure"),
    ("AZURE_API_BASE", "azure"),
    ("OPENROUTER_BASE_URL", "openrouter"),
    ("OPENROUTER_API_BASE", "openrouter"),
    ("MISTRAL_API_BASE", "mistral"),
    ("GROQ_BASE_URL", "groq"),
    ("GROQ_API_BASE", "groq"),
    ("DEEPSEEK_API_BASE", "deepseek"),
    ("XAI_API_BASE", "xai"),
    ("TOGETHER_BASE_URL", "together"),
    ("OLLAMA_API_BASE", "ollama"),
    ("OLLAMA_BASE_URL", "ollama"),
    ("LITELLM_PROXY_API_BASE", "litellm"),
    ("HOSTED_VLLM_API_BASE", "vllm"),
    ("GEMINI_API_BASE", "gemini"),
    ("GOOGLE_VERTEX_BASE_URL", "vertex"),
    ("CODE_ASSIST_ENDPOINT", "code-assist"),
    ("ANTHROPIC_BEDROCK_BASE_URL", "bedrock"),
    ("ANTHROPIC_VERTEX_BASE_URL", "vertex"),
];

impl Adapter for Generic {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Pointed::default();
        // Programs read one of the two and ignore the other: whichever the user has set holds for both.
        let openai = at.var("OPENAI_BASE_URL").or_else(|| at.var("OPENAI_API_BASE"));
        let anthropic = at.var("ANTHROPIC_BASE_URL").or_else(|| at.var("ANTHROPIC_API_BASE"));
        for (name, upstream, path) in ALWAYS {
            let stand_in = match upstream {
                "openai" => openai,
                "anthropic" => anthropic,
                _ => None,
            };
            match (at.var(name), stand_in) {
                (None, Some(given)) => {
                    let address = pointed.redirect(at, name, upstream, given)?;
                    pointed.set(name, address);
                }
                _ => pointed.base_url(at, name, upstream, path)?,
            }
        }
        for (name, upstream) in IF_SET {
            pointed.base_url_if_set(at, name, upstream)?;
        }
        Ok(pointed)
    }
}
