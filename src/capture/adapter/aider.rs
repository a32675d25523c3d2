//! aider, which finds its models through litellm.

use super::{Adapter, AdapterError, Pointed, Setting, generic::Generic};

pub(super) struct Aider;

impl Adapter for Aider {
    fn name(&self) -> &'static str {
        "aider"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["aider"]
    }

    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError> {
        let mut pointed = Generic.point(at)?;
        // An address on the command line wins over every variable.
        let flag = |name: &str| {
            let at_flag = at.command.iter().position(|word| word == name || word.starts_with(&format!("{name}=")))?;
            let word = &at.command[at_flag];
            word.split_once('=').map(|(_, value)| value).or_else(|| at.command.get(at_flag + 1).map(String::as_str))
        };
        if let Some(given) = flag("--openai-api-base") {
            let address = pointed.redirect(at, "--openai-api-base", "openai", given)?;
            pointed.arguments = vec!["--openai-api-base".to_owned(), address];
        }
        Ok(pointed)
    }
}
