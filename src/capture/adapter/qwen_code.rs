//! Qwen Code, which speaks OpenAI's format.

use super::{Adapter, AdapterError, Pointed, Setting};

pub(super) struct QwenCode;

impl Adapter for QwenCode {
    fn name(&self) -> &'static str {
        "qwen-code"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["qwen", "qwen-code"]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Pointed::default();
        pointed.base_url(at, "OPENAI_BASE_URL", "openai", "/v1")?;
        pointed.base_url(at, "ANTHROPIC_BASE_URL", "anthropic", "")?;
        pointed.base_url(at, "GOOGLE_GEMINI_BASE_URL", "gemini", "")?;
        Ok(pointed)
    }
}
