//! A run as a person reads it: a table per task and model, what each model comes to, and why trials failed.

use std::collections::HashMap;
use std::fmt::Write as _;

use comfy_table::CellAlignment;
use serde::Serialize;

use super::criteria::{self, CriterionRow};
use crate::cli::out::{self, Paint};
use crate::stats::Counts;
use crate::stats::passk::{Figure, pass_hat_k, suite_value};
use crate::trial::{Ending, Grade, Outcome, RunRecord, Trial};

/// A task and a variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub task: String,
    pub variant: String,
    /// Trials that passed or failed; copies of each other's answers count once.
    pub trials: u32,
    pub passed: u32,
    /// `None` when there are fewer than k trials to say it of.
    pub pass_hat_k: Option<f64>,
    /// Trials that could not be measured.
    pub broken: usize,
    pub copies: usize,
    /// `None` when a model without a price took part.
    pub cost_usd: Option<f64>,
    pub mean_seconds: f64,
}

/// A variant over all tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    pub variant: String,
    pub trials: u32,
    pub passed: u32,
    pub broken: usize,
    pub cost_usd: Option<f64>,
    /// `pass^1`, `pass^2`, … as the mean over tasks, as far as every task has the trials for it.
    pub figures: Vec<(String, f64)>,
}

/// Trials that did not pass, for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub task: String,
    pub variant: String,
    pub outcome: Outcome,
    pub attempts: Vec<u32>,
    pub why: String,
    /// A trace to look at.
    pub trace: Option<String>,
}

/// Everything there is to say about a run's trials.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub k: u32,
    pub rows: Vec<Row>,
    pub totals: Vec<Total>,
    pub failures: Vec<Failure>,
    /// What judges said, criterion by criterion; empty without a rubric.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub criteria: Vec<CriterionRow>,
}

/// Whether infrastructure or a grader broke a trial.
pub fn is_broken(trial: &Trial) -> bool {
    let graders = || trial.grades.iter().any(|grade| grade.required && matches!(grade.grade, Grade::Broken { .. }));
    matches!(trial.ending, Ending::Broken { .. }) || trial.outcome == Outcome::Invalid && graders()
}

impl Summary {
    /// Counts a run's trials.
    pub fn of(run: &RunRecord) -> Summary {
        let k = run.trials_per_task;
        let mut rows = Vec::new();
        let mut by_row: HashMap<(&str, &str), Vec<&Trial>> = HashMap::new();
        for trial in &run.trials {
            by_row.entry((&trial.task, &trial.variant)).or_default().push(trial);
        }
        for task in &run.tasks {
            for variant in &run.variants {
                if let Some(trials) = by_row.get(&(task.as_str(), variant.name.as_str())) {
                    rows.push(row(task, &variant.name, trials, k));
                }
            }
        }
        let totals = run.variants.iter().map(|variant| total(&variant.name, &rows, k)).collect();
        Summary { k, totals, failures: failures(run), criteria: criteria::rows(run), rows }
    }

    /// The table and what stands below it.
    pub fn text(&self, paint: Paint, most_failures: usize) -> String {
        let mut text = self.table();
        for total in &self.totals {
            let figures: Vec<String> = total.figures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
            let mut facts = vec![format!("{} of {} passed", total.passed, total.trials)];
            facts.extend((!figures.is_empty()).then(|| figures.join("  ")));
            facts.push(out::dollars(total.cost_usd));
            let _ = write!(text, "\n{}: {}", paint.bold(&out::printable(&total.variant)), facts.join(" · "));
        }
        text.push('\n');
        text.push_str(&criteria::text(&self.criteria));
        if !self.failures.is_empty() {
            let _ = writeln!(text, "\nnot passed:");
        }
        for failure in self.failures.iter().take(most_failures) {
            text.push_str(&worded(failure, paint));
        }
        if let Some(more) = self.failures.len().checked_sub(most_failures).filter(|more| *more > 0) {
            let _ = writeln!(text, "  … and {more} more: `holdback runs show` lists them all");
        }
        text
    }

