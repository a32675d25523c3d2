//! Which trials a run is made of, in which order, and what must not have changed when it is resumed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::grade::{self, Bound, ConfigError};
use crate::suite::{Loaded, Target, Task, fingerprint, hash_hex};
use crate::trial::{Fingerprints, RunRecord, Variant};

/// One trial to be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Index of the task in its suite.
    pub task: usize,
    /// Index of the variant in the plan.
    pub variant: usize,
    /// Which attempt, from 1.
    pub attempt: u32,
}

/// Hashes of what stands on disk besides the suite's own file; empty where there is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// What tasks begin with: their own workspaces.
    pub tasks: String,
    /// What graders run and compare with.
    pub graders: String,
}

/// Which part of a suite to run.
#[derive(Debug, Clone, Default)]
pub struct Select {
    /// Words that a task's id or one of its tags must contain; one of them is enough.
    pub filter: Vec<String>,
    /// Exact ids; when not empty only these.
    pub tasks: Vec<String>,
    /// Models instead of the suite's own.
    pub models: Vec<String>,
    /// Trials instead of the suite's own number.
    pub trials: Option<u32>,
    /// At most so many tasks.
    pub limit: Option<usize>,
    /// Only these tasks, those that failed in another run say.
    pub only: Option<BTreeSet<String>>,
    /// This part of so many, counted from 1.
    pub shard: Option<(u32, u32)>,
}

/// A run that can't be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("the suite has no task {0:?}{1}")]
    NoTask(String, String),
    #[error("shard {0}/{1} does not exist: shards are counted from 1, so write 1/4, 2/4, 3/4, 4/4")]
    BadShard(u32, u32),
    #[error("the graders of task {task:?}: {error}")]
    Graders { task: String, error: String },
}

/// A run before it begins.
#[derive(Debug)]
pub struct Plan {
    pub variants: Vec<Variant>,
    /// The tasks that take part, as indices into the suite.
    pub tasks: Vec<usize>,
    /// Trials per task and variant.
    pub trials: u32,
    /// All trials in the order they are begun.
    pub order: Vec<Slot>,
    pub fingerprints: Fingerprints,
}

impl Plan {
    /// Plans a run. `target` is the hash of what stands on disk for the target (see [`super::workspace::fingerprint`]), `prices`
    /// that of the price table.
    ///
    /// # Errors
    /// When a task is named that isn't there, the shard is none, or a grader can't be made.
    pub fn new(loaded: &Loaded, select: &Select, target: &str, prices: &str) -> Result<Plan, PlanError> {
        let suite = &loaded.suite;
        let tasks = chosen(&suite.tasks, select)?;
        let variants = variants(loaded, select);
        let trials = select.trials.unwrap_or(suite.trials);
        let mut order = order(suite.seed, &suite.tasks, &tasks, variants.len(), trials, select.trials.is_some());
        if let Some((part, parts)) = select.shard {
            if part == 0 || part > parts {
                return Err(PlanError::BadShard(part, parts));
            }
            order = (0_u32..).zip(order).filter(|(at, _)| at % parts == part - 1).map(|(_, slot)| slot).collect();
        }
        let mut hashes = Vec::new();
        for task in &suite.tasks {
            let bound = bound(loaded, task, &BTreeMap::new())
                .map_err(|error| PlanError::Graders { task: task.id.clone(), error: error.to_string() })?;
            hashes.push(format!("{} {}", task.id, grade::fingerprint(&bound)));
        }
        let target =
            hash_hex(format!("{} {target}", serde_json::to_string(&suite.target).unwrap_or_default()).as_bytes());
        let fingerprints = Fingerprints {
            version: Fingerprints::VERSION,
            suite: fingerprint(loaded),
            graders: hash_hex(hashes.join("\n").as_bytes()),
            judge: judge(loaded),
            prices: prices.to_owned(),
            target,
        };
        Ok(Plan { variants, tasks, trials, order, fingerprints })
    }

    /// Takes into the fingerprints what stands on disk for tasks and graders.
    #[must_use]
    pub fn with_files(mut self, files: &OnDisk) -> Plan {
        for (print, files) in
            [(&mut self.fingerprints.suite, &files.tasks), (&mut self.fingerprints.graders, &files.graders)]
        {
            if !files.is_empty() {
                *print = hash_hex(format!("{print} {files}").as_bytes());
            }
        }
        self
    }

