//! A rubric's text becomes a [`Rubric`], or errors with their places.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::error::{SuiteError, SuiteErrors};
use super::load::{yaml, yaml_error};
use super::locate::{Located, Step};
use super::rubric::{Criterion, JudgeSpec, Rubric};

/// Reads a rubric.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn load_rubric(file: &str, text: &str) -> Result<Rubric, SuiteErrors> {
    let rubric: Rubric = yaml(text).map_err(|error| yaml_error(file, text, &error))?;
    let mut faults = Faults { located: Located::read(file, text), errors: Vec::new() };
    if rubric.rubric.trim().is_empty() {
        faults.tell(&["rubric".into()], "the rubric's name is empty");
    }
    if !(0.0..=1.0).contains(&rubric.pass) {
        faults.tell(&["pass".into()], "what is good enough is a share from 0 to 1");
    }
    check_judge(&rubric.judge, &mut faults);
    if rubric.principles.is_empty() {
        faults.tell(&["principles".into()], "a rubric needs at least one principle");
    }
    let mut seen = BTreeSet::new();
    for (at, principle) in rubric.principles.iter().enumerate() {
        let place: Vec<Step> = vec!["principles".into(), at.into()];
        if principle.principle.trim().is_empty() {
            faults.tell(&join(&place, ["principle".into()]), "the principle is empty");
        }
        if principle.criteria.is_empty() {
            faults.tell(&join(&place, ["criteria".into()]), "a principle needs at least one criterion");
        }
        for (index, criterion) in principle.criteria.iter().enumerate() {
            let place = join(&place, ["criteria".into(), index.into()]);
            check_criterion(criterion, &place, &mut faults);
            if !seen.insert(criterion.id.as_str()) {
                faults.tell(&join(&place, ["id".into()]), &format!("two criteria are called {:?}", criterion.id));
            }
        }
    }
    let counts = |criterion: &Criterion| criterion.required || criterion.weight > 0.0;
    if !rubric.principles.is_empty() && !rubric.criteria().any(|(_, criterion)| counts(criterion)) {
        faults.tell(&["principles".into()], "no criterion counts: all weights are 0 and none is required");
    }
    match faults.errors.is_empty() {
        true => Ok(rubric),
        false => Err(SuiteErrors(faults.errors)),
    }
}

struct Faults {
    located: Located,
    errors: Vec<SuiteError>,
}

impl Faults {
    fn tell(&mut self, path: &[Step], message: &str) {
        self.errors.push(self.located.error_at(path, message, None));
    }
}

fn join(path: &[Step], more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    path.iter().cloned().chain(more).collect()
}

fn check_judge(judge: &JudgeSpec, faults: &mut Faults) {
    let named =
        |name: &str| name.split_once('/').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty());
    let wrong = |name: &str| {
        format!(
            "{name:?} doesn't say which provider it is of: write it as provider/model, like anthropic/claude-sonnet-5"
        )
    };
    let key = |key: &str| vec![Step::from("judge"), key.into()];
    for (word, model) in [("model", &judge.model), ("cascade", &judge.cascade)] {
        if let Some(model) = model.as_ref().filter(|model| !named(model)) {
            faults.tell(&key(word), &wrong(model));
        }
    }
    for (at, model) in judge.panel.iter().enumerate() {
        if !named(model) {
            faults.tell(&join(&key("panel"), [at.into()]), &wrong(model));
        }
    }
    if judge.model.is_some() && !judge.panel.is_empty() {
        faults.tell(&key("panel"), "the judge is a model or a panel, not both");
    }
    if judge.repeats == 0 {
        faults.tell(&key("repeats"), "a judge is asked at least once");
    }
    if judge.max_chars < 500 {
        faults.tell(&key("max_chars"), "a judge needs to see 500 characters at least");
    }
    if judge.temperature.is_some_and(|value| !value.is_finite() || value < 0.0) {
        faults.tell(&key("temperature"), "a temperature is a number from 0 on");
    }
}

fn check_criterion(criterion: &Criterion, place: &[Step], faults: &mut Faults) {
    let key = |key: &str| join(place, [key.into()]);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if criterion.id.is_empty() || !criterion.id.chars().all(plain) {
        faults.tell(&key("id"), "an id is made of small letters, digits and dashes: asks-when-unclear");
    }
    if criterion.ask.trim().is_empty() {
        faults.tell(&key("ask"), "the question is empty");
    }
    if criterion.see.is_empty() {
        faults.tell(&key("see"), "the judge must see something: answer, transcript, tool_calls, diff, files or prompt");
    }
    if !criterion.weight.is_finite() || criterion.weight < 0.0 {
        faults.tell(&key("weight"), "a weight is a number from 0 on");
    }
    if criterion.levels.len() == 1 {
        faults.tell(&key("levels"), "one level is no scale: give two or more, or leave them out for yes and no");
    }
    if !criterion.levels.is_empty() && (criterion.yes.is_some() || criterion.no.is_some()) {
        faults.tell(&key("levels"), "a criterion has levels, or yes and no, not both");
    }
    for (at, level) in criterion.levels.iter().enumerate() {
        if level.means.trim().is_empty() {
            faults.tell(&join(place, ["levels".into(), at.into()]), "the level doesn't say what it means");
        }
    }
    if let Some(pass_at) = criterion.pass_at
        && !(2..=criterion.scale()).contains(&pass_at)
    {
        let scale = criterion.scale();
        faults.tell(&key("pass_at"), &format!("pass_at must lie between 2 and {scale}: below, everything passes"));
    }
}

