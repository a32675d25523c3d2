//! Gemini CLI: with a key, or signed in with Google (then its calls go to Code Assist).

use super::{Adapter, AdapterError, Pointed, Setting};

pub(super) struct GeminiCli;

const CODE_ASSIST: &str = "https://cloudcode-pa.googleapis.com";

impl Adapter for GeminiCli {
    fn name(&self) -> &'static str {
        "gemini-cli"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["gemini", "gemini-cli"]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Pointed::default();
        pointed.base_url(at, "GOOGLE_GEMINI_BASE_URL", "gemini", "")?;
        pointed.base_url_if_set(at, "GOOGLE_VERTEX_BASE_URL", "vertex")?;
        let code_assist = at.var("CODE_ASSIST_ENDPOINT").unwrap_or(CODE_ASSIST);
        let address = pointed.redirect(at, "CODE_ASSIST_ENDPOINT", "code-assist", code_assist)?;
        pointed.set("CODE_ASSIST_ENDPOINT", address);
        Ok(pointed)
    }
}
