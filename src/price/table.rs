//! The table of prices and how a model's name is looked up in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::trace::Usage;

/// The provider of holdback's own mock models.
const MOCK: &str = "mock";

/// A price file that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BadTable {
    #[error("the price file is not readable: {0}")]
    Unreadable(#[from] Box<serde_saphyr::Error>),
    #[error("the price file has no `date`: say when its prices were true, as YYYY-MM-DD")]
    NoDate,
    #[error("price of {provider}/{model}: `{field}` is {value}, expected US dollars per million tokens, 0 or more")]
    NotAPrice { provider: String, model: String, field: &'static str, value: f64 },
}

/// What a model costs, in US dollars per million tokens. A field that is missing is not known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Tokens read fresh.
    pub input: f64,
    /// Tokens written; missing for models that only read (embeddings).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    /// Writing to the cache, for five minutes where the provider has several lifetimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Writing to the cache for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<f64>,
    /// Reasoning, where it costs other than output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<f64>,
    /// Another price for requests that read more than so many tokens, caches included. It holds for every token of
    /// such a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<Box<Long>>,
}

/// The price of long requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Long {
    /// Requests that read more tokens than this.
    pub over: u64,
    /// Missing when it is only known that the price is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// Where a provider's prices come from, and its models.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    /// The page the prices were read from, and anything a reader should know.
    #[serde(default)]
    source: String,
    /// Other names of the provider before a model's name: `gemini/...` for google, say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    models: BTreeMap<String, Price>,
}

/// Prices, with their date and where they came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The day on which all of these prices were true.
    #[serde(default)]
    date: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    providers: BTreeMap<String, Provider>,
}

impl Table {
    /// The prices this version of holdback was built with.
    pub fn embedded() -> Self {
        Table::parse(include_str!("prices.yaml")).expect("our own table, held by the tests")
    }

    /// Reads a price file.
    ///
    /// # Errors
    /// When it isn't YAML of this shape, has no date, or a price isn't a number of dollars.
    pub fn parse(text: &str) -> Result<Self, BadTable> {
        let table: Table = serde_saphyr::from_str(text).map_err(Box::new)?;
        if table.date.is_empty() {
            return Err(BadTable::NoDate);
        }
        for (provider, entry) in &table.providers {
            for (model, price) in &entry.models {
                price.check(provider, model)?;
            }
        }
        Ok(table)
    }

    /// This table with another laid over it: the other's models, date and source win.
    #[must_use]
    pub fn with(mut self, over: Table) -> Self {
        self.source = format!("{} ({}), over {} ({})", over.source, over.date, self.source, self.date);
        self.date = over.date;
        for (name, entry) in over.providers {
            let mine = self.providers.entry(name).or_default();
            mine.models.extend(entry.models);
            mine.aliases.extend(entry.aliases);
            if !entry.source.is_empty() {
                mine.source = entry.source;
            }
        }
        self
    }

    /// The day on which the prices were true.
    pub fn date(&self) -> &str {
        &self.date
    }

    /// Where the prices came from, in a sentence.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where the price of a model came from.
    pub fn source_of(&self, model: &str) -> Option<&str> {
        self.find(model).map(|(provider, _)| provider.source.as_str())
    }

