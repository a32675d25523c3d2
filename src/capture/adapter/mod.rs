//! Adapters: what each agent needs so that its calls come to the proxy and nothing else about it changes. One file each.
//!
//! An adapter gives variables, arguments and, where an agent reads nothing but files, a copy of its configuration in a folder
//! that is gone after the run. No file of the user's is changed.

mod aider;
mod claude_code;
mod codex;
mod gemini_cli;
mod generic;
mod goose;
mod json;
mod opencode;
mod pi;
mod qwen_code;

use std::path::{Path, PathBuf};

use super::upstream::{BadUpstream, Live};

/// Every adapter; the first that fits is used, and `generic` fits all.
const ALL: [&dyn Adapter; 9] = [
    &claude_code::ClaudeCode,
    &codex::Codex,
    &gemini_cli::GeminiCli,
    &aider::Aider,
    &opencode::Opencode,
    &pi::Pi,
    &goose::Goose,
    &qwen_code::QwenCode,
    &generic::Generic,
];

/// Programs that run another one, named in their arguments.
const RUNNERS: [&str; 15] = [
    "node", "bun", "bunx", "deno", "npx", "npm", "pnpm", "yarn", "python", "python3", "uv", "uvx", "pipx", "env",
    "exec",
];

/// Why an agent could not be pointed at the proxy.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error("{place} names an upstream that cannot be one: {source}")]
    Address { place: String, source: BadUpstream },
    #[error("cannot read {path:?}, which says where the agent's models are: {reason}")]
    Config { path: PathBuf, reason: String },
    #[error("cannot prepare a configuration for the agent in {path:?}: {source}")]
    Scratch { path: PathBuf, source: std::io::Error },
}

/// What an adapter is told.
pub(super) struct Setting<'a> {
    /// The proxy's address for this trace.
    pub(super) base: &'a str,
    /// The command, program first.
    pub(super) command: &'a [String],
    pub(super) environment: &'a [(String, String)],
    pub(super) cwd: &'a Path,
    /// A folder of its own, gone after the run.
    pub(super) scratch: &'a Path,
}

impl Setting<'_> {
    /// A variable of the user's, unless it is empty.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A folder named by a variable, or one in the home folder.
    pub(super) fn folder(&self, variable: &str, in_home: &str) -> Option<PathBuf> {
        self.var(variable).map(PathBuf::from).or_else(|| self.var("HOME").map(|home| Path::new(home).join(in_home)))
    }
}

/// What an adapter changes.
#[derive(Debug, Default, PartialEq)]
pub struct Pointed {
    /// Variables for the child.
    pub variables: Vec<(String, String)>,
    /// Arguments put in after the agent's own name.
    pub arguments: Vec<String>,
    /// Upstreams that the user's own settings name.
    pub upstreams: Vec<(String, Live)>,
}

impl Pointed {
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Sets a base-URL variable. What the user has in it becomes the upstream; otherwise the upstream's own address holds,
    /// with `path` behind it.
    pub(super) fn base_url(
        &mut self,
        at: &Setting<'_>,
        name: &str,
        upstream: &str,
        path: &str,
    ) -> Result<(), AdapterError> {
        let address = match at.var(name) {
            Some(given) => self.redirect(at, name, upstream, given)?,
            None => format!("{}/up/{upstream}{path}", at.base),
        };
        self.set(name, address);
        Ok(())
    }

    /// The same for a variable that has no meaning unless the user set it.
    pub(super) fn base_url_if_set(&mut self, at: &Setting<'_>, name: &str, upstream: &str) -> Result<(), AdapterError> {
        match at.var(name) {
            Some(_) => self.base_url(at, name, upstream, ""),
            None => Ok(()),
        }
    }

    /// The proxy's address for an address of the user's, whose server is then the upstream `name` (or one like it, where that
    /// name has another address already).
    pub(super) fn redirect(
        &mut self,
        at: &Setting<'_>,
        place: &str,
        name: &str,
        given: &str,
    ) -> Result<String, AdapterError> {
        let bad = |source| AdapterError::Address { place: place.to_owned(), source };
        let live = Live::parse(given).map_err(bad)?;
        let path = live.prefix().to_owned();
        let live = live.without_prefix();
        let mut free = name.to_owned();
        let mut number = 1;
        while self.upstreams.iter().any(|(known, other)| *known == free && *other != live) {
            number += 1;
            free = format!("{name}-{number}");
        }
        if !self.upstreams.iter().any(|(known, _)| *known == free) {
            self.upstreams.push((free.clone(), live));
        }
        let slash = if given.ends_with('/') { "/" } else { "" };
        Ok(format!("{}/up/{free}{path}{slash}", at.base))
    }
}

