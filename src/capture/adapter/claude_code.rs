//! Claude Code.

use super::{Adapter, AdapterError, Pointed, Setting};

pub(super) struct ClaudeCode;

impl Adapter for ClaudeCode {
    fn name(&self) -> &'static str {
        "claude-code"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["claude", "claude-code"]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Pointed::default();
        pointed.base_url(at, "ANTHROPIC_BASE_URL", "anthropic", "")?;
        pointed.base_url_if_set(at, "ANTHROPIC_BEDROCK_BASE_URL", "bedrock")?;
        pointed.base_url_if_set(at, "ANTHROPIC_VERTEX_BASE_URL", "vertex")?;
        // Behind an address it doesn't know it stops searching tools and sends them all. It would have searched, so it shall.
        let first_party = at.var("ANTHROPIC_BASE_URL").is_none_or(|url| url.contains("://api.anthropic.com"));
        if first_party && at.var("ENABLE_TOOL_SEARCH").is_none() {
            pointed.set("ENABLE_TOOL_SEARCH", "true");
        }
        Ok(pointed)
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::adapter::tests::{BASE, point, var};

    #[test]
    fn tool_search_stays_as_it_would_have_been() {
        let (_, pointed) = point(&["claude"], &[]);
        assert_eq!(var(&pointed, "ANTHROPIC_BASE_URL"), Some(format!("{BASE}/up/anthropic").as_str()));
        assert_eq!(var(&pointed, "ENABLE_TOOL_SEARCH"), Some("true"));
        let (_, pointed) = point(&["claude"], &[("ENABLE_TOOL_SEARCH", "auto")]);
        assert_eq!(var(&pointed, "ENABLE_TOOL_SEARCH"), None);
        let (_, pointed) = point(&["claude"], &[("ANTHROPIC_BASE_URL", "http://gateway:1")]);
        assert_eq!(var(&pointed, "ENABLE_TOOL_SEARCH"), None);
    }
}
