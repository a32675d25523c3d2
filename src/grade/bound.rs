//! A grader bound to a task: configuration read, variables put in, ready to grade.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Map, Value, json};

use super::config::ConfigError;
use super::{Evidence, Graded, Grader, KINDS, Kind, Need};
use crate::replay::{Ignore, ToolModes};
use crate::suite::{GraderSpec, Loaded, Step, SuiteError, SuiteErrors, Task, hash_hex, names, nearest, render_value};
use crate::trial::GradeRecord;

/// A grader, ready to grade trials of one task.
#[derive(Debug)]
pub struct Bound {
    /// Unique in its task.
    pub label: String,
    pub kind: &'static str,
    /// Hash of type, configuration and version.
    pub fingerprint: String,
    pub required: bool,
    pub weight: f64,
    grader: Box<dyn Grader>,
}

/// Keys every grader has.
const COMMON: [&str; 4] = ["type", "label", "required", "weight"];

impl Bound {
    /// Reads a grader's configuration and puts the variables in.
    ///
    /// # Errors
    /// What is wrong with the configuration, and under which key.
    pub fn compile(spec: &GraderSpec, vars: &BTreeMap<String, Value>) -> Result<Bound, ConfigError> {
        let value = render_value(&spec.0, vars)
            .map_err(|unknown| ConfigError::new(format!("unknown variable {{{{{}}}}}", unknown.0)))?;
        Bound::read(value)
    }

    /// Reads a configuration that has its variables already: one inside another grader.
    pub(super) fn read(value: Value) -> Result<Bound, ConfigError> {
        let Value::Object(mut map) = value else {
            return Err(
                ConfigError::new("a grader is a map with a type").help("for example {type: contains, all: [yes]}")
            );
        };
        let kind = find(map.get("type"))?;
        let label = match map.remove("label") {
            None => kind.name.to_owned(),
            Some(Value::String(label)) if !label.trim().is_empty() => label,
            Some(other) => return Err(ConfigError::at("label", format!("a label is a text, not {other}"))),
        };
        let required = match map.remove("required") {
            None => true,
            Some(Value::Bool(required)) => required,
            Some(other) => return Err(ConfigError::at("required", format!("expected true or false, found {other}"))),
        };
        let weight = match map.remove("weight") {
            None => 1.0,
            Some(value) => value
                .as_f64()
                .filter(|weight| weight.is_finite() && *weight >= 0.0)
                .ok_or_else(|| ConfigError::at("weight", format!("a weight is a number from 0 on, not {value}")))?,
        };
        map.remove("type");
        let config = Value::Object(map);
        let fingerprint = hash_hex(format!("{} {} {config}", kind.name, kind.version).as_bytes());
        let grader = (kind.build)(&config).map_err(hint_common)?;
        Ok(Bound { label, kind: kind.name, fingerprint, required, weight, grader })
    }

    /// What it needs beyond the evidence. A grader that panics needs nothing: grading it will tell.
    pub fn needs(&self, evidence: &Evidence) -> Vec<Need> {
        catch_unwind(AssertUnwindSafe(|| self.grader.needs(evidence))).unwrap_or_default()
    }

    /// Its word on the trial, with what it takes to understand and repeat it. A grader that panics is broken.
    pub fn grade(&self, evidence: &Evidence) -> GradeRecord {
        let graded = catch_unwind(AssertUnwindSafe(|| self.grader.grade(evidence)))
            .unwrap_or_else(|_| Graded::broken("the grader panicked: please report it"));
        self.record(graded)
    }

    /// Its word, and one record for each of its parts: labelled `grader/part`, moving neither score nor verdict by themselves.
    pub fn records(&self, evidence: &Evidence) -> Vec<GradeRecord> {
        let parts = catch_unwind(AssertUnwindSafe(|| self.grader.parts(evidence))).unwrap_or_default();
        let part = |(name, graded): (String, Graded)| GradeRecord {
            label: format!("{}/{name}", self.label),
            kind: "criterion".to_owned(),
            required: false,
            weight: 0.0,
            ..self.record(graded)
        };
        std::iter::once(self.grade(evidence)).chain(parts.into_iter().map(part)).collect()
    }

    /// The file of the rubric it reads by, if it does.
    pub fn rubric(&self) -> Option<String> {
        self.needs(&Evidence::new("", "")).into_iter().find_map(|need| match need {
            Need::Judge { rubric } => Some(rubric),
            _ => None,
        })
    }

    /// A record that says why there is no grade, from whoever found out.
    pub fn record(&self, graded: Graded) -> GradeRecord {
        GradeRecord {
            label: self.label.clone(),
            kind: self.kind.to_owned(),
            fingerprint: self.fingerprint.clone(),
            required: self.required,
            weight: self.weight,
            grade: graded.grade,
            reasons: graded.reasons,
        }
    }
}

