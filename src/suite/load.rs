//! A suite's text becomes a [`Suite`], or errors with their places.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serde_saphyr::Error as Yaml;

use super::error::{SuiteError, SuiteErrors};
use super::harbor;
use super::locate::{Located, Step, error_from};
use super::near::nearest;
use super::rows;
use super::rubric::Rubric;
use super::rubric_load::load_rubric;
use super::template::{TRIAL_VARIABLES, is_file, names};
use super::types::{GraderSpec, Suite, Target};

/// How the name of a trace in a file of its own ends.
pub const TRACE_FILE: &str = ".trace.zst";

/// The files a suite names, relative to its own folder. Whoever loads a suite hands this in.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// Why it can't be read, in a few words.
    fn read(&self, path: &str) -> Result<String, String>;

    /// Whether there is a file or folder of this name.
    fn exists(&self, path: &str) -> bool;

    /// The names of the folders in a folder; none when it isn't one.
    fn folders(&self, _path: &str) -> Vec<String> {
        Vec::new()
    }
}

/// A suite that is in order, with all the files it is made of.
#[derive(Debug)]
pub struct Loaded {
    pub suite: Suite,
    /// Places in the text, for what is found wrong later.
    pub located: Located,
    /// Prompt files by the name the suite calls them.
    pub texts: BTreeMap<String, String>,
    /// Rubrics by the file that graders name.
    pub rubrics: BTreeMap<String, Rubric>,
    /// What isn't wrong and may surprise.
    pub warnings: Vec<String>,
    /// How many of the tasks stand in the suite itself; the others came from files of rows.
    pub own_tasks: usize,
}

impl Loaded {
    /// A setting's text: the content of the file it names, or itself.
    pub fn text<'a>(&'a self, setting: &'a str) -> &'a str {
        self.texts.get(setting).map_or(setting, String::as_str)
    }
}

/// Reads a suite.
///
/// # Errors
/// Everything that is wrong with it, as far as it can be told at once.
pub fn load(file: &str, text: &str, files: &dyn Files) -> Result<Loaded, SuiteErrors> {
    let suite: Suite = yaml(text).map_err(|error| yaml_error(file, text, &error))?;
    let own_tasks = suite.tasks.len();
    let located = Located::read(file, text);
    let (texts, rubrics) = (BTreeMap::new(), BTreeMap::new());
    let mut loaded = Loaded { suite, located, texts, rubrics, warnings: Vec::new(), own_tasks };
    let mut errors = Vec::new();
    read_rows(&mut loaded, files, &mut errors);
    read_texts(&mut loaded, files, &mut errors);
    read_rubrics(&mut loaded, files, &mut errors);
    check_shape(&loaded, &mut errors);
    check_ids(&loaded, &mut errors);
    check_folders(&loaded, files, &mut errors);
    check_tapes(&loaded, files, &mut errors);
    check_variables(&loaded, &mut errors);
    if loaded.suite.tasks.is_empty() {
        loaded.warnings.push("the suite has no tasks: a run of it can only be undecided".to_owned());
    }
    if errors.is_empty() {
        return Ok(loaded);
    }
    errors.sort_by_key(|error| (error.file != file, error.line, error.column));
    Err(SuiteErrors(errors))
}

/// Reads YAML as version 1.2 has it: `yes` and `no` are words, as whoever looks for them in an answer means them.
///
/// # Errors
/// When it isn't YAML, or not of this type.
pub fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Yaml> {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
}

/// What serde and the YAML reader have to say, in words for a person.
pub(super) fn yaml_error(file: &str, text: &str, error: &Yaml) -> SuiteError {
    let place = error.location();
    match error.without_snippet() {
        Yaml::SerdeUnknownField { field, expected, .. } => {
            error_from(file, place, format!("unknown key {field:?}"), Some(suggest(field, expected)))
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            error_from(file, place, format!("{variant:?} is not known here"), Some(suggest(variant, expected)))
        }
        Yaml::SerdeMissingField { field, .. } => error_from(file, place, format!("the key {field:?} is missing"), None),
        Yaml::SerdeInvalidType { unexpected, expected, .. } | Yaml::SerdeInvalidValue { unexpected, expected, .. } => {
            error_from(file, place, format!("expected {expected}, found {unexpected}"), None)
        }
        Yaml::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("a key");
            error_from(file, place, format!("{key:?} is given twice"), None)
        }
        Yaml::Eof { .. } if text.trim().is_empty() => {
            let help = Some("start from `holdback init`".to_owned());
            error_from(file, place, "the file is empty".to_owned(), help)
        }
        other => {
            let message = other.to_string();
            let message = message.lines().next().unwrap_or_default();
            error_from(file, place, message.to_owned(), None)
        }
    }
}

