//! `holdback judge label`: a person reads trials by a rubric, blind to what the judge said.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::capture::clock;
use crate::cli::runs::stored::Runs;
use crate::cli::{Exit, Global, Misuse, judging, out, suite_file};
use crate::eval::samples::{self, Label as Labelled};
use crate::grade::rubric::{Exhibit, Item, Labels, criteria_fingerprint};
use crate::grade::{Change, Evidence};
use crate::suite::{Criterion, Rubric};
use crate::trial::{RunRecord, Trial};

#[derive(Debug, Args)]
#[command(
    after_help = "One question after the other: y or n (or the number of a level), u when you can't tell, s to skip, q to \
                  stop. What was labelled is kept at once. Trials the judge passed and those it failed come in turn, so that \
                  few labels say much; what the judge said is not shown.\n\nExample: holdback judge label last --rubric \
                  rubrics/honesty.yaml --limit 60"
)]
pub struct Label {
    /// The run: a name, an id, the beginning of one, or `last`
    run: String,
    /// The rubric to label by [default: the only one of the run's suite]
    #[arg(long, value_name = "FILE")]
    rubric: Option<PathBuf>,
    /// Only this criterion; any number of them
    #[arg(long, value_name = "ID")]
    criterion: Vec<String>,
    /// At most so many trials
    #[arg(long, value_name = "N", default_value_t = 60)]
    limit: usize,
    /// Who labels
    #[arg(long, value_name = "NAME", env = "USER", default_value = "me")]
    by: String,
}

#[derive(Debug, Args)]
#[command(after_help = "A file of labels belongs in git, beside its rubric.\n\nExamples:\n  holdback judge labels \
                  --rubric rubrics/honesty.yaml --export labels/honesty.json\n  holdback judge labels --rubric \
                  rubrics/honesty.yaml --import labels/honesty.json")]
pub struct Move {
    /// The rubric
    #[arg(long, value_name = "FILE")]
    rubric: PathBuf,
    /// Write the labels here, with the evidence they are about
    #[arg(long, value_name = "FILE", conflicts_with = "import")]
    export: Option<PathBuf>,
    /// Read labels of trials from here
    #[arg(long, value_name = "FILE", required_unless_present = "export")]
    import: Option<PathBuf>,
}

/// Asks for labels.
pub fn run(global: &Global, args: &Label) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = store.reader()?;
    let runs = Runs::read(store.reader()?)?;
    let run = &runs.whole(runs.get(&args.run)?)?;
    let suite = runs.request(&run.id).map(|request| request.suite.clone());
    let rubric = match &args.rubric {
        Some(path) => judging::open_rubric(path)?,
        None => only_rubric(suite.as_deref())?,
    };
    if let Some(unknown) = args.criterion.iter().find(|id| rubric.criterion(id).is_none()) {
        return Err(Misuse(format!("the rubric {} has no criterion {unknown:?}", rubric.rubric)).into());
    }
    let ids: HashSet<&str> = run.trials.iter().map(|trial| trial.id.as_str()).collect();
    let evidence = samples::evidence(&reader, &ids)?;
    let done: BTreeSet<(String, String)> = samples::labels(&reader, &rubric)?
        .into_iter()
        .filter(|label| label.by == args.by)
        .map(|label| (label.trial, label.criterion))
        .collect();
    let mut desk = Desk { rubric: &rubric, run, by: &args.by, writer: store.writer()?, kept: 0, skipped: 0 };
    let mut lines = std::io::stdin().lock();
    let mut seen = 0;
    let passed = |trial: &Trial| samples::reading(evidence.get(&trial.id)?, &rubric.rubric)?.grade().grade.pass();
    for trial in samples::in_turn(&run.trials, passed) {
        let Some(evidence) = evidence.get(&trial.id) else { continue };
        let open: Vec<&Criterion> = rubric
            .criteria()
            .map(|(_, criterion)| criterion)
            .filter(|criterion| args.criterion.is_empty() || args.criterion.contains(&criterion.id))
            .filter(|criterion| !done.contains(&(trial.id.clone(), criterion.id.clone())))
            .collect();
        if open.is_empty() {
            continue;
        }
        if seen >= args.limit || !desk.trial(trial, evidence, &open, &mut lines)? {
            break;
        }
        seen += 1;
    }
    out::text(format!("{} labels kept, {} skipped\n", desk.kept, desk.skipped))?;
    Ok(if desk.kept > 0 || desk.skipped > 0 { Exit::Pass } else { Exit::Undecided })
}