/// Knows one agent.
pub(super) trait Adapter: Sync {
    /// The agent's name, as traces carry it.
    fn name(&self) -> &'static str;

    /// Names its program goes by.
    fn programs(&self) -> &'static [&'static str];

    /// Points it at the proxy.
    fn point(&self, at: &Setting<'_>) -> Result<Pointed, AdapterError>;
}

/// The adapter for a command and where in it the agent's name stands.
pub(super) fn find(command: &[String]) -> (&'static dyn Adapter, usize) {
    let generic = ALL[ALL.len() - 1];
    for (at, word) in command.iter().enumerate().take(6) {
        let name = program_name(word);
        if let Some(adapter) = ALL.into_iter().find(|adapter| adapter.programs().contains(&name)) {
            return (adapter, at);
        }
        let runs_another = RUNNERS.contains(&name) || name.starts_with("python3.");
        if at == 0 && !runs_another {
            break;
        }
    }
    (generic, 0)
}

/// `/usr/bin/aider` -> `aider`, `@openai/codex@1.2` -> `codex`, `cli.js` -> `cli`.
fn program_name(word: &str) -> &str {
    let name = word.trim_end_matches('/').rsplit('/').next().unwrap_or(word);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    [".exe", ".js", ".mjs", ".cjs", ".py", ".cmd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The variables by which programs in general find their provider: for `holdback attach` and everything without an adapter.
/// `base` is the proxy's address for one trace.
pub fn attach(base: &str) -> Vec<(String, String)> {
    let at = Setting { base, command: &[], environment: &[], cwd: Path::new(""), scratch: Path::new("") };
    generic::Generic.point(&at).map(|pointed| pointed.variables).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::capture) const BASE: &str = "http://127.0.0.1:1/hb/t";

    /// Points a command with these variables, in an empty world or one with files.
    pub(in crate::capture) fn point(command: &[&str], variables: &[(&str, &str)]) -> (&'static str, Pointed) {
        let scratch = tempfile::tempdir().unwrap();
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let environment: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (adapter, _) = find(&command);
        let at = Setting {
            base: BASE,
            command: &command,
            environment: &environment,
            cwd: scratch.path(),
            scratch: scratch.path(),
        };
        (adapter.name(), adapter.point(&at).unwrap())
    }

    pub(in crate::capture) fn var<'a>(pointed: &'a Pointed, name: &str) -> Option<&'a str> {
        pointed.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn agents_are_known_by_their_program_also_behind_a_runner() {
        for (command, name) in [
            (&["claude", "-p", "x"][..], "claude-code"),
            (&["/opt/x/node_modules/.bin/codex", "exec"], "codex"),
            (&["npx", "-y", "@openai/codex@0.169", "exec"], "codex"),
            (&["/v/bin/python", "/v/bin/aider", "--message", "x"], "aider"),
            (&["python3.11", "agent.py"], "generic"),
            (&["uvx", "--from", "aider-chat", "aider"], "aider"),
            (&["gemini"], "gemini-cli"),
            (&["bash", "-c", "claude -p x"], "generic"),
            (&["grep", "codex"], "generic"),
            (&[], "generic"),
        ] {
            let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(find(&command).0.name(), name, "{command:?}");
        }
    }

    #[test]
    fn a_variable_that_is_set_names_the_upstream() {
        let (_, pointed) = point(
            &["my-agent"],
            &[("OPENAI_BASE_URL", "http://localhost:8000/api/v1/"), ("OPENAI_API_BASE", "https://x.ai/v1")],
        );
        assert_eq!(var(&pointed, "OPENAI_BASE_URL"), Some("http://127.0.0.1:1/hb/t/up/openai/api/v1/"));
        assert_eq!(var(&pointed, "OPENAI_API_BASE"), Some("http://127.0.0.1:1/hb/t/up/openai-2/v1"));
        assert_eq!(var(&pointed, "ANTHROPIC_BASE_URL"), Some("http://127.0.0.1:1/hb/t/up/anthropic"));
        let upstreams: Vec<_> = pointed.upstreams.iter().map(|(name, live)| (name.as_str(), live.origin())).collect();
        assert_eq!(
            upstreams,
            [("openai", "http://localhost:8000".to_owned()), ("openai-2", "https://x.ai".to_owned())]
        );
    }

    #[test]
    fn attach_gives_what_programs_read() {
        let variables = attach(BASE);
        assert!(variables.contains(&("OPENAI_BASE_URL".to_owned(), format!("{BASE}/up/openai/v1"))));
        assert!(variables.contains(&("ANTHROPIC_BASE_URL".to_owned(), format!("{BASE}/up/anthropic"))));
        assert!(variables.contains(&("GOOGLE_GEMINI_BASE_URL".to_owned(), format!("{BASE}/up/gemini"))));
    }
}