    /// A hash over everything in the table: equal fingerprints give equal costs.
    pub fn fingerprint(&self) -> String {
        let text = serde_json::to_vec(self).expect("strings and finite numbers");
        Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The price of a model, by its exact name, else without a date at its end; with a provider's name before it or not.
    pub fn price(&self, model: &str) -> Option<&Price> {
        self.find(model).map(|(_, price)| price)
    }

    /// What a call cost, in US dollars; `None` when the model has no price, the provider didn't say what was used, or a
    /// kind of token was used that the table has no price for.
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<f64> {
        self.price(model)?.cost(usage, 0)
    }

    /// The same, with the usage object as the provider sent it. It tells what one vocabulary for all leaves out: tokens
    /// cached for an hour cost more, and what is billed otherwise (batch, priority and fast calls, a region of one's
    /// choice, searches on the provider's side) has no price here.
    pub fn cost_with(&self, model: &str, usage: &Usage, raw: &Value) -> Option<f64> {
        let word = |name: &str| raw.get(name).and_then(Value::as_str).unwrap_or("");
        let usual = matches!(word("service_tier"), "" | "standard" | "default" | "auto")
            && matches!(word("speed"), "" | "standard")
            && matches!(word("inference_geo"), "" | "global" | "not_available");
        let extras = raw.get("server_tool_use").and_then(Value::as_object);
        let extras = extras.is_some_and(|uses| uses.values().any(|count| count.as_u64().unwrap_or(0) > 0));
        if !usual || extras {
            return None;
        }
        let hour = raw.pointer("/cache_creation/ephemeral_1h_input_tokens").and_then(Value::as_u64).unwrap_or(0);
        self.price(model)?.cost(usage, hour)
    }

    fn find(&self, model: &str) -> Option<(&Provider, &Price)> {
        if let Some((prefix, rest)) = model.split_once('/') {
            let known =
                |(name, entry): &(&String, &Provider)| *name == prefix || entry.aliases.iter().any(|a| a == prefix);
            if let Some((_, provider)) = self.providers.iter().find(known) {
                return provider.find(rest).map(|price| (provider, price));
            }
        }
        // Made-up models have their provider's name before their own, always.
        let real = self.providers.iter().filter(|(name, _)| *name != MOCK);
        let mut found = real.filter_map(|(_, p)| Some((p, p.find(model)?)));
        let first = found.next()?;
        // The same name at two prices: nobody here can tell which was paid.
        found.all(|(_, price)| price == first.1).then_some(first)
    }
}

impl Provider {
    fn find(&self, model: &str) -> Option<&Price> {
        let model = model.strip_prefix("models/").unwrap_or(model);
        // What follows the name of a mock model is how it behaves: `script:FILE`, `flaky?p=0.5`.
        let model = model.split([':', '?']).next().unwrap_or(model);
        self.models.get(model).or_else(|| self.models.get(without_date(model)?))
    }
}

/// `claude-sonnet-4-5-20250929`, `claude-sonnet-4-5@20250929` and `gpt-5-2025-08-07` without the date.
fn without_date(model: &str) -> Option<&str> {
    let digits = model.bytes().rev().take_while(|b| b.is_ascii_digit() || *b == b'-').count();
    let (name, tail) = model.split_at(model.len() - digits);
    let (name, tail) = match name.strip_suffix('@') {
        Some(name) => (name, tail),
        // The name may itself end in digits: only a whole date counts.
        None => {
            let dated = |len: usize| tail.len() > len && tail.as_bytes()[tail.len() - len - 1] == b'-';
            let len = [10, 8].into_iter().find(|len| dated(*len) && is_date(&tail[tail.len() - len..]))?;
            (&model[..model.len() - len - 1], &tail[tail.len() - len..])
        }
    };
    is_date(tail).then_some(name)
}

fn is_date(text: &str) -> bool {
    let plain: String = match text.len() {
        8 => text.to_owned(),
        10 if text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' => text.replace('-', ""),
        _ => return false,
    };
    let month = plain.get(4..6).and_then(|m| m.parse::<u8>().ok());
    plain.len() == 8 && plain.starts_with("20") && month.is_some_and(|m| (1..=12).contains(&m))
}

impl Price {
    /// What a call with this usage cost, `hour` of its cache writes having been for an hour.
    fn cost(&self, usage: &Usage, hour: u64) -> Option<f64> {
        let input = usage.input?;
        let (read, written) = (usage.cache_read.unwrap_or(0), usage.cache_write.unwrap_or(0));
        let price = match &self.long {
            Some(long) if input + read + written > long.over => long.price.as_ref()?,
            _ => self,
        };
        // Models that only read have no output price, and their providers don't count output.
        let output = if price.output.is_none() { usage.output.unwrap_or(0) } else { usage.output? };
        let reasoning = if price.reasoning.is_some() { usage.reasoning?.min(output) } else { 0 };
        let hour = hour.min(written);
        let parts = [
            (input, Some(price.input)),
            (output - reasoning, price.output),
            (reasoning, price.reasoning),
            (read, price.cache_read),
            (written - hour, price.cache_write),
            (hour, price.cache_write_1h),
        ];
        let mut dollars = 0.0;
        for (tokens, per_million) in parts {
            if tokens > 0 {
                #[expect(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
                let tokens = tokens as f64;
                dollars += tokens * per_million? / 1e6;
            }
        }
        Some(dollars)
    }

