//! Reads a promptfoo configuration and writes the suite that asks the same, with a list of what could not be carried over.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A suite made from another tool's.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    /// The suite, as YAML.
    pub suite: String,
    /// What could not be carried over, each with its place.
    pub left: Vec<String>,
}

/// Translates a promptfoo configuration.
///
/// # Errors
/// When it isn't YAML, or holds no prompt.
pub fn from_promptfoo(name: &str, text: &str) -> Result<Translated, String> {
    let config: Value = crate::suite::yaml(text).map_err(|error| error.without_snippet().to_string())?;
    let mut left = Vec::new();
    for (key, why) in [
        ("scenarios", "scenarios are not known here"),
        ("derivedMetrics", "derived metrics are not known here"),
        ("extensions", "extensions are code of the other tool"),
        ("redteam", "red teaming is not known here"),
        ("nunjucksFilters", "templates have variables only"),
    ] {
        if config.get(key).is_some() {
            left.push(format!("{key}: {why}"));
        }
    }
    let prompts = prompts(&config, &mut left);
    if prompts.is_empty() {
        return Err("the configuration has no prompt that could be carried over".to_owned());
    }
    let common = config.get("defaultTest").cloned().unwrap_or_default();
    let mut suite = Map::new();
    suite.insert(
        "suite".to_owned(),
        config.get("description").filter(|text| text.is_string()).cloned().unwrap_or_else(|| json!(name)),
    );
    suite.insert("kind".to_owned(), json!("capability"));
    suite.insert("target".to_owned(), json!({"prompt": {}}));
    suite.insert("models".to_owned(), json!(models(&config, &mut left)));
    let repeat = config.pointer("/evaluateOptions/repeat").and_then(Value::as_u64).filter(|repeat| *repeat > 0);
    suite.insert("trials".to_owned(), json!(repeat.unwrap_or(1)));
    if let Some(vars) = common.get("vars").filter(|vars| vars.is_object()) {
        suite.insert("vars".to_owned(), vars.clone());
    }
    let graders = graders(&common, "defaultTest", &mut left);
    if !graders.is_empty() {
        suite.insert("graders".to_owned(), json!(graders));
    }
    suite.insert("tasks".to_owned(), json!(tasks(&config, &prompts, &mut left)));
    let suite = serde_saphyr::to_string(&Value::Object(suite)).map_err(|error| error.to_string())?;
    Ok(Translated { suite, left })
}

fn list<'a>(config: &'a Value, key: &str) -> Vec<&'a Value> {
    match config.get(key) {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    }
}

fn prompts(config: &Value, left: &mut Vec<String>) -> Vec<String> {
    let mut prompts = Vec::new();
    for (number, prompt) in (1..).zip(list(config, "prompts")) {
        let text = prompt.as_str().or_else(|| prompt.get("raw").and_then(Value::as_str));
        match text {
            Some(text) if text.starts_with("file://") => {
                let path = text.trim_start_matches("file://");
                match [".txt", ".md", ".j2"].iter().any(|end| path.ends_with(end)) {
                    true => prompts.push(path.to_owned()),
                    false => left.push(format!("prompts[{number}]: {path} is a program or a chat, not a text")),
                }
            }
            Some(text) if text.contains("{%") => {
                left.push(format!("prompts[{number}]: its template has more than variables"));
            }
            Some(text) => prompts.push(text.to_owned()),
            None => left.push(format!("prompts[{number}]: not a text")),
        }
    }
    prompts
}

/// `openai:chat:gpt-x` is `openai/gpt-x` here.
fn models(config: &Value, left: &mut Vec<String>) -> Vec<String> {
    let mut models: Vec<String> = Vec::new();
    let providers = list(config, "providers").into_iter().chain(list(config, "targets"));
    for provider in providers {
        let id = provider.as_str().or_else(|| provider.get("id").and_then(Value::as_str)).unwrap_or_default();
        let words: Vec<&str> = id.split(':').collect();
        let model = match words.as_slice() {
            ["openai", "chat" | "responses" | "completion", name] | ["openai", name] => Some(format!("openai/{name}")),
            ["anthropic", "messages", name] | ["anthropic", name] => Some(format!("anthropic/{name}")),
            ["google" | "vertex", name] => Some(format!("gemini/{name}")),
            ["openrouter", rest @ ..] if !rest.is_empty() => Some(format!("openrouter/{}", rest.join(":"))),
            ["echo"] => Some("mock/echo".to_owned()),
            _ => None,
        };
        match model {
            Some(model) if !models.contains(&model) => models.push(model),
            Some(_) => {}
            None => left.push(format!("provider {id:?}: run it as a loop (target: loop), or name its model")),
        }
        if provider.get("config").is_some() {
            left.push(format!("provider {id:?}: its config; put parameters under parameters:"));
        }
    }
    if models.is_empty() {
        left.push("no provider could be carried over: mock/echo stands in".to_owned());
        models.push("mock/echo".to_owned());
    }
    models
}