/// "did you mean" when a known word is near, otherwise all known words.
fn suggest(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("expected one of {}", known.join(", ")),
    }
}

fn read_rows(loaded: &mut Loaded, files: &dyn Files, errors: &mut Vec<SuiteError>) {
    for (index, file) in loaded.suite.tasks_from.clone().iter().enumerate() {
        let place = ["tasks_from".into(), index.into()];
        if harbor::is_folder(file, files) {
            match harbor::tasks(file, files, &mut loaded.warnings) {
                Ok(tasks) => loaded.suite.tasks.extend(tasks),
                Err(found) => errors.extend(found),
            }
            continue;
        }
        match files.read(file) {
            Ok(text) => match rows::tasks(file, &text) {
                Ok(tasks) => loaded.suite.tasks.extend(tasks),
                Err(found) => errors.extend(found),
            },
            Err(why) => errors.push(loaded.located.error_at(&place, format!("can't read {file:?}: {why}"), None)),
        }
    }
}

fn read_texts(loaded: &mut Loaded, files: &dyn Files, errors: &mut Vec<SuiteError>) {
    let mut wanted: Vec<(String, Vec<Step>)> = Vec::new();
    if let Target::Prompt(prompt) = &loaded.suite.target
        && let Some(system) = &prompt.system
    {
        wanted.push((system.clone(), vec!["target".into(), "prompt".into(), "system".into()]));
    }
    for (name, text) in &loaded.suite.prompts {
        wanted.push((text.clone(), vec!["prompts".into(), name.as_str().into()]));
    }
    for (index, task) in loaded.suite.tasks.iter().enumerate().take(loaded.own_tasks) {
        if let Some(prompt) = &task.prompt {
            wanted.push((prompt.clone(), vec!["tasks".into(), index.into(), "prompt".into()]));
        }
    }
    for (setting, place) in wanted.into_iter().filter(|(setting, _)| is_file(setting)) {
        match files.read(&setting) {
            Ok(text) => {
                loaded.texts.insert(setting, text);
            }
            Err(why) => {
                let help = Some("a single word that ends in .md, .txt or .j2 names a file".to_owned());
                errors.push(loaded.located.error_at(&place, format!("can't read {setting:?}: {why}"), help));
            }
        }
    }
}

/// Reads the rubrics that graders name.
fn read_rubrics(loaded: &mut Loaded, files: &dyn Files, errors: &mut Vec<SuiteError>) {
    fn holds_one(spec: &Value) -> bool {
        match spec {
            Value::Array(items) => items.iter().any(holds_one),
            Value::Object(map) => map.get("type").is_some_and(|kind| kind == "rubric") || map.values().any(holds_one),
            _ => false,
        }
    }
    let mut named: Vec<(Vec<Step>, String)> = Vec::new();
    let mut note = |specs: &[GraderSpec], path: &[Step]| {
        for (index, GraderSpec(spec)) in specs.iter().enumerate() {
            if spec["type"] != "rubric" && holds_one(spec) {
                let place: Vec<Step> = path.iter().cloned().chain([index.into()]).collect();
                let help = "give the rubric a line of its own among the graders".to_owned();
                let message = "a rubric can't stand inside another grader: its criteria are grades of their own";
                errors.push(loaded.located.error_at(&place, message, Some(help)));
            }
            if let (Some("rubric"), Some(file)) = (spec["type"].as_str(), spec["rubric"].as_str()) {
                let place = path.iter().cloned().chain([index.into(), "rubric".into()]).collect();
                named.push((place, file.to_owned()));
            }
        }
    };
    note(&loaded.suite.graders, &["graders".into()]);
    for (index, task) in loaded.suite.tasks.iter().enumerate() {
        note(&task.graders, &["tasks".into(), index.into(), "graders".into()]);
    }
    let mut told = BTreeSet::new();
    for (place, file) in named {
        if loaded.rubrics.contains_key(&file) || file.trim().is_empty() || !told.insert(file.clone()) {
            continue;
        }
        match files.read(&file).map(|text| load_rubric(&file, &text)) {
            Ok(Ok(rubric)) => drop(loaded.rubrics.insert(file, rubric)),
            Ok(Err(found)) => errors.extend(found.0),
            Err(why) => errors.push(loaded.located.error_at(&place, format!("can't read {file:?}: {why}"), None)),
        }
    }
}