    /// The trials that an earlier part of this run has not finished.
    pub fn open<'a>(&'a self, loaded: &'a Loaded, done: &RunRecord) -> Vec<Slot> {
        let finished: BTreeSet<(&str, &str, u32)> =
            done.trials.iter().map(|trial| (trial.task.as_str(), trial.variant.as_str(), trial.attempt)).collect();
        let is_open = |slot: &&Slot| {
            let (task, variant) = (&loaded.suite.tasks[slot.task].id, &self.variants[slot.variant].name);
            !finished.contains(&(task.as_str(), variant.as_str(), slot.attempt))
        };
        self.order.iter().filter(is_open).cloned().collect()
    }

    /// What has changed since an earlier part of this run, in words; what differs there would be mixed up in one number.
    pub fn changed(&self, before: &RunRecord) -> Vec<String> {
        let (now, then) = (&self.fingerprints, &before.fingerprints);
        if now.version != then.version {
            return vec![format!(
                "the way holdback takes fingerprints (the run was begun with version {})",
                before.holdback
            )];
        }
        let mut changed = Vec::new();
        for (what, same) in [
            ("the measurement: the suite's tasks", now.suite == then.suite),
            ("the measurement: the graders", now.graders == then.graders),
            ("the measurement: the judge", now.judge == then.judge),
            ("the loop: its command or the files it is made of", now.target == then.target),
            ("the price table", now.prices == then.prices),
        ] {
            if !same {
                changed.push(what.to_owned());
            }
        }
        for variant in &self.variants {
            match before.variants.iter().find(|old| old.name == variant.name) {
                Some(old) if old.fingerprint != variant.fingerprint => {
                    changed.push(format!("the variant {}", variant.name));
                }
                Some(_) => {}
                None => changed.push(format!("the variant {} is new", variant.name)),
            }
        }
        changed
    }
}

/// The hash of all rubrics with their judges; empty when nobody judges.
fn judge(loaded: &Loaded) -> String {
    let all: Vec<String> =
        loaded.rubrics.iter().map(|(file, rubric)| format!("{file} {}", rubric.fingerprint())).collect();
    if all.is_empty() { String::new() } else { hash_hex(all.join("\n").as_bytes()) }
}

/// Graders of a task with all the variables that are known: the suite's, the task's, and those given, which a trial has.
pub fn bound(loaded: &Loaded, task: &Task, more: &BTreeMap<String, Value>) -> Result<Vec<Bound>, ConfigError> {
    let mut vars = task_vars(loaded, task);
    for name in
        ["model", "model_name", "system", "trial", "seed", "workspace", "suite_dir", "holdback", "proxy", "answer"]
    {
        // What only a trial knows stands for itself until there is one, so that the fingerprint doesn't move with it.
        vars.entry(name.to_owned()).or_insert_with(|| Value::from(format!("{{{{{name}}}}}")));
    }
    for set in &loaded.suite.parameters {
        for key in set.keys() {
            vars.entry(format!("params.{key}")).or_insert_with(|| Value::from(format!("{{{{params.{key}}}}}")));
        }
    }
    vars.extend(more.clone());
    let mut bound = grade::bind(&loaded.suite.graders, task, &vars)?;
    for grader in &mut bound {
        // Its file's name says nothing of a rubric: what calibrations hold on to is what stands in it.
        if let Some(rubric) = grader.rubric().and_then(|file| loaded.rubrics.get(&file)) {
            grader.fingerprint = rubric.fingerprint();
        }
    }
    Ok(bound)
}

/// The variables of a task that hold for all its trials.
pub fn task_vars(loaded: &Loaded, task: &Task) -> BTreeMap<String, Value> {
    let mut vars = loaded.suite.vars.clone();
    vars.extend(task.vars.clone());
    let prompt = task.prompt.as_deref().map(|prompt| loaded.text(prompt)).unwrap_or_default();
    // The loader has made sure that every name in it is known; a name only a trial has stays as it is.
    let prompt = crate::suite::render(prompt, &vars).unwrap_or_else(|_| prompt.to_owned());
    vars.insert("prompt".to_owned(), Value::from(prompt));
    vars.insert("task".to_owned(), Value::from(task.id.clone()));
    vars.insert("expected".to_owned(), task.expected.clone().unwrap_or_default());
    vars
}

