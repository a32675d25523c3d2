//! `{{names}}` in texts, and nothing more: no loops, no conditions, no code.

use std::collections::BTreeMap;

use serde_json::Value;

/// Variables that every trial has without anyone setting them.
pub const TRIAL_VARIABLES: &[(&str, &str)] = &[
    ("prompt", "the task's prompt"),
    ("task", "the task's id"),
    ("expected", "the task's expected answer"),
    ("model", "the model, as provider/model"),
    ("model_name", "the model without its provider"),
    ("system", "the prompt of the variant"),
    ("trial", "the number of the trial, from 1"),
    ("seed", "the seed of the trial"),
    ("workspace", "the folder of the trial"),
    ("suite_dir", "the folder the suite stands in"),
    ("holdback", "the path of the running holdback"),
    ("proxy", "the base address of the recording proxy for this trial"),
    ("answer", "the answer being graded (graders only)"),
];

/// A variable that nobody set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown(pub String);

/// Whether a setting names a file rather than being the text itself.
pub fn is_file(text: &str) -> bool {
    let one_word = !text.is_empty() && !text.contains(char::is_whitespace);
    one_word && [".md", ".txt", ".j2"].iter().any(|end| text.ends_with(end))
}

/// The next `{{name}}` in `text` from `from`: start, end and name. What isn't a plain name is left as it stands, so that
/// code and JSON with braces pass; `{{!name}}` stands for a literal `{{name}}`.
fn next_name(text: &str, from: usize) -> Option<(usize, usize, &str)> {
    let mut at = from;
    loop {
        let start = at + text[at..].find("{{")?;
        let end = start + 2 + text[start + 2..].find("}}")?;
        let name = text[start + 2..end].trim();
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
        let bare = name.strip_prefix('!').unwrap_or(name);
        if !bare.is_empty() && bare.chars().all(plain) && bare.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return Some((start, end + 2, name));
        }
        at = start + 1;
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
}

/// The variables a text asks for, in order.
pub fn names(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((_, end, name)) = next_name(text, at) {
        if !name.starts_with('!') {
            found.push(name);
        }
        at = end;
    }
    found
}

/// Puts values in place of names. Texts go in as they are, everything else as JSON; `a.b` reaches into objects.
///
/// # Errors
/// When a name has no value.
pub fn render(text: &str, vars: &BTreeMap<String, Value>) -> Result<String, Unknown> {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some((start, end, name)) = next_name(text, at) {
        out.push_str(&text[at..start]);
        match name.strip_prefix('!') {
            Some(literal) => {
                out.push_str("{{");
                out.push_str(literal);
                out.push_str("}}");
            }
            None => match look_up(name, vars) {
                Some(Value::String(value)) => out.push_str(value),
                Some(Value::Null) => {}
                Some(value) => out.push_str(&value.to_string()),
                None => return Err(Unknown(name.to_owned())),
            },
        }
        at = end;
    }
    out.push_str(&text[at..]);
    Ok(out)
}

fn look_up<'a>(name: &str, vars: &'a BTreeMap<String, Value>) -> Option<&'a Value> {
    if let Some(value) = vars.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(vars.get(first)?, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        value => value.get(key),
    })
}

/// Puts values into every text of a JSON value. A text that is nothing but one `{{name}}` becomes the value itself, so
/// numbers stay numbers.
///
/// # Errors
/// When a name has no value.
pub fn render_value(value: &Value, vars: &BTreeMap<String, Value>) -> Result<Value, Unknown> {
    Ok(match value {
        Value::String(text) => match next_name(text, 0) {
            Some((0, end, name)) if end == text.len() && !name.starts_with('!') => {
                look_up(name, vars).cloned().ok_or_else(|| Unknown(name.to_owned()))?
            }
            _ => Value::String(render(text, vars)?),
        },
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| render_value(item, vars)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, value)| Ok((key.clone(), render_value(value, vars)?))).collect::<Result<_, _>>()?,
        ),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vars() -> BTreeMap<String, Value> {
        BTreeMap::from([
            ("order".to_owned(), json!("A-17")),
            ("n".to_owned(), json!(3)),
            ("who".to_owned(), json!({"name": "Ada", "tags": ["x", "y"]})),
            ("none".to_owned(), Value::Null),
        ])
    }

    #[test]
    fn names_are_replaced_and_other_braces_stay() {
        for (text, want) in [
            ("", ""),
            ("order {{order}}, {{ n }} times", "order A-17, 3 times"),
            ("{{who.name}} {{who.tags.1}} {{who.tags}}", r#"Ada y ["x","y"]"#),
            ("[{{none}}]", "[]"),
            ("style={{ color: 'red' }} {{}} {{ {{n}}", "style={{ color: 'red' }} {{}} {{ 3"),
            ("{{!order}}", "{{order}}"),
            ("ä{{ü", "ä{{ü"),
        ] {
            assert_eq!(render(text, &vars()).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(render("{{ordr}}", &vars()), Err(Unknown("ordr".to_owned())));
        assert_eq!(names("{{a}} {{ b.c }} {{!d}} {{ e f }}"), ["a", "b.c"]);
    }

    #[test]
    fn a_lone_name_in_json_keeps_its_type() {
        let value = json!({"n": "{{n}}", "text": "n={{n}}", "list": ["{{who.tags}}", 1]});
        assert_eq!(render_value(&value, &vars()), Ok(json!({"n": 3, "text": "n=3", "list": [["x", "y"], 1]})));
        assert_eq!(render_value(&json!(["{{x}}"]), &vars()), Err(Unknown("x".to_owned())));
    }

    #[test]
    fn what_names_a_file() {
        for (text, file) in
            [("prompts/a.md", true), ("a.txt", true), ("Read a.md", false), ("hello", false), ("", false)]
        {
            assert_eq!(is_file(text), file, "{text}");
        }
    }
}