fn only_rubric(suite: Option<&Path>) -> anyhow::Result<Rubric> {
    let name_it = || Misuse("name the rubric to label by: --rubric rubrics/honesty.yaml".to_owned());
    let path = suite.filter(|path| path.is_file()).ok_or_else(name_it)?;
    let mut rubrics = suite_file::open(path)?.loaded.rubrics;
    match (rubrics.pop_first(), rubrics.is_empty()) {
        (Some((_, rubric)), true) => Ok(rubric),
        _ => Err(name_it().into()),
    }
}

/// Where a person sits and labels.
struct Desk<'a> {
    rubric: &'a Rubric,
    run: &'a RunRecord,
    by: &'a str,
    writer: crate::store::log::Writer,
    kept: usize,
    skipped: usize,
}

impl Desk<'_> {
    /// Asks about one trial; false when the person wants to stop.
    fn trial(
        &mut self,
        trial: &Trial,
        evidence: &Evidence,
        open: &[&Criterion],
        lines: &mut impl BufRead,
    ) -> anyhow::Result<bool> {
        tell(&format!("\n== {} #{}\n", trial.task, trial.attempt))?;
        let mut shown = Vec::new();
        for criterion in open {
            if shown != criterion.see {
                let exhibit = Exhibit::of(evidence, &criterion.see);
                tell(&format!("\n{}\n", exhibit.shown(&criterion.ask, 12_000, &[])))?;
                shown.clone_from(&criterion.see);
            }
            let word = match ask(criterion, lines)? {
                Answer::Stop => return Ok(false),
                Answer::Skip => {
                    self.skipped += 1;
                    continue;
                }
                Answer::Word(word) => word,
            };
            let label = Labelled {
                run: self.run.id.clone(),
                trial: trial.id.clone(),
                task: trial.task.clone(),
                variant: trial.variant.clone(),
                rubric: self.rubric.rubric.clone(),
                criteria: criteria_fingerprint(self.rubric),
                criterion: criterion.id.clone(),
                passes: criterion.level(&word).map(|level| level >= criterion.pass_at()),
                word,
                by: self.by.to_owned(),
            };
            label.keep(&mut self.writer, clock::now())?;
            self.kept += 1;
        }
        Ok(true)
    }
}

enum Answer {
    Word(Value),
    Skip,
    Stop,
}

/// Questions go to stderr: stdout has the result.
fn tell(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stderr().write_all(out::printable(text).as_bytes())?)
}

fn ask(criterion: &Criterion, lines: &mut impl BufRead) -> anyhow::Result<Answer> {
    let mut question = format!("\n-- {}: {}\n", criterion.id, criterion.ask);
    for (word, level) in [("yes", &criterion.yes), ("no", &criterion.no)] {
        if let Some(level) = level {
            question.push_str(&format!("   {word}: {}\n", level.means));
        }
    }
    for (number, level) in (1..).zip(&criterion.levels) {
        question.push_str(&format!("   {number}: {}\n", level.means));
    }
    let keys = if criterion.is_yes_no() { "y/n".to_owned() } else { format!("1-{}", criterion.scale()) };
    tell(&question)?;
    loop {
        tell(&format!("   [{keys}, u unknown, s skip, q quit] "))?;
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(Answer::Stop);
        }
        let word = match line.trim() {
            "q" => return Ok(Answer::Stop),
            "s" => return Ok(Answer::Skip),
            "u" => json!("unknown"),
            "y" => json!("yes"),
            "n" => json!("no"),
            other => other.parse::<u64>().map_or_else(|_| json!(other), Value::from),
        };
        if word == "unknown" || criterion.level(&word).is_some() {
            return Ok(Answer::Word(word));
        }
        tell(&format!("   {:?} is no answer here\n", line.trim()))?;
    }
}

