//! What to watch for, as YAML.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::cli::Misuse;
use crate::cli::judging::{self, Judge};
use crate::signal::{self, Level, Taxonomy};
use crate::suite::{CommandLine, Rubric, nearest, yaml};

/// Rules for production traces: signals on all of them, rubrics on a share, and whom to tell.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Seconds without a call after which a trace that nobody ends counts as ended.
    #[serde(default = "minute")]
    #[schemars(range(min = 0.0))]
    pub idle: f64,
    /// Seconds between two looks.
    #[serde(default = "few_seconds")]
    #[schemars(range(min = 0.05))]
    pub every: f64,
    /// Rubrics that read a share of the traces.
    #[serde(default)]
    pub rubrics: Vec<Reader>,
    #[serde(default)]
    pub budget: Budget,
    /// A file with labels for what sessions are for; there is one built in.
    #[serde(default)]
    pub intents: Option<PathBuf>,
    #[serde(default)]
    pub drift: Drift,
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

/// A rubric and its share of the traces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// The rubric's file, beside the rules.
    pub rubric: PathBuf,
    /// Which share of the traces it reads; the same traces every time.
    #[serde(default = "all")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
    /// The judge, instead of the rubric's own.
    #[serde(default)]
    pub judge: Option<String>,
}

/// How much judging may cost in a day.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// US dollars.
    pub usd: Option<f64>,
    /// Traces that rubrics read.
    pub traces: Option<u64>,
}

/// When a signal's frequency or value counts as drifted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drift {
    /// Days that are compared: the change is looked for inside of them.
    #[schemars(range(min = 1))]
    pub days: u32,
    /// How unlikely a change must be by chance, over all series together.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
}

impl Default for Drift {
    fn default() -> Self {
        Drift { days: 14, alpha: 0.01 }
    }
}

/// Whom to tell of what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Signals by name, `rubric` for a rubric that fails, `drift`; all of them when left out.
    #[serde(default)]
    pub on: Vec<String>,
    /// From which level on: `info`, `warning` or `bad`.
    #[serde(default = "warning")]
    #[schemars(with = "String")]
    pub level: Level,
    /// A command that gets the alert as JSON on its standard input.
    #[serde(default)]
    pub command: Option<CommandLine>,
    /// An address that the alert is posted to as JSON.
    #[serde(default)]
    pub webhook: Option<String>,
    /// Seconds for which the same alert is not given again.
    #[serde(default)]
    pub quiet: f64,
}

fn minute() -> f64 {
    60.0
}

fn few_seconds() -> f64 {
    5.0
}

fn all() -> f64 {
    1.0
}

fn warning() -> Level {
    Level::Warning
}

/// Rules with everything they name.
pub struct Loaded {
    pub rules: Rules,
    /// Rubrics in the order of the rules, with their folders.
    pub rubrics: Vec<(Rubric, PathBuf)>,
    pub taxonomy: Taxonomy,
}

/// Words an alert may name beside the signals.
const OTHERS: [&str; 2] = ["rubric", "drift"];

impl Loaded {
    /// Reads rules and what they name.
    ///
    /// # Errors
    /// When something can't be read or makes no sense, and where.
    pub fn read(path: &Path, judge: &Judge) -> anyhow::Result<Loaded> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Misuse(format!("{name}: {error}")))?;
        let rules: Rules = yaml(&text).map_err(|error| {
            let place = error.location().map(|place| format!(":{}:{}", place.line(), place.column()));
            let message = error.without_snippet().to_string();
            Misuse(format!("{name}{}: {}", place.unwrap_or_default(), message.lines().next().unwrap_or_default()))
        })?;
        check(&rules).map_err(|why| Misuse(format!("{name}: {why}")))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let mut rubrics = Vec::new();
        for reader in &rules.rubrics {
            let path = dir.join(&reader.rubric);
            let mut rubric = judging::open_rubric(&path)?;
            if let Some(model) = &reader.judge {
                rubric.judge.model = Some(model.clone());
                rubric.judge.panel.clear();
            }
            judge.apply(&mut rubric);
            judging::must_have_judge(&path.display().to_string(), &rubric)?;
            rubrics.push((rubric, path.parent().unwrap_or(Path::new("")).to_owned()));
        }
        let taxonomy = match &rules.intents {
            None => Taxonomy::built_in(),
            Some(file) => {
                let path = dir.join(file);
                let told = |why: String| Misuse(format!("{}: {why}", path.display()));
                let text = std::fs::read_to_string(&path).map_err(|error| told(error.to_string()))?;
                Taxonomy::parse(&text).map_err(|error| told(error.to_string()))?
            }
        };
        Ok(Loaded { rules, rubrics, taxonomy })
    }
}