    fn table(&self) -> String {
        let k = format!("pass^{}", self.k);
        let mut table = out::table(&["task", "model", "passed", &k, "cost", "time", "broken"]);
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            let copies = if row.copies > 0 { format!(" ({} copies)", row.copies) } else { String::new() };
            table.add_row([
                out::printable(&row.task),
                out::printable(&row.variant),
                format!("{}/{}{copies}", row.passed, row.trials),
                row.pass_hat_k.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")),
                out::dollars(row.cost_usd),
                out::duration((row.mean_seconds * 1e6) as u64),
                row.broken.to_string(),
            ]);
        }
        out::table_text(&table)
    }
}

fn row(task: &str, variant: &str, trials: &[&Trial], k: u32) -> Row {
    let own = || trials.iter().filter(|trial| trial.copy_of.is_none());
    let count = |outcome| u32::try_from(own().filter(|trial| trial.outcome == outcome).count()).unwrap_or(u32::MAX);
    let passed = count(Outcome::Pass);
    let valid = passed + count(Outcome::Fail);
    let micros: u64 = trials.iter().map(|trial| trial.duration_us).sum();
    Row {
        task: task.to_owned(),
        variant: variant.to_owned(),
        trials: valid,
        passed,
        pass_hat_k: pass_hat_k(Counts { n: valid, c: passed }, k),
        broken: trials.iter().filter(|trial| trial.outcome == Outcome::Invalid).count(),
        copies: trials.len() - own().count(),
        cost_usd: trials.iter().map(|trial| trial.cost_usd).sum(),
        mean_seconds: micros as f64 / 1e6 / trials.len() as f64,
    }
}

fn total(variant: &str, rows: &[Row], k: u32) -> Total {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.variant == variant).collect();
    let counts: Vec<Counts> = rows.iter().map(|row| Counts { n: row.trials, c: row.passed }).collect();
    let mut ks: Vec<u32> = (0..32).map(|power| 1 << power).take_while(|j| *j < k).collect();
    ks.push(k);
    let figure = |j: &u32| {
        let figure = Figure::PassHat(*j);
        suite_value(&counts, figure).ok().map(|value| (figure.to_string(), value))
    };
    Total {
        variant: variant.to_owned(),
        trials: rows.iter().map(|row| row.trials).sum(),
        passed: rows.iter().map(|row| row.passed).sum(),
        broken: rows.iter().map(|row| row.broken).sum(),
        cost_usd: rows.iter().map(|row| row.cost_usd).sum(),
        figures: ks.iter().filter_map(figure).collect(),
    }
}

fn failures(run: &RunRecord) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    let mut known: HashMap<(&str, &str, Outcome, &str), usize> = HashMap::new();
    for trial in run.trials.iter().filter(|trial| trial.outcome != Outcome::Pass) {
        let why = trial.why.as_deref().unwrap_or_default();
        let at = *known.entry((&trial.task, &trial.variant, trial.outcome, why)).or_insert(failures.len());
        match failures.get_mut(at) {
            Some(failure) => failure.attempts.push(trial.attempt),
            None => failures.push(Failure {
                task: trial.task.clone(),
                variant: trial.variant.clone(),
                outcome: trial.outcome,
                attempts: vec![trial.attempt],
                why: why.to_owned(),
                trace: trial.trace.map(|trace| trace.to_string()),
            }),
        }
    }
    failures
}

fn worded(failure: &Failure, paint: Paint) -> String {
    let word = match failure.outcome {
        Outcome::Invalid => paint.bad("broken"),
        _ => paint.bad("failed"),
    };
    let mut attempts: Vec<String> = failure.attempts.iter().take(8).map(|attempt| format!("#{attempt}")).collect();
    if failure.attempts.len() > 8 {
        attempts.push(format!("… {} in all", failure.attempts.len()));
    }
    let trace = failure.trace.as_ref().map(|trace| format!(" (trace {})", &trace[..8])).unwrap_or_default();
    format!(
        "  {word} {} {} {}: {}{}\n",
        out::printable(&failure.task),
        paint.dim(&out::printable(&failure.variant)),
        attempts.join(" "),
        out::printable(&out::shorten(&failure.why, 200)),
        paint.dim(&trace),
    )
}