/// The schema that `schemas/rubric.schema.json` holds.
pub fn rubric_schema() -> Value {
    let mut root = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Rubric>().to_value();
    root["title"] = json!("A holdback rubric");
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "rubric: r\nprinciples:\n  - principle: Be honest.\n    criteria:\n      \
        - {id: a, ask: Is it?, required: true}\n      \
        - {id: b, ask: How much?, levels: [{means: none}, {means: some}, {means: much}, {means: all}]}\n";

    #[test]
    fn a_rubric_is_read_with_its_defaults() {
        let rubric = load_rubric("r.yaml", GOOD).unwrap();
        let (a, b) = (rubric.criterion("a").unwrap(), rubric.criterion("b").unwrap());
        assert_eq!((a.scale(), a.pass_at(), a.word(2), a.level(&json!("no"))), (2, 2, "yes".to_owned(), Some(1)));
        assert_eq!((b.scale(), b.pass_at(), b.score(4), b.level(&json!(5))), (4, 3, 1.0, None));
        assert_eq!((rubric.pass, rubric.judge.repeats), (0.7, 1));
        let mut other = rubric.clone();
        other.about = "words".to_owned();
        assert_eq!(rubric.fingerprint(), other.fingerprint(), "what it is for changes no verdict");
        other.judge.model = Some("mock/judge".to_owned());
        assert_ne!(rubric.fingerprint(), other.fingerprint(), "another judge is another measure");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (from, to, want) in [
            ("rubric: r", "rubric: ''", "r.yaml:1:9: the rubric's name is empty"),
            ("ask: Is it?", "ak: Is it?", "r.yaml:5:17: unknown key \"ak\" (did you mean \"ask\"?)"),
            ("id: a,", "id: b,", "r.yaml:6:14: two criteria are called \"b\""),
            ("id: a,", "id: A b,", "r.yaml:5:14: an id is made of small letters"),
            ("{means: some}, {means: much}, {means: all}", "", "r.yaml:6:41: one level is no scale"),
            ("required: true", "pass_at: 1", "r.yaml:5:39: pass_at must lie between 2 and 2"),
            ("required: true", "see: []", "r.yaml:5:35: the judge must see something"),
            ("required: true", "see: [answr]", "\"answr\" is not known here (did you mean \"answer\"?)"),
            ("required: true", "weight: -1", "r.yaml:5:38: a weight is a number from 0 on"),
            ("required: true", "weight: heavy", "r.yaml:5:38"),
            ("rubric: r", "rubric: r\njudge: {model: gpt}", "r.yaml:2:16: \"gpt\" doesn't say which provider"),
            ("rubric: r", "rubric: r\njudge: {repeats: 0}", "r.yaml:2:18: a judge is asked at least once"),
            ("rubric: r", "rubric: r\npass: 7", "r.yaml:2:7: what is good enough"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let got = load_rubric("r.yaml", &text).unwrap_err().to_string();
            assert!(got.contains(want), "{to}\nwant {want}\ngot  {got}");
        }
        for (text, want) in [("", "the file is empty"), ("rubric: r\n", "principles"), ("- a\n", "expected")] {
            assert!(load_rubric("r.yaml", text).unwrap_err().to_string().contains(want), "{text}");
        }
    }

    /// `HOLDBACK_BLESS=1 cargo test rubric_schema` writes the file anew.
    #[test]
    fn the_rubric_schema_in_the_repository_is_the_one_the_types_make() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/rubric.schema.json");
        let made = serde_json::to_string_pretty(&rubric_schema()).unwrap() + "\n";
        if option_env!("HOLDBACK_BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "schemas/rubric.schema.json is old: run the test with HOLDBACK_BLESS=1 to write it anew");
        let validator = jsonschema::validator_for(&rubric_schema()).unwrap();
        let value: Value = yaml(GOOD).unwrap();
        assert!(validator.is_valid(&value));
        assert!(
            !validator.is_valid(&json!({"rubric": "r", "principles": [{"principle": "p", "criteria": [{"id": "a"}]}]}))
        );
    }
}
