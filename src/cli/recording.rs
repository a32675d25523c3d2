//! What `record`, `proxy` and `eval` have in common: the settings of the recording proxy, from flags and a config file.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::Misuse;
use crate::capture::{Brakes, ProxyConfig, Upstreams};
use crate::price::Table;
use crate::redact::{Pattern, Redactor, Rules};
use crate::store::log::Store;
use crate::trace::Content;

/// The config file that is read when it is there.
const CONFIG: &str = "holdback.yaml";
/// Random bytes of a store that make its placeholders its own.
const SALT: &str = "salt";

/// Flags of everything that records.
#[derive(Debug, Clone, Default, Args)]
pub struct Recording {
    /// Settings for recording: upstreams, prices, redact, content, brakes [default: holdback.yaml, when it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where a provider is, by name; replaces a known one (anthropic, openai, gemini) or adds one
    #[arg(long, value_name = "NAME=URL")]
    upstream: Vec<String>,
    /// How much of what is said is kept
    #[arg(long, value_enum)]
    content: Option<Keep>,
    /// Prices that replace or add to the built-in table
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Refuse calls that can't be recorded, instead of letting them pass and counting them
    #[arg(long)]
    strict: bool,
}

/// How much of what is said is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Bodies as they are (authorisation headers and cookies are never kept)
    Full,
    /// Everything but what looks like a secret
    Redacted,
    /// Shapes, counts, tool names; no text
    None,
}

impl From<Keep> for Content {
    fn from(keep: Keep) -> Content {
        match keep {
            Keep::Full => Content::Full,
            Keep::Redacted => Content::Redacted,
            Keep::None => Content::None,
        }
    }
}

/// Limits, off unless given.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Refuse every call after this many
    #[arg(long, value_name = "N")]
    max_calls: Option<u64>,
    /// Refuse every call once this many US dollars are spent
    #[arg(long, value_name = "USD")]
    max_cost: Option<f64>,
    /// Refuse every call once this many tokens were read and written
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Refuse every call after this long
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<f64>,
    /// Refuse every call once the loop goes round in circles
    #[arg(long, value_name = "WHAT")]
    stop_on: Option<StopOn>,
}

/// A pattern that stops a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopOn {
    /// The same call with the same result again and again
    Stuck,
}

impl Limits {
    /// These, and `other` where these say nothing.
    fn or(self, other: Limits) -> Brakes {
        Brakes {
            max_calls: self.max_calls.or(other.max_calls),
            max_cost: self.max_cost.or(other.max_cost),
            max_tokens: self.max_tokens.or(other.max_tokens),
            max_minutes: self.max_minutes.or(other.max_minutes),
            stop_on_stuck: self.stop_on.or(other.stop_on).is_some(),
        }
    }
}

/// The config file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    upstreams: BTreeMap<String, String>,
    content: Option<Keep>,
    prices: Option<PathBuf>,
    redact: Vec<Hidden>,
    brakes: Limits,
}

/// A pattern of the user's to redact.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hidden {
    name: String,
    regex: String,
}

/// Everything a recording proxy needs to know.
pub struct Settings {
    pub proxy: ProxyConfig,
    pub brakes: Brakes,
}

impl Recording {
    /// What of it means something for traces that are brought in.
    pub fn for_import(config: Option<PathBuf>, content: Option<Keep>, prices: Option<PathBuf>) -> Self {
        Recording { config, content, prices, ..Recording::default() }
    }

    /// Reads config and flags; flags win.
    pub fn settings(&self, store: &Store, limits: Limits) -> anyhow::Result<Settings> {
        let config = self.read_config()?;
        let mut upstreams = Upstreams::known();
        for (name, url) in &config.upstreams {
            upstreams.set_url(name, url).map_err(|error| Misuse(format!("upstreams.{name}: {error}")))?;
        }
        for given in &self.upstream {
            let (name, url) = given.split_once('=').ok_or_else(|| {
                Misuse(format!("--upstream {given:?}: expected NAME=URL, like openai=http://127.0.0.1:8000"))
            })?;
            upstreams.set_url(name, url).map_err(|error| Misuse(format!("--upstream {given:?}: {error}")))?;
        }
        let patterns = config.redact.into_iter().map(|hidden| Pattern { name: hidden.name, regex: hidden.regex });
        let rules = Rules { salt: salt(store)?, patterns: patterns.collect() };
        let redactor = Redactor::new(&rules).map_err(|error| Misuse(error.to_string()))?;
        let mut proxy = ProxyConfig::new(upstreams, Arc::new(redactor));
        proxy.content = self.content.or(config.content).unwrap_or(Keep::Redacted).into();
        proxy.prices = prices(self.prices.as_deref().or(config.prices.as_deref()))?;
        proxy.strict = self.strict;
        proxy.spill = Some(store.dir().to_owned());
        Ok(Settings { proxy, brakes: limits.or(config.brakes) })
    }

    /// The prices that calls would be counted with.
    pub fn table(&self) -> anyhow::Result<Table> {
        let config = self.read_config()?;
        prices(self.prices.as_deref().or(config.prices.as_deref()))
    }

    fn read_config(&self) -> anyhow::Result<Config> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None if Path::new(CONFIG).is_file() => PathBuf::from(CONFIG),
            None => return Ok(Config::default()),
        };
        let text = fs::read_to_string(&path).map_err(|error| Misuse(format!("{}: {error}", path.display())))?;
        Ok(serde_saphyr::from_str(&text).map_err(|error| Misuse(format!("{}: {error}", path.display())))?)
    }
}

/// The built-in prices, with the user's own over them.
pub fn prices(file: Option<&Path>) -> anyhow::Result<Table> {
    let Some(path) = file else { return Ok(Table::embedded()) };
    let text = fs::read_to_string(path).map_err(|error| Misuse(format!("{}: {error}", path.display())))?;
    let table = Table::parse(&text).map_err(|error| Misuse(format!("{}: {error}", path.display())))?;
    Ok(Table::embedded().with(table))
}

/// A store's own random bytes, made at first use. Two processes that make them at once agree on one.
fn salt(store: &Store) -> anyhow::Result<Vec<u8>> {
    let path = store.dir().join(SALT);
    let doing = || format!("the salt of the store's placeholders, {}", path.display());
    loop {
        match fs::read(&path) {
            Ok(salt) if !salt.is_empty() => return Ok(salt),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(doing),
        }
        let mut fresh = [0_u8; 32];
        getrandom::fill(&mut fresh).map_err(|error| anyhow::anyhow!("no random numbers to be had: {error}"))?;
        // tempfile makes its files 0600.
        let mut file = tempfile::NamedTempFile::new_in(store.dir()).with_context(doing)?;
        file.write_all(&fresh).with_context(doing)?;
        match file.persist_noclobber(&path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error).with_context(doing),
        }
    }
}
