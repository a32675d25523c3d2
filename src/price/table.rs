//! The table of prices and how a model's name is looked up in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::trace::Usage;

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
    pub price: Price,
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

    /// The same, with the usage object as the provider sent it: it tells what one vocabulary for all leaves out (tokens
    /// cached for an hour cost more; batch and priority calls are billed otherwise, so they have no price).
    pub fn cost_with(&self, model: &str, usage: &Usage, raw: &Value) -> Option<f64> {
        if let Some(tier) = raw.get("service_tier").and_then(Value::as_str)
            && !matches!(tier, "standard" | "default" | "auto")
        {
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
        let mut found = self.providers.values().filter_map(|p| Some((p, p.find(model)?)));
        let first = found.next()?;
        // The same name at two prices: nobody here can tell which was paid.
        found.all(|(_, price)| price == first.1).then_some(first)
    }
}

impl Provider {
    fn find(&self, model: &str) -> Option<&Price> {
        let model = model.strip_prefix("models/").unwrap_or(model);
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
            Some(long) if input + read + written > long.over => &long.price,
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
        self.long.as_ref().map_or(Ok(()), |long| long.price.check(provider, model))
    }
}