    fn check(&self, provider: &str, model: &str) -> Result<(), BadTable> {
        let fields = [
            ("input", Some(self.input)),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_write", self.cache_write),
            ("cache_write_1h", self.cache_write_1h),
            ("reasoning", self.reasoning),
        ];
        for (field, value) in fields {
            if let Some(value) = value
                && !(value.is_finite() && value >= 0.0)
            {
                return Err(BadTable::NotAPrice { provider: provider.into(), model: model.into(), field, value });
            }
        }
        let long = self.long.as_ref().and_then(|long| long.price.as_ref());
        long.map_or(Ok(()), |price| price.check(provider, model))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Usage {
        let some = |n| Some(n).filter(|n| *n > 0);
        Usage {
            input: Some(input),
            output: Some(output),
            cache_read: some(cache_read),
            cache_write: some(cache_write),
            ..Usage::default()
        }
    }

    fn close(cost: Option<f64>, expected: f64) {
        let cost = cost.expect("a price");
        assert!((cost - expected).abs() < 1e-12, "{cost} is not {expected}");
    }

    #[test]
    fn the_sum_counts_every_kind_of_token_once() {
        let table = Table::embedded();
        close(table.cost("claude-sonnet-5-5", &usage(1000, 500, 20_000, 3000)), 0.002 + 0.005 + 0.002 + 0.0075);
        let raw = json!({"cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000}});
        close(table.cost_with("claude-sonnet-5-5", &usage(0, 0, 0, 3000), &raw), 0.0025 + 0.008);
        close(table.cost("text-embedding-3-small", &Usage { input: Some(1_000_000), ..Usage::default() }), 0.02);
    }

    #[test]
    fn long_requests_have_their_own_price_for_every_token() {
        let table = Table::embedded();
        close(table.cost("claude-haiku-5-5", &usage(100_000, 0, 0, 0)), 0.01);
        close(table.cost("claude-haiku-5-5", &usage(1, 1000, 100_000, 0)), 0.000_000_5 + 0.0025 + 0.005);
        assert_eq!(table.cost("gpt-6.1-sol", &usage(272_001, 1, 0, 0)), None, "dearer, and nobody said how much");
    }

    #[test]
    fn names_are_found_exactly_or_without_a_date_and_never_guessed() {
        let table = Table::embedded();
        for (name, same_as) in [
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("anthropic/claude-opus-5-5", "claude-opus-5-5"),
            ("openai/gpt-5-2025-08-07", "gpt-5"),
            ("gpt-6.1-sol-2026-09-29", "gpt-6.1-sol"),
            ("gemini/gemini-2.5-pro", "gemini-2.5-pro"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("google/models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("mock/script:answers.yaml", "mock/echo"),
            ("mock/flaky?p=0.5&seed=1", "mock/echo"),
        ] {
            assert!(table.price(name).is_some() && table.price(name) == table.price(same_as), "{name}");
        }
        for unknown in [
            "gpt-7",
            "gpt-5-turbo",
            "claude-sonnet",
            "echo",
            "",
            "/",
            "azure/gpt-5",
            "openai/claude-opus-5",
            "gpt-5-20259999",
            "gpt-5-",
            "claude-sonnet-4-5-2025092",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ] {
            assert_eq!(table.price(unknown), None, "{unknown}");
        }
        assert_ne!(table.price("gpt-4o-2024-05-13"), table.price("gpt-4o"), "a dated model with a price of its own");
        assert!(table.source_of("mock/echo").is_some_and(|source| source.contains("invented")));
    }

    #[test]
    fn what_is_not_known_has_no_cost_rather_than_a_part_of_one() {
        let table = Table::embedded();
        let half = Usage { input: Some(10), ..Usage::default() };
        assert_eq!(table.cost("gpt-5", &half), None, "no output count");
        assert_eq!(table.cost("gpt-5", &Usage::default()), None);
        assert_eq!(table.cost("gpt-5", &usage(1, 1, 0, 7)), None, "no price for writing to its cache");
        for raw in [
            json!({"service_tier": "priority"}),
            json!({"speed": "fast"}),
            json!({"inference_geo": "us"}),
            json!({"server_tool_use": {"web_search_requests": 2}}),
        ] {
            assert_eq!(table.cost_with("claude-opus-5", &usage(1, 1, 0, 0), &raw), None, "{raw}");
        }
        let raw = json!({"service_tier": "standard", "server_tool_use": {"web_search_requests": 0}});
        assert!(table.cost_with("claude-opus-5", &usage(1, 1, 0, 0), &raw).is_some());
    }

    #[test]
    fn reasoning_is_a_part_of_output_and_may_cost_otherwise() {
        let table =
            Table::parse("date: 2026-01-01\nproviders: {x: {models: {m: {input: 1, output: 2, reasoning: 10}}}}")
                .unwrap();
        let used = Usage { reasoning: Some(400_000), ..usage(0, 1_000_000, 0, 0) };
        close(table.cost("m", &used), 1.2 + 4.0);
        assert_eq!(table.cost("m", &usage(0, 1, 0, 0)), None, "how much of it was reasoning is not known");
    }

    #[test]
    fn a_users_file_wins_and_changes_the_fingerprint() {
        let table = Table::embedded();
        let before = table.fingerprint();
        assert_eq!(before, Table::embedded().fingerprint());
        let mine =
            "date: 2026-11-21\nsource: our contract\nproviders: {openai: {models: {gpt-5: {input: 1, output: 8}}}}";
        let table = table.with(Table::parse(mine).unwrap());
        close(table.cost("gpt-5", &usage(1_000_000, 0, 0, 0)), 1.0);
        assert!(table.price("claude-opus-5").is_some(), "the rest is still there");
        assert_ne!(table.fingerprint(), before);
        assert!(table.date() == "2026-11-21" && table.source().starts_with("our contract"), "{}", table.source());
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        for (text, says) in [
            ("providers: {}", "date"),
            ("date: x\nproviders: {p: {models: {m: {input: -1}}}}", "p/m"),
            ("date: x\nproviders: {p: {models: {m: {inputs: 1}}}}", "inputs"),
            ("date: x\nproviders: {p: {models: {m: {input: 1, long: {over: 1, price: {input: .nan}}}}}}", "input"),
            ("[", ""),
        ] {
            let error = Table::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_embedded_table_is_dated_sourced_and_sane() {
        let table = Table::embedded();
        assert!(table.date().starts_with("2026-") && !table.source().is_empty());
        for (name, provider) in &table.providers {
            assert!(!provider.source.is_empty(), "{name} has no source");
            for (model, price) in &provider.models {
                assert!(price.output.is_none_or(|output| output >= price.input), "{model}");
                assert!(price.cache_read.is_none_or(|read| read < price.input), "{model}");
            }
        }
    }
}