fn tasks(config: &Value, prompts: &[String], left: &mut Vec<String>) -> Vec<Value> {
    let empty = json!({});
    let mut tests = list(config, "tests");
    if tests.is_empty() {
        tests.push(&empty);
    }
    let mut tasks = Vec::new();
    for (number, test) in (1..).zip(tests) {
        let place = format!("tests[{number}]");
        if !test.is_object() {
            left.push(format!(
                "{place}: tests from files are not read; write them as JSONL or CSV and name them under tasks_from:"
            ));
            continue;
        }
        for key in ["threshold", "options", "assertScoringFunction", "provider", "providers", "providerOutput"] {
            if test.get(key).is_some() {
                left.push(format!("{place}.{key}"));
            }
        }
        let graders = graders(test, &place, left);
        let vars: BTreeMap<String, Value> = match test.get("vars") {
            Some(Value::Object(vars)) => vars.clone().into_iter().collect(),
            _ => BTreeMap::new(),
        };
        for (name, value) in &vars {
            if value.is_array() || value.as_str().is_some_and(|text| text.starts_with("file://")) {
                left.push(format!("{place}.vars.{name}: lists of values and files are not unfolded"));
            }
        }
        for (version, prompt) in (1..).zip(prompts) {
            let id =
                if prompts.len() > 1 { format!("test-{number}.prompt-{version}") } else { format!("test-{number}") };
            let mut task = json!({"id": id, "prompt": prompt, "vars": vars, "graders": graders});
            if let Some(words) = test.get("description").and_then(Value::as_str) {
                task["tags"] = json!([words]);
            }
            tasks.push(task);
        }
    }
    tasks
}

fn graders(test: &Value, place: &str, left: &mut Vec<String>) -> Vec<Value> {
    let mut graders = Vec::new();
    for (number, assertion) in (1..).zip(list(test, "assert")) {
        let kind = assertion.get("type").and_then(Value::as_str).unwrap_or_default();
        let (plain, negated) = kind.strip_prefix("not-").map_or((kind, false), |plain| (plain, true));
        let place = format!("{place}.assert[{number}]");
        match grader(plain, assertion, &place, left) {
            None => left.push(format!("{place}: {kind} has no counterpart here")),
            Some(mut grader) => {
                if negated {
                    grader = json!({"type": "not", "grader": grader});
                }
                if let Some(weight) = assertion.get("weight").and_then(Value::as_f64) {
                    // There a weight of 0 means that it never fails a test.
                    grader["weight"] = json!(weight);
                    if weight == 0.0 {
                        grader["required"] = json!(false);
                    }
                }
                graders.push(grader);
            }
        }
        for key in ["transform", "contextTransform"] {
            if assertion.get(key).is_some() {
                left.push(format!("{place}.{key}: code of the other tool"));
            }
        }
    }
    graders
}

fn grader(kind: &str, assertion: &Value, place: &str, left: &mut Vec<String>) -> Option<Value> {
    let value = assertion.get("value").cloned().unwrap_or_default();
    if value.as_str().is_some_and(|text| text.starts_with("file://")) {
        left.push(format!("{place}.value: {value} is a file"));
        return None;
    }
    let threshold = || assertion.get("threshold").and_then(Value::as_f64);
    Some(match kind {
        "equals" => json!({"type": "equals", "to": value}),
        "contains" | "contains-all" => json!({"type": "contains", "all": value}),
        "icontains" | "icontains-all" => json!({"type": "contains", "all": value, "ignore_case": true}),
        "contains-any" => json!({"type": "contains", "any": value}),
        "icontains-any" => json!({"type": "contains", "any": value, "ignore_case": true}),
        "starts-with" => json!({"type": "regex", "pattern": format!("^{}", regex::escape(value.as_str()?))}),
        "regex" => json!({"type": "regex", "pattern": value.as_str()?}),
        "is-json" | "contains-json" => {
            let schema = if value.is_object() { value } else { json!({}) };
            json!({"type": "json_schema", "schema": schema})
        }
        "is-refusal" => json!({"type": "refusal", "expected": true}),
        "cost" => json!({"type": "cost", "at_most": threshold()?}),
        "latency" => json!({"type": "latency", "seconds": threshold()? / 1000.0}),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade;
    use crate::suite::{Files, load};

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &str) -> Result<String, String> {
            Err("no such file".to_owned())
        }
        fn exists(&self, _: &str) -> bool {
            false
        }
    }

    const CONFIG: &str = r#"
description: Translations
prompts: ["Say {{text}} in {{language}}.", "In {{language}}: {{text}}"]
providers: [openai:chat:gpt-5.2, {id: "anthropic:messages:claude-sonnet-5", config: {temperature: 0}}, "exec:python x.py"]
defaultTest: {vars: {language: French}, assert: [{type: latency, threshold: 4000}]}
evaluateOptions: {repeat: 3}
tests:
  - vars: {text: Hello}
    assert: [{type: icontains, value: bonjour}, {type: not-contains, value: sorry}, {type: llm-rubric, value: is kind}]
  - vars: {text: Good night}
    threshold: 0.5
    assert: [{type: javascript, value: "output.length > 3"}, {type: is-json, weight: 0}]
"#;

    #[test]
    fn what_can_be_carried_is_and_the_rest_is_listed() {
        let translated = from_promptfoo("x", CONFIG).unwrap();
        let loaded = load("s.yaml", &translated.suite, &NoFiles)
            .unwrap_or_else(|errors| panic!("{errors}\n{}", translated.suite));
        grade::check(&loaded).unwrap();
        let suite = &loaded.suite;
        assert_eq!((suite.suite.as_str(), suite.trials, suite.tasks.len()), ("Translations", 3, 4));
        assert_eq!(suite.models, ["openai/gpt-5.2", "anthropic/claude-sonnet-5"]);
        assert_eq!(suite.tasks[0].graders.len(), 2);
        assert_eq!(suite.tasks[2].graders[0].0["required"], json!(false));
        let left = translated.left.join("\n");
        for what in ["exec:python x.py", "its config", "llm-rubric", "javascript", "tests[2].threshold"] {
            assert!(left.contains(what), "{what}\n{left}");
        }
        assert!(from_promptfoo("x", "tests: []").is_err());
        assert!(from_promptfoo("x", ": : :").is_err());
    }
}