fn hint_common(mut error: ConfigError) -> ConfigError {
    if let (Some(key), true) = (&error.key, error.path.is_empty())
        && let Some(near) = nearest(key, COMMON)
        && !error.help.as_deref().is_some_and(|help| help.starts_with("did you mean"))
    {
        error.help = Some(format!("did you mean {near:?}?"));
    }
    error
}

fn find(kind: Option<&Value>) -> Result<Kind, ConfigError> {
    let known = || KINDS.iter().map(|kind| kind.name);
    let all = || format!("there are {}", known().collect::<Vec<_>>().join(", "));
    match kind {
        Some(Value::String(name)) => KINDS.iter().find(|kind| kind.name == name).copied().ok_or_else(|| {
            let help = nearest(name, known()).map_or_else(all, |near| format!("did you mean {near:?}?"));
            ConfigError::at("type", format!("there is no grader {name:?}")).help(help)
        }),
        Some(other) => Err(ConfigError::at("type", format!("a grader's type is a text, not {other}")).help(all())),
        None => Err(ConfigError::new("the grader has no type").help(all())),
    }
}

/// The graders of a task, the suite's own first, each with a label of its own.
///
/// # Errors
/// The first configuration that is wrong; [`check`] finds them all when the suite loads.
pub fn bind(graders: &[GraderSpec], task: &Task, vars: &BTreeMap<String, Value>) -> Result<Vec<Bound>, ConfigError> {
    let mut bound = Vec::new();
    let mut taken = BTreeSet::new();
    let specs: Vec<&GraderSpec> = graders.iter().chain(&task.graders).collect();
    let kept = GraderSpec(json!({"type": "divergence"}));
    // Whoever names a tape wants to know when the loop leaves it, even where the loop takes the refusal for an answer.
    let says_so = specs.iter().any(|spec| spec.kind() == kept.kind());
    let implied = (task.tape.is_some() && !says_so).then_some(&kept);
    for spec in specs.into_iter().chain(implied) {
        let mut grader = Bound::compile(spec, vars)?;
        let plain = grader.label.clone();
        let mut number = 1;
        while !taken.insert(grader.label.clone()) {
            number += 1;
            grader.label = format!("{plain}-{number}");
        }
        bound.push(grader);
    }
    Ok(bound)
}

/// The hash of all graders of a suite as they are bound: equal hashes grade equally.
pub fn fingerprint<'a>(graders: impl IntoIterator<Item = &'a Bound>) -> String {
    let all: Vec<String> = graders
        .into_iter()
        .map(|grader| format!("{} {} {} {}", grader.label, grader.fingerprint, grader.required, grader.weight))
        .collect();
    hash_hex(all.join("\n").as_bytes())
}

/// Checks every grader of a suite, as soon as it is loaded; variables that only a trial has are checked with a word in
/// their place.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub fn check(loaded: &Loaded) -> Result<(), SuiteErrors> {
    let mut errors: Vec<SuiteError> = Vec::new();
    let mut tell = |outer: &[Step], error: ConfigError| {
        let error = error.within(outer.iter().cloned());
        errors.push(match &error.key {
            Some(key) => loaded.located.error_at_key(&error.path, key, error.message.clone(), error.help.clone()),
            None => loaded.located.error_at(&error.path, error.message.clone(), error.help.clone()),
        });
    };
    let suite = &loaded.suite;
    let sample = suite.tasks.first();
    for (index, spec) in suite.graders.iter().enumerate() {
        if let Err(error) = Bound::compile(spec, &stand_ins(loaded, sample, spec)) {
            tell(&["graders".into(), index.into()], error);
        }
    }
    for (number, task) in suite.tasks.iter().enumerate() {
        for (index, spec) in task.graders.iter().enumerate() {
            if let Err(error) = Bound::compile(spec, &stand_ins(loaded, Some(task), spec)) {
                tell(&["tasks".into(), number.into(), "graders".into(), index.into()], error);
            }
        }
    }
    for (index, path) in suite.ignore.iter().enumerate() {
        if let Err(error) = path.parse::<Ignore>() {
            errors.push(loaded.located.error_at(&["ignore".into(), index.into()], error.to_string(), None));
        }
    }
    for (number, task) in suite.tasks.iter().enumerate() {
        if let Err(error) = ToolModes::read(task.tape_tools.iter().map(String::as_str)) {
            let place = ["tasks".into(), number.into(), "tape_tools".into()];
            errors.push(loaded.located.error_at(&place, error.to_string(), None));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(SuiteErrors(errors)) }
}