fn check_shape(loaded: &Loaded, errors: &mut Vec<SuiteError>) {
    let (suite, located) = (&loaded.suite, &loaded.located);
    let mut wrong = |path: &[Step], message: &str, help: Option<&str>| {
        errors.push(located.error_at(path, message, help.map(ToOwned::to_owned)));
    };
    if suite.suite.trim().is_empty() {
        wrong(&["suite".into()], "the suite's name is empty", None);
    }
    if suite.trials == 0 {
        wrong(&["trials".into()], "trials must be at least 1", None);
    }
    if suite.models.is_empty() && matches!(suite.target, Target::Prompt(_)) {
        let help = "add models: [mock/echo] to try it without a key";
        wrong(&["target".into()], "a prompt needs at least one model to be asked of", Some(help));
    }
    for (index, model) in suite.models.iter().enumerate() {
        let place = ["models".into(), index.into()];
        if !model.split_once('/').is_some_and(|(provider, name)| !provider.is_empty() && !name.is_empty()) {
            let help = "write it as provider/model, for example anthropic/claude-sonnet-5 or mock/echo";
            wrong(&place, &format!("{model:?} doesn't say which provider it is of"), Some(help));
        }
        if suite.models[..index].contains(model) {
            wrong(&place, &format!("{model:?} is listed twice"), None);
        }
    }
    if suite.budget.usd.is_some_and(|usd| usd.is_nan() || usd < 0.0) {
        wrong(&["budget".into(), "usd".into()], "a budget can't be below 0", None);
    }
    if suite.budget.trial.seconds.is_some_and(|seconds| seconds.is_nan() || seconds <= 0.0) {
        wrong(&["budget".into(), "trial".into(), "seconds".into()], "the time of a trial must be above 0", None);
    }
    for (index, task) in suite.tasks.iter().enumerate().take(loaded.own_tasks) {
        if task.trials == Some(0) {
            wrong(&["tasks".into(), index.into(), "trials".into()], "trials must be at least 1", None);
        }
        if task.seconds.is_some_and(|seconds| seconds.is_nan() || seconds <= 0.0) {
            wrong(&["tasks".into(), index.into(), "seconds".into()], "the time of a trial must be above 0", None);
        }
        if matches!(suite.target, Target::Trace(_)) && task.trace.is_none() {
            let help = "add trace: with an id, the beginning of one, or a name";
            wrong(&["tasks".into(), index.into()], "the task names no trace to grade", Some(help));
        }
    }
}

fn check_ids(loaded: &Loaded, errors: &mut Vec<SuiteError>) {
    let mut seen = BTreeSet::new();
    for (index, task) in loaded.suite.tasks.iter().enumerate() {
        let place = ["tasks".into(), index.into(), "id".into()];
        if task.id.trim().is_empty() {
            errors.push(loaded.located.error_at(&place, "the task's id is empty", None));
        } else if !seen.insert(task.id.as_str()) {
            let from = if index < loaded.own_tasks { "" } else { " (the second one is in a file of tasks_from)" };
            let message = format!("two tasks are called {:?}{from}", task.id);
            errors.push(loaded.located.error_at(&place, message, Some("ids must be unique in a suite".to_owned())));
        }
    }
}

fn check_folders(loaded: &Loaded, files: &dyn Files, errors: &mut Vec<SuiteError>) {
    let mut folder = |path: &str, place: &[Step]| {
        if !files.exists(path) {
            errors.push(loaded.located.error_at(place, format!("there is no folder {path:?}"), None));
        }
    };
    if let Target::Loop(target) = &loaded.suite.target
        && let Some(workspace) = &target.workspace
    {
        folder(workspace, &["target".into(), "loop".into(), "workspace".into()]);
    }
    for (index, task) in loaded.suite.tasks.iter().enumerate() {
        if let Some(workspace) = &task.workspace {
            folder(workspace, &["tasks".into(), index.into(), "workspace".into()]);
        }
    }
}

