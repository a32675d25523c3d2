//! Personal data: found by its shape or by the name of its field, and replaced by something of the same kind, the same wherever
//! it stood. So the case still makes sense, and says nothing of anybody.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// What has a shape of its own. Order matters: an address may hold figures that look like a number.
static SHAPES: LazyLock<[(&str, Regex); 6]> = LazyLock::new(|| {
    let regex = |text: &str| Regex::new(text).expect("a pattern of our own, held by the tests");
    [
        ("email", regex(r"(?i)\b[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b")),
        ("iban", regex(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")),
        ("card", regex(r"\b(?:\d{4}[ -]){3}\d{4}\b")),
        ("social", regex(r"\b\d{3}-\d{2}-\d{4}\b")),
        (
            "phone",
            regex(
                r"\+\d{1,3}[ .\-/]?(?:\(?\d{1,4}\)?[ .\-/]?){2,5}\d{2,4}\b|\(\d{3}\) ?\d{3}-\d{4}\b|\b\d{3}-\d{3}-\d{4}\b",
            ),
        ),
        (
            "street",
            regex(
                r"\b\d{1,5} (?:[A-Z][a-z]+ ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Square|Way)\b\.?",
            ),
        ),
    ]
});

/// Fields that hold what they are called, in JSON and in JSON inside of a text.
static FIELDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(\\?")(name|full_?name|first_?name|last_?name|surname|customer_?name|contact_?name|recipient|address|street|city|zip|postal_?code|phone|phone_?number|mobile|birth_?date|date_?of_?birth|passport(?:_?number)?|tax_?id)(\\?"\s*:\s*\\?")([^"\\]{2,120})(\\?")"#,
    )
    .expect("a pattern of our own, held by the tests")
});

/// Replaces personal data, the same by the same.
#[derive(Debug, Default)]
pub struct Personal {
    known: HashMap<String, String>,
    counts: HashMap<&'static str, usize>,
    /// Names and other words found in fields, which may stand in running text too; the longest first.
    words: Vec<String>,
}

impl Personal {
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes what fields say, so that it is found in running text too. To be called on everything before any replacing.
    /// Members of a tool's schema and names of tools are no persons: hand in what was said, not what was offered.
    pub fn learn(&mut self, value: &Value) {
        let text = value.to_string();
        for found in FIELDS.captures_iter(&text) {
            let word = found[4].to_owned();
            // `{"type":"function","function":{"name":…}}` has no spaces; people's names mostly do, and so do addresses.
            let telling = word.contains(' ') || !found[2].eq_ignore_ascii_case("name");
            if telling && !self.known.contains_key(&word) {
                self.stand_in(kind_of(&found[2]), &word);
                self.words.push(word);
            }
        }
        self.words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    }

    /// Replaces everything in a text.
    pub fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for word in self.words.clone() {
            if text.contains(&word) {
                let with = self.known.get(&word).cloned().unwrap_or_default();
                text = text.replace(&word, &with);
            }
        }
        for (kind, shape) in SHAPES.iter() {
            let replaced = shape.replace_all(&text, |found: &Captures<'_>| self.stand_in(kind, &found[0]));
            text = replaced.into_owned();
        }
        text
    }

    /// Replaces everything in a document's texts. Keys stay.
    pub fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.value(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// How many different things were replaced.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// What stands for something: of the same kind, numbered.
    fn stand_in(&mut self, kind: &'static str, what: &str) -> String {
        if let Some(known) = self.known.get(what) {
            return known.clone();
        }
        // What stands for another is nobody's any more.
        if self.known.values().any(|with| with == what) {
            return what.to_owned();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let n = *count;
        let with = match kind {
            "email" => format!("person{n}@example.com"),
            "phone" => format!("+1 555 01{n:02}"),
            "iban" => format!("XX00 0000 0000 0000 {n:04}"),
            "card" => format!("0000 0000 0000 {n:04}"),
            "social" => format!("000-00-{n:04}"),
            "street" => format!("{n} Example Street"),
            "name" => format!("Person {n}"),
            other => format!("{other} {n}"),
        };
        self.known.insert(what.to_owned(), with.clone());
        with
    }
}

fn kind_of(field: &str) -> &'static str {
    let field = field.to_lowercase().replace('_', "");
    match field.as_str() {
        "address" | "street" => "street",
        "city" => "City",
        "zip" | "postalcode" => "zip",
        "phone" | "phonenumber" | "mobile" => "phone",
        "birthdate" | "dateofbirth" => "birthday",
        "passport" | "passportnumber" | "taxid" => "id",
        _ => "name",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_person_is_the_same_placeholder_everywhere() {
        let mut case = json!({
            "user": "I am Ada Lovelace, ada@lovelace.org, call +44 20 7946 0958. Refund A-17!",
            "result": "{\"name\": \"Ada Lovelace\", \"email\": \"ada@lovelace.org\", \"address\": \"12 Saint James Square\", \"paid\": 12.5}",
            "answer": "Dear Ada Lovelace, 12.50 is on its way to DE89 3704 0044 0532 0130 00.",
        });
        let mut personal = Personal::new();
        personal.learn(&case);
        personal.value(&mut case);
        let text = case.to_string();
        for gone in ["Ada", "Lovelace", "7946", "Saint James", "3704"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
        assert_eq!(text.matches("Person 1").count(), 3, "{text}");
        assert_eq!(text.matches("person1@example.com").count(), 2, "{text}");
        assert!(text.contains("A-17") && text.contains("12.5"), "what it is about stays: {text}");
        let again = case.clone();
        personal.value(&mut case);
        assert_eq!(case, again, "a second time changes nothing");
    }

    #[test]
    fn what_is_nobodys_stays() {
        let mut personal = Personal::new();
        let call = json!({"type": "function", "function": {"name": "lookup_order", "arguments": "{\"id\": \"B-99\"}"}});
        personal.learn(&call);
        for text in
            ["version 1.2.3-4", "2026-11-21", "at 127.0.0.1:8080", "12345678", "order B-99", "7 of 12 files", "a@b"]
        {
            assert_eq!(personal.text(text), text);
        }
        let mut same = call.clone();
        personal.value(&mut same);
        assert_eq!(same, call);
    }
}