fn chosen(tasks: &[Task], select: &Select) -> Result<Vec<usize>, PlanError> {
    for id in &select.tasks {
        if !tasks.iter().any(|task| task.id == *id) {
            let near = crate::suite::nearest(id, tasks.iter().map(|task| task.id.as_str()));
            return Err(PlanError::NoTask(
                id.clone(),
                near.map(|near| format!(": did you mean {near:?}?")).unwrap_or_default(),
            ));
        }
    }
    let fits = |task: &Task| {
        let named = select.tasks.is_empty() || select.tasks.contains(&task.id);
        let word = |word: &String| task.id.contains(word.as_str()) || task.tags.contains(word);
        let filtered = select.filter.is_empty() || select.filter.iter().any(word);
        named && filtered && select.only.as_ref().is_none_or(|only| only.contains(&task.id))
    };
    let all = tasks.iter().enumerate().filter(|(_, task)| fits(task)).map(|(index, _)| index);
    Ok(all.take(select.limit.unwrap_or(usize::MAX)).collect())
}

/// Stands for the model that answered when a trace was recorded.
pub(super) const RECORDED: &str = "trace/recorded";
/// Stands for the model that a loop picks by itself.
pub(super) const OWN_LOOP: &str = "loop/own";

/// Every model with every prompt and every set of parameters.
fn variants(loaded: &Loaded, select: &Select) -> Vec<Variant> {
    let suite = &loaded.suite;
    let models: Vec<&str> = match (&select.models, &suite.models) {
        (chosen, _) if !chosen.is_empty() => chosen.iter().map(String::as_str).collect(),
        (_, own) if !own.is_empty() => own.iter().map(String::as_str).collect(),
        // A loop that picks its own model, a service, traces: one variant without a model's name.
        _ => vec![match suite.target {
            Target::Loop(_) => OWN_LOOP,
            Target::Http(_) => "http/own",
            Target::Trace(_) => RECORDED,
            Target::Prompt(_) => "",
        }],
    };
    let prompts: Vec<Option<(&String, &String)>> =
        if suite.prompts.is_empty() { vec![None] } else { suite.prompts.iter().map(Some).collect() };
    let none = vec![BTreeMap::new()];
    let sets = if suite.parameters.is_empty() { &none } else { &suite.parameters };
    let mut variants = Vec::new();
    for model in models {
        for prompt in &prompts {
            for params in sets {
                let mut name = model.to_owned();
                if let Some((prompt, _)) = prompt {
                    name = format!("{name}+{prompt}");
                }
                for (key, value) in params {
                    let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                    name = format!("{name}+{key}={value}");
                }
                let text = prompt.map(|(_, text)| loaded.text(text).to_owned());
                let own = match &suite.target {
                    Target::Prompt(target) => target.system.as_deref().map(|system| loaded.text(system)),
                    _ => None,
                };
                let system = text.as_deref().or(own).unwrap_or_default();
                let fingerprint = hash_hex(format!("{model}\n{system}\n{}", serde_json::json!(params)).as_bytes());
                let prompt = prompt.map(|(name, _)| name.clone());
                variants.push(Variant { name, model: model.to_owned(), prompt, params: params.clone(), fingerprint });
            }
        }
    }
    variants
}

/// First attempts of all tasks before second ones, tasks shuffled anew each time, and the models of one task side by side in
/// turn: whatever drifts while the run goes on hits all of them alike.
fn order(seed: u64, all: &[Task], tasks: &[usize], variants: usize, trials: u32, forced: bool) -> Vec<Slot> {
    let wanted = |task: usize| if forced { trials } else { all[task].trials.unwrap_or(trials) };
    let most = tasks.iter().map(|task| wanted(*task)).max().unwrap_or(0);
    let mut order = Vec::new();
    for attempt in 1..=most {
        let mut round: Vec<usize> = tasks.iter().copied().filter(|task| attempt <= wanted(*task)).collect();
        round.sort_by_key(|task| draw(seed, &format!("{} {attempt}", all[*task].id)));
        for (place, task) in round.into_iter().enumerate() {
            for turn in 0..variants {
                order.push(Slot { task, variant: (turn + place) % variants, attempt });
            }
        }
    }
    order
}