/// Writes labels to a file or reads them from one.
pub fn carry(global: &Global, args: &Move) -> anyhow::Result<Exit> {
    let rubric = judging::open_rubric(&args.rubric)?;
    let store = global.existing_store()?;
    let reader = store.reader()?;
    if let Some(path) = &args.export {
        let labels = as_file(&reader, &rubric)?;
        let text = serde_json::to_string_pretty(&labels)? + "\n";
        out::publish(path, |file| Ok(file.write_all(text.as_bytes())?))?;
        eprintln!("holdback: {} trials' labels in {}", labels.items.len(), path.display());
        return Ok(if labels.items.is_empty() { Exit::Undecided } else { Exit::Pass });
    }
    let Some(path) = &args.import else { return Ok(Exit::Usage) };
    let labels = read_file(path, &rubric)?;
    let read = |record: crate::store::log::Record| serde_json::from_value::<Trial>(record.data).ok();
    let trials: HashMap<String, Trial> =
        reader.records("trial")?.into_iter().filter_map(read).map(|trial| (trial.id.clone(), trial)).collect();
    let (mut writer, now, mut kept, mut left) = (store.writer()?, clock::now(), 0, 0);
    for item in &labels.items {
        let Some(trial) = item.trial.as_deref().and_then(|id| trials.get(id)) else {
            left += 1;
            continue;
        };
        for (criterion, word) in &item.labels {
            let label = Labelled {
                run: trial.run.clone(),
                trial: trial.id.clone(),
                task: trial.task.clone(),
                variant: trial.variant.clone(),
                rubric: rubric.rubric.clone(),
                criteria: criteria_fingerprint(&rubric),
                criterion: criterion.clone(),
                passes: rubric.criterion(criterion).and_then(|known| Some(known.level(word)? >= known.pass_at())),
                word: word.clone(),
                by: item.by.clone(),
            };
            label.keep(&mut writer, now)?;
            kept += 1;
        }
    }
    let words = if left > 0 { format!("; {left} items are about no trial of this store") } else { String::new() };
    out::text(format!("{kept} labels kept{words}\n"))?;
    Ok(if kept > 0 { Exit::Pass } else { Exit::Undecided })
}

/// Reads a file of labels.
///
/// # Errors
/// When it can't be read or does not fit the rubric.
pub fn read_file(path: &Path, rubric: &Rubric) -> anyhow::Result<Labels> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Misuse(format!("{name}: {error}")))?;
    Ok(Labels::read(&name, &text, rubric).map_err(Misuse)?)
}

/// All labels by a rubric, an item for each trial and person.
///
/// # Errors
/// When the store can't be read.
pub fn as_file(reader: &crate::store::log::Reader, rubric: &Rubric) -> anyhow::Result<Labels> {
    let mut items: BTreeMap<(String, String), Item> = BTreeMap::new();
    for label in samples::labels(reader, rubric)? {
        let item = items.entry((label.trial.clone(), label.by.clone())).or_insert_with(|| Item {
            id: format!("{} {}", label.task, &label.trial[..label.trial.len().min(8)]),
            trial: Some(label.trial.clone()),
            by: label.by.clone(),
            ..Item::default()
        });
        item.labels.insert(label.criterion, label.word);
    }
    let trials: Vec<String> = items.keys().map(|(trial, _)| trial.clone()).collect();
    let evidence = samples::evidence(reader, &trials.iter().map(String::as_str).collect())?;
    for item in items.values_mut() {
        // With its evidence the file stands on its own, in another store and after pruning.
        item.told = item.trial.as_ref().and_then(|trial| evidence.get(trial)).map(told);
    }
    Ok(Labels {
        rubric: rubric.rubric.clone(),
        criteria: Some(criteria_fingerprint(rubric)),
        items: items.into_values().collect(),
    })
}

fn told(evidence: &Evidence) -> crate::grade::rubric::Told {
    use crate::grade::rubric::{Told, ToldCall, ToldStep};
    let mut steps: Vec<ToldStep> = Vec::new();
    for step in &evidence.steps {
        let mut results = step.results.iter();
        // Results belong to the calls that came before them, in their order.
        for earlier in steps.iter_mut().filter(|earlier| earlier.call.is_some() && earlier.result.is_none()) {
            if let Some(result) = results.next() {
                (earlier.result, earlier.error) = (Some(result.text.clone()), result.is_error);
            }
        }
        let says = step.said.as_ref().map(|message| message.plain_text()).unwrap_or_default();
        let calls: Vec<ToldCall> = step
            .said
            .iter()
            .flat_map(|message| message.tool_calls())
            .map(|call| ToldCall { name: call.name.clone(), arguments: call.arguments.clone() })
            .collect();
        if !says.is_empty() {
            steps.push(ToldStep { says, ..ToldStep::default() });
        }
        steps.extend(calls.into_iter().map(|call| ToldStep { call: Some(call), ..ToldStep::default() }));
    }
    let changed = evidence.files.iter().filter(|file| !matches!(file.change, Change::Same | Change::Deleted));
    let files = changed.filter_map(|file| Some((file.path.clone(), file.text.clone()?))).collect();
    Told { prompt: evidence.prompt.clone(), steps, answer: evidence.answer.clone(), files }
}