fn check(rules: &Rules) -> Result<(), String> {
    let share = |value: f64| (0.0..=1.0).contains(&value);
    if !(rules.idle.is_finite() && rules.idle >= 0.0) {
        return Err("idle is a number of seconds".to_owned());
    }
    if !(rules.every.is_finite() && rules.every >= 0.05) {
        return Err("every is a number of seconds from 0.05 on".to_owned());
    }
    if let Some(reader) = rules.rubrics.iter().find(|reader| !share(reader.sample)) {
        return Err(format!("{}: sample is a share from 0 to 1", reader.rubric.display()));
    }
    let named =
        |model: &String| model.split_once('/').is_some_and(|(provider, name)| !provider.is_empty() && !name.is_empty());
    if let Some(judge) = rules.rubrics.iter().filter_map(|reader| reader.judge.as_ref()).find(|judge| !named(judge)) {
        return Err(format!("rubrics: {judge:?} doesn't say which provider it is of: write it as provider/model"));
    }
    if !share(rules.drift.alpha) || rules.drift.days == 0 {
        return Err("drift: alpha lies between 0 and 1, and days is 1 or more".to_owned());
    }
    for alert in &rules.alerts {
        let known = || signal::names().chain(OTHERS);
        if let Some(word) = alert.on.iter().find(|word| !known().any(|name| name == word.as_str())) {
            let near = nearest(word, known()).map(|near| format!(" (did you mean {near:?}?)"));
            let all = || format!(" (there are {})", known().collect::<Vec<_>>().join(", "));
            return Err(format!("alerts: there is no signal {word:?}{}", near.unwrap_or_else(all)));
        }
        if alert.command.is_none() && alert.webhook.is_none() {
            return Err("alerts: an alert needs a command or a webhook".to_owned());
        }
        if alert.command.as_ref().is_some_and(|command| command.0.is_empty()) {
            return Err("alerts: the command is empty".to_owned());
        }
        if let Some(url) =
            alert.webhook.as_ref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://"))
        {
            return Err(format!("alerts: {url:?} is no http address"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_mistakes_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Loaded::read(&path, &Judge::default()).map(|loaded| loaded.rules).map_err(|error| error.to_string())
        };
        let rules = read("alerts: [{on: [stuck, rubric], command: [cat]}]\nidle: 2\n").unwrap();
        assert_eq!((rules.idle, rules.every, rules.alerts[0].level), (2.0, 5.0, Level::Warning));
        for (text, want) in [
            ("alerts: [{on: [stuk], command: [cat]}]", "did you mean \"stuck\"?"),
            ("alerts: [{on: [stuck]}]", "needs a command or a webhook"),
            ("alerts: [{webhook: 'ftp://x'}]", "no http address"),
            ("idel: 3", "rules.yaml:1:1"),
            ("rubrics: [{rubric: none.yaml}]", "none.yaml"),
            ("rubrics: [{rubric: r.yaml, sample: 2}]", "sample is a share"),
            ("intents: none.yaml", "none.yaml"),
            ("every: 0", "every is a number"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    /// `HOLDBACK_BLESS=1 cargo test watch_schema` writes the file anew.
    #[test]
    fn the_watch_schema_in_the_repository_is_the_one_the_types_make() {
        let settings = schemars::generate::SchemaSettings::draft2020_12();
        let mut schema = settings.into_generator().into_root_schema_for::<Rules>().to_value();
        schema["title"] = serde_json::json!("Rules of holdback watch");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/watch.schema.json");
        let made = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if option_env!("HOLDBACK_BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "schemas/watch.schema.json is old: run the test with HOLDBACK_BLESS=1 to write it anew");
        let validator = jsonschema::validator_for(&schema).unwrap();
        let fits = |text: &str| validator.is_valid(&yaml::<serde_json::Value>(text).unwrap());
        assert!(fits("alerts: [{on: [stuck, rubric], command: [cat]}]\nidle: 2\n"));
        assert!(!fits("idel: 3") && !fits("rubrics: [{rubric: r.yaml, sample: 2}]"));
    }
}