/// The variables of a task, and a word for those that only a trial has.
fn stand_ins(loaded: &Loaded, task: Option<&Task>, spec: &GraderSpec) -> BTreeMap<String, Value> {
    let mut vars: BTreeMap<String, Value> = loaded.suite.vars.clone();
    if let Some(task) = task {
        vars.extend(task.vars.clone());
        vars.insert("expected".to_owned(), task.expected.clone().unwrap_or_else(|| Value::from("x")));
    }
    for text in texts(&spec.0) {
        for name in names(text) {
            let first = name.split('.').next().unwrap_or(name);
            if !vars.contains_key(name) && !vars.contains_key(first) {
                vars.insert(name.to_owned(), Value::from("x"));
            }
        }
    }
    vars
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => Map::values(map).flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::suite::{Files, load};
    use crate::trial::Grade;

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &str) -> Result<String, String> {
            Err("no such file".to_owned())
        }
        fn exists(&self, _: &str) -> bool {
            false
        }
    }

    fn faults(graders: &str) -> String {
        let text = format!(
            "suite: s\nmodels: [mock/echo]\ntarget: {{prompt: {{}}}}\ntasks:\n  - id: a\n    graders:\n      - {graders}\n"
        );
        check(&load("s.yaml", &text, &NoFiles).unwrap()).map_or_else(|errors| errors.to_string(), |()| String::new())
    }

    #[test]
    fn mistakes_in_a_grader_are_told_with_their_place() {
        for (grader, want) in [
            ("{type: contains, all: [x]}", ""),
            ("{type: contians, all: [x]}", "s.yaml:7:16: there is no grader \"contians\" (did you mean \"contains\"?)"),
            ("{type: contains, al: [x]}", "s.yaml:7:26: unknown key \"al\" (did you mean \"all\"?)"),
            (
                "{type: contains, all: [x], requird: false}",
                "s.yaml:7:36: unknown key \"requird\" (did you mean \"required\"?)",
            ),
            ("{type: contains, all: [x], weight: heavy}", "s.yaml:7:44: a weight is a number from 0 on, not \"heavy\""),
            ("{type: regex, pattern: '('}", "s.yaml:7:32: \"(\" is not a regular expression"),
            ("{type: all, graders: [{type: equals}, {type: nope}]}", "s.yaml:7:54: there is no grader \"nope\""),
            (
                "{type: not, grader: {type: contains, non: [x]}}",
                "s.yaml:7:46: unknown key \"non\" (did you mean \"none\"?)",
            ),
            ("{type: tool_calls, must: [{nam: x}]}", "s.yaml:7:36: unknown key \"nam\" (did you mean \"name\"?)"),
            ("{all: [x]}", "s.yaml:7:9: the grader has no type (there are equals, contains"),
            ("contains", "s.yaml:7:9: a grader is a map with a type"),
        ] {
            let got = faults(grader);
            assert!(got.starts_with(want) && got.is_empty() == want.is_empty(), "{grader}\nwant {want}\ngot  {got}");
        }
    }

    #[test]
    fn labels_are_unique_and_fingerprints_follow_the_configuration() {
        let task = Task {
            graders: vec![
                GraderSpec(json!({"type": "contains", "all": ["{{order}}"]})),
                GraderSpec(json!({"type": "contains", "none": ["x"], "required": false})),
            ],
            ..Task::default()
        };
        let vars = |order: &str| BTreeMap::from([("order".to_owned(), json!(order))]);
        let bound = bind(&[GraderSpec(json!({"type": "contains", "any": ["y"]}))], &task, &vars("A-1")).unwrap();
        let labels: Vec<&str> = bound.iter().map(|grader| grader.label.as_str()).collect();
        assert_eq!(labels, ["contains", "contains-2", "contains-3"]);
        let again = bind(&[], &task, &vars("A-1")).unwrap();
        let other = bind(&[], &task, &vars("A-2")).unwrap();
        assert_eq!(again[0].fingerprint, bound[1].fingerprint);
        assert_ne!(again[0].fingerprint, other[0].fingerprint);
        assert_ne!(fingerprint(&again), fingerprint(&other));
        let unknown = bind(&[], &task, &BTreeMap::new()).unwrap_err();
        assert!(unknown.to_string().contains("{{order}}"));
    }

    #[test]
    fn a_grader_that_panics_is_broken_and_nothing_else() {
        #[derive(Debug)]
        struct Panics;
        impl Grader for Panics {
            fn needs(&self, _: &Evidence) -> Vec<Need> {
                panic!("needs")
            }
            fn grade(&self, _: &Evidence) -> Graded {
                panic!("grade")
            }
        }
        let bound = Bound {
            label: "p".to_owned(),
            kind: "p",
            fingerprint: String::new(),
            required: true,
            weight: 1.0,
            grader: Box::new(Panics),
        };
        let evidence = Evidence::new("t", "");
        assert_eq!(bound.needs(&evidence), []);
        assert!(matches!(bound.grade(&evidence).grade, Grade::Broken { .. }));
    }
}
