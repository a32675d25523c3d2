//! What a session is for: labels from a small taxonomy, by the words of what was asked first.

use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Step;
use crate::trace::{Message, Request, Response, Role};

/// Labels with the words that mean them. The file is a map from a label to patterns:
///
/// ```yaml
/// refund: ["refund", "money back"]
/// delivery: ["where is my", "late", "track(ing)?"]
/// ```
#[derive(Debug, Clone)]
pub struct Taxonomy(Vec<(String, Vec<Regex>)>);

/// A taxonomy that isn't one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTaxonomy {
    #[error("it is no map from labels to patterns: {0}")]
    NotAMap(String),
    #[error("the pattern {pattern:?} of {label:?} is no regular expression")]
    BadPattern { label: String, pattern: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Taxonomy {
    /// Reads a taxonomy.
    ///
    /// # Errors
    /// When it is no map, or a pattern is none.
    pub fn parse(text: &str) -> Result<Self, BadTaxonomy> {
        let map: IndexMap<String, Words> =
            serde_saphyr::from_str(text).map_err(|error| BadTaxonomy::NotAMap(error.to_string()))?;
        let mut labels = Vec::new();
        for (label, words) in map {
            let words = match words {
                Words::One(word) => vec![word],
                Words::Many(words) => words,
            };
            let pattern = |word: &String| {
                let made =
                    RegexBuilder::new(&format!(r"\b(?:{word})\b")).case_insensitive(true).size_limit(1 << 20).build();
                made.map_err(|_| BadTaxonomy::BadPattern { label: label.clone(), pattern: word.clone() })
            };
            let patterns = words.iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
            labels.push((label, patterns));
        }
        Ok(Taxonomy(labels))
    }

    /// The one that comes along: what people ask of coding and support agents.
    pub fn built_in() -> Self {
        Taxonomy::parse(include_str!("intents.yaml")).expect("a taxonomy of our own, held by the tests")
    }

    /// The same, made once.
    fn shared() -> &'static Taxonomy {
        static SHARED: LazyLock<Taxonomy> = LazyLock::new(Taxonomy::built_in);
        &SHARED
    }

    /// The labels of a text, in the order of the file.
    pub fn labels(&self, text: &str) -> Vec<String> {
        const OPENING: usize = 2_000;
        let head: String = text.chars().take(OPENING).collect();
        let fits = |(_, patterns): &&(String, Vec<Regex>)| patterns.iter().any(|pattern| pattern.is_match(&head));
        self.0.iter().filter(fits).map(|(label, _)| label.clone()).collect()
    }
}

/// What is to be known of a request's words where the words themselves are not kept: the user's mood, and what the session is
/// for when it begins. `None` when there is nothing to say.
pub fn labels(request: &Request) -> Option<Value> {
    let step = Step::of(request, &Response::default());
    let begins = !request.messages.iter().any(|message| message.role == Role::Assistant);
    let asked = request.messages.iter().filter(|message| begins && message.role == Role::User).map(Message::plain_text);
    let intents = Taxonomy::shared().labels(&asked.collect::<Vec<_>>().join("\n"));
    if step.mood.is_none() && intents.is_empty() {
        return None;
    }
    let mut labels = serde_json::Map::new();
    labels.extend(step.mood.map(|mood| ("mood".to_owned(), json!(mood))));
    if !intents.is_empty() {
        labels.insert("intents".to_owned(), json!(intents));
    }
    Some(Value::Object(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_words_and_bad_files_are_told() {
        let taxonomy = Taxonomy::parse("refund: [refund, money back]\ndelivery: late\n").unwrap();
        assert_eq!(taxonomy.labels("My order is LATE, I want my money back"), ["refund", "delivery"]);
        assert_eq!(taxonomy.labels("the translator"), Vec::<String>::new(), "whole words only");
        assert!(matches!(Taxonomy::parse("[a]"), Err(BadTaxonomy::NotAMap(_))));
        assert!(matches!(Taxonomy::parse("a: '('"), Err(BadTaxonomy::BadPattern { .. })));
        let own = Taxonomy::built_in();
        for (text, label) in [
            ("Fix the failing test in slug.rs", "fix"),
            ("Why does this crash?", "explain"),
            ("Write unit tests for the parser", "test"),
            ("I want a refund for order A-17", "refund"),
        ] {
            assert!(own.labels(text).contains(&label.to_owned()), "{text}: {:?}", own.labels(text));
        }
    }
}