/// A number drawn for a word: the same for the same seed and word.
pub fn draw(seed: u64, word: &str) -> u64 {
    let hash = hash_hex(format!("{seed}\n{word}").as_bytes());
    u64::from_str_radix(&hash, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn suite(more: &str) -> Loaded {
        let text = format!(
            "suite: s\nmodels: [mock/a, mock/b]\ntarget: {{prompt: {{}}}}\ntrials: 3\ngraders: [{{type: contains, any: [x]}}]\n\
             tasks:\n{}{more}",
            (0..6)
                .map(|n| format!("  - {{id: t{n}, prompt: p, tags: [{}]}}\n", if n < 2 { "low" } else { "high" }))
                .collect::<String>()
        );
        load("s.yaml", &text, &NoFiles).unwrap()
    }

    fn plan(loaded: &Loaded, select: &Select) -> Plan {
        Plan::new(loaded, select, "", "").unwrap()
    }

    #[test]
    fn every_trial_is_planned_once_and_trials_of_a_task_are_spread() {
        let loaded = suite("");
        let plan = plan(&loaded, &Select::default());
        assert_eq!(plan.order.len(), 6 * 2 * 3);
        assert_eq!(plan.order.iter().collect::<BTreeSet<_>>().len(), 36);
        // No second attempt before all first ones, and both models of a task side by side.
        assert!(plan.order.windows(2).all(|pair| pair[0].attempt <= pair[1].attempt));
        assert!(plan.order.chunks(2).all(|pair| pair[0].task == pair[1].task && pair[0].variant != pair[1].variant));
        let firsts: BTreeSet<usize> = plan.order.chunks(2).map(|pair| pair[0].variant).collect();
        assert_eq!(firsts.len(), 2, "no model always goes first");
        let again = Plan::new(&loaded, &Select::default(), "", "").unwrap();
        assert_eq!(plan.order, again.order);
    }

    #[test]
    fn parts_of_a_suite_are_chosen() {
        let loaded = suite("");
        let count = |select: Select| plan(&loaded, &select).order.len();
        let word = |word: &str| vec![word.to_owned()];
        assert_eq!(count(Select { filter: word("low"), ..Select::default() }), 12);
        assert_eq!(count(Select { tasks: word("t5"), trials: Some(1), ..Select::default() }), 2);
        assert_eq!(count(Select { limit: Some(1), models: word("mock/c"), ..Select::default() }), 3);
        assert_eq!(count(Select { only: Some(["t1".to_owned()].into()), ..Select::default() }), 6);
        let unknown = Plan::new(&loaded, &Select { tasks: word("t9"), ..Select::default() }, "", "").unwrap_err();
        assert!(unknown.to_string().contains("did you mean"), "{unknown}");
    }

    #[test]
    fn shards_share_the_trials_among_them() {
        let loaded = suite("");
        let whole = plan(&loaded, &Select::default());
        let mut together: Vec<Slot> = (1..=4)
            .flat_map(|part| plan(&loaded, &Select { shard: Some((part, 4)), ..Select::default() }).order)
            .collect();
        let mut all = whole.order.clone();
        together.sort();
        all.sort();
        assert_eq!(together, all);
        let bad = Plan::new(&loaded, &Select { shard: Some((5, 4)), ..Select::default() }, "", "");
        assert_eq!(bad.unwrap_err(), PlanError::BadShard(5, 4));
    }

    #[test]
    fn prompts_and_parameters_multiply_the_models() {
        let loaded =
            suite("prompts: {short: Be short., long: Be long.}\nparameters: [{temperature: 0}, {temperature: 1}]\n");
        let plan = plan(&loaded, &Select::default());
        let names: Vec<&str> = plan.variants.iter().map(|variant| variant.name.as_str()).collect();
        assert_eq!(names.len(), 8);
        assert_eq!(names[0], "mock/a+long+temperature=0");
        let prints: BTreeSet<&str> = plan.variants.iter().map(|variant| variant.fingerprint.as_str()).collect();
        assert_eq!(prints.len(), 8);
    }
}