/// Tapes belong to loops, and those in files must be there.
fn check_tapes(loaded: &Loaded, files: &dyn Files, errors: &mut Vec<SuiteError>) {
    for (index, task) in loaded.suite.tasks.iter().enumerate() {
        let mut wrong = |key: &str, message: String, help: Option<&str>| {
            let place = ["tasks".into(), index.into(), key.into()];
            errors.push(loaded.located.error_at(&place, message, help.map(str::to_owned)));
        };
        match &task.tape {
            Some(_) if !matches!(loaded.suite.target, Target::Loop(_)) => {
                let help = "with target: {trace: …} the recording is called trace:";
                wrong("tape", "a tape answers a loop, and the target is none".to_owned(), Some(help));
            }
            Some(tape) if tape.ends_with(TRACE_FILE) && !files.exists(tape) => {
                let help = "`holdback traces export` writes one";
                wrong("tape", format!("there is no file {tape:?}"), Some(help));
            }
            None if !task.tape_tools.is_empty() => {
                wrong("tape_tools", "what answers for tools is a tape".to_owned(), Some("add tape:"));
            }
            None if task.live_from.is_some() => {
                wrong("live_from", "what comes before the live calls is a tape".to_owned(), Some("add tape:"));
            }
            _ => {}
        }
        if task.live_from == Some(0) {
            wrong("live_from", "calls are counted from 1".to_owned(), None);
        }
    }
}

/// Every `{{name}}` must mean something, for each task it is used with.
fn check_variables(loaded: &Loaded, errors: &mut Vec<SuiteError>) {
    let suite = &loaded.suite;
    let mut common: BTreeSet<String> = TRIAL_VARIABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    common.extend(suite.vars.keys().cloned());
    common.extend(suite.parameters.iter().flat_map(|set| set.keys().map(|key| format!("params.{key}"))));

    let target = serde_json::to_value(&suite.target).unwrap_or_default();
    let mut shared: Vec<(Vec<Step>, String)> = Vec::new();
    texts_in(&target, &mut vec!["target".into()], &mut shared);
    for (name, text) in &suite.prompts {
        shared.push((vec!["prompts".into(), name.as_str().into()], text.clone()));
    }
    grader_texts(&suite.graders, &["graders".into()], &mut shared);
    let mut told = BTreeSet::new();
    for (index, task) in suite.tasks.iter().enumerate() {
        let known = |name: &str| {
            let first = name.split('.').next().unwrap_or(name);
            common.contains(name)
                || common.contains(first)
                || task.vars.contains_key(name)
                || task.vars.contains_key(first)
        };
        let place: Vec<Step> = vec!["tasks".into(), index.into()];
        let mut own = Vec::new();
        if let Some(prompt) = &task.prompt {
            own.push((join(&place, "prompt"), prompt.clone()));
        }
        grader_texts(&task.graders, &join(&place, "graders"), &mut own);
        let of_shared = shared.iter().map(|text| (text, true));
        for ((path, text), is_shared) in of_shared.chain(own.iter().map(|text| (text, false))) {
            for name in names(loaded.text(text)) {
                if known(name) || !told.insert((format!("{path:?}"), name.to_owned())) {
                    continue;
                }
                let all = common.iter().chain(task.vars.keys()).map(String::as_str);
                let message = match is_shared {
                    true => format!("unknown variable {{{{{name}}}}}: task {:?} has no such var", task.id),
                    false => format!("unknown variable {{{{{name}}}}}"),
                };
                let help = match nearest(name, all) {
                    Some(near) => format!("did you mean {{{{{near}}}}}?"),
                    None => format!("set it under vars:, or write {{{{!{name}}}}} to keep the braces"),
                };
                errors.push(loaded.located.error_at(path, message, Some(help)));
            }
        }
    }
}

fn join(path: &[Step], key: &str) -> Vec<Step> {
    path.iter().cloned().chain([key.into()]).collect()
}

fn grader_texts(graders: &[GraderSpec], path: &[Step], out: &mut Vec<(Vec<Step>, String)>) {
    for (index, grader) in graders.iter().enumerate() {
        texts_in(&grader.0, &mut path.iter().cloned().chain([index.into()]).collect(), out);
    }
}

/// Every text in a value, with the path that leads to it.
fn texts_in(value: &Value, path: &mut Vec<Step>, out: &mut Vec<(Vec<Step>, String)>) {
    match value {
        Value::String(text) => out.push((path.clone(), text.clone())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.into());
                texts_in(item, path, out);
                path.pop();
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                path.push(key.as_str().into());
                texts_in(item, path, out);
                path.pop();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disk(BTreeMap<&'static str, &'static str>);

    impl Files for Disk {
        fn read(&self, path: &str) -> Result<String, String> {
            self.0.get(path).map(|text| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
        }
        fn exists(&self, path: &str) -> bool {
            self.0.contains_key(path)
        }
    }

    fn try_load(text: &str) -> Result<Loaded, SuiteErrors> {
        let disk = [
            ("fixtures/shop", ""),
            ("p.md", "You help {{who}}."),
            ("t.csv", "id,prompt\nx,Hi\n"),
            ("e.csv", "id\na\n"),
        ];
        load("s.yaml", text, &Disk(BTreeMap::from(disk)))
    }

    const GOOD: &str = r#"# yaml-language-server: $schema=../schemas/suite.schema.json
suite: shop-agent
kind: regression
target:
  loop: {command: [python, agent.py, "{{prompt}}"], workspace: fixtures/shop, env: {LANG: C}}
models: [anthropic/claude-sonnet-5, openai/gpt-5.2]
trials: 8
budget: {usd: 20, trial: {calls: 40, seconds: 300, usd: 1}}
graders: [{type: stops}]
tasks:
  - id: refund-late-order
    prompt: "Order {{order}} came late, refund it."
    vars: {order: A-17}
    graders:
      - {type: tool_calls, must: [{name: lookup_order, args: {id: A-17}}], never: [delete_order]}
      - {type: command, run: "pytest -q tests/", weight: 2}
"#;

    #[test]
    fn the_example_of_the_documentation_loads() {
        let loaded = try_load(GOOD).unwrap();
        assert_eq!(loaded.suite.trials, 8);
        assert_eq!(loaded.suite.tasks[0].graders[1].kind(), Some("command"));
        assert!(matches!(&loaded.suite.target, Target::Loop(target) if target.command.0.len() == 3));
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }

    #[test]
    fn yes_and_no_are_words() {
        let loaded =
            try_load("suite: s\ntarget: {http: {url: x}}\ngraders: [{type: contains, all: [yes, no, true]}]\n")
                .unwrap();
        assert_eq!(loaded.suite.graders[0].0["all"], serde_json::json!(["yes", "no", true]));
    }

    #[test]
    fn prompts_and_rows_come_from_files() {
        let loaded = try_load(
            "suite: s\ntarget: {prompt: {system: p.md}}\nmodels: [mock/echo]\nvars: {who: Ada}\ntasks_from: [t.csv]\n",
        );
        let loaded = loaded.unwrap();
        assert_eq!(loaded.text("p.md"), "You help {{who}}.");
        assert_eq!(loaded.suite.tasks[0].id, "x");
        let empty = try_load("suite: s\ntarget: {http: {url: 'http://x'}}\n").unwrap();
        assert!(empty.warnings[0].contains("no tasks"), "{:?}", empty.warnings);
    }

    /// Each mistake, where it is and what helps, as one line.
    #[test]
    fn mistakes_are_told_with_their_place_and_a_way_out() {
        let prompt = "suite: s\nmodels: [mock/echo]\ntarget: {prompt: {}}\n";
        let cases: &[(&str, &str)] = &[
            (
                "suite: s\ntarget: {http: {url: x}}\ntask: []\n",
                "s.yaml:3:1: unknown key \"task\" (did you mean \"tasks\"?)",
            ),
            ("suite: s\ntarget: {looop: {}}\n", "s.yaml:2:10: \"looop\" is not known here (did you mean \"loop\"?)"),
            ("suite: s\n", "the key \"target\" is missing"),
            ("suite: s\ntarget: {http: {url: x}}\ntrials: many\n", "s.yaml:3:9: "),
            ("suite: s\ntarget: {http: {url: x}}\ntrials: 0\n", "s.yaml:3:9: trials must be at least 1"),
            ("suite: s\nsuite: t\n", "s.yaml:2:1: \"suite\" is given twice"),
            ("", "the file is empty (start from `holdback init`)"),
            ("suite: s\ntarget: {prompt: {}}\n", "s.yaml:2:9: a prompt needs at least one model"),
            ("suite: s\nmodels: [gpt-5]\ntarget: {prompt: {}}\n", "s.yaml:2:10: \"gpt-5\" doesn't say which provider"),
            ("suite: s\nmodels: [a/b, a/b]\ntarget: {prompt: {}}\n", "s.yaml:2:15: \"a/b\" is listed twice"),
            ("suite: s\ntarget: {loop: {command: []}}\n", "the command is empty"),
            ("suite: s\ntarget: {loop: {command: x, workspace: nope}}\n", "s.yaml:2:40: there is no folder \"nope\""),
        ];
        for (text, want) in cases {
            let error = try_load(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}\nwant {want}\ngot  {error}");
        }
        let tails: &[(&str, &str)] = &[
            ("tasks: [{id: a}, {id: a}]\n", "s.yaml:4:23: two tasks are called \"a\""),
            ("tasks: [{id: a}]\ntasks_from: [e.csv]\n", "(the second one is in a file of tasks_from)"),
            ("tasks_from: [no.csv]\n", "s.yaml:4:14: can't read \"no.csv\": no such file"),
            ("tasks: [{id: a, prompt: missing.md}]\n", "s.yaml:4:25: can't read \"missing.md\""),
            (
                "tasks: [{id: a, prompt: 'Hi {{nmae}}', vars: {name: x}}]\n",
                "s.yaml:4:25: unknown variable {{nmae}} (did you mean {{name}}?)",
            ),
            (
                "tasks:\n  - {id: a, graders: [{type: equals, to: '{{zzzzzz}}'}]}\n",
                "s.yaml:5:42: unknown variable {{zzzzzz}} (set it under vars:",
            ),
            (
                "graders: [{type: equals, to: '{{y}}'}]\ntasks: [{id: a, vars: {y: 1}}, {id: b}]\n",
                "s.yaml:4:30: unknown variable {{y}}: task \"b\" has no such var",
            ),
            ("tasks: [{id: '', prompt: x}]\n", "the task's id is empty"),
            ("tasks: [{id: a, trials: 0}]\n", "s.yaml:4:25: trials must be at least 1"),
            ("tasks: [{id: a, seconds: 0}]\n", "s.yaml:4:26: the time of a trial must be above 0"),
            ("tasks: [{id: a, graders: 3}]\n", "s.yaml:4:26: "),
        ];
        for (tail, want) in tails {
            let text = format!("{prompt}{tail}");
            let error = try_load(&text).unwrap_err().to_string();
            assert!(error.contains(want), "{tail}\nwant {want}\ngot  {error}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_underlined() {
        let text = "suite: s\ntarget: {http: {url: x}}\ntrials: 0\ntasks: [{id: a}, {id: a}]\n";
        let errors = try_load(text).unwrap_err().0;
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(&text[errors[0].offset..errors[0].offset + errors[0].len], "0");
    }

    #[test]
    fn the_fingerprint_is_of_what_is_asked() {
        let print = |from: &str, to: &str| super::super::fingerprint(&try_load(&GOOD.replace(from, to)).unwrap());
        let same = print("", "");
        for (from, to) in [
            ("shop-agent", "x"),
            ("trials: 8", "trials: 2"),
            ("usd: 20", "usd: 1"),
            (", openai/gpt-5.2", ""),
            ("{type: stops}", ""),
            // the loop's own business
            ("agent.py", "other.py"),
            ("LANG: C", "LANG: D"),
        ] {
            assert_eq!(print(from, to), same, "{from}");
        }
        for (from, to) in [("A-17}\n", "A-18}\n"), ("came late", "came"), ("refund-late", "refund-latest")] {
            assert_ne!(print(from, to), same, "{from}");
        }
    }
}
