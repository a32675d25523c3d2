//! What judges said in a run: for every criterion how often it passed, with a quote that shows it.

use std::fmt::Write as _;

use comfy_table::CellAlignment;
use serde::Serialize;

use crate::cli::out;
use crate::trial::{Grade, GradeRecord, RunRecord};

/// One criterion and one variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CriterionRow {
    /// `grader/criterion`.
    pub criterion: String,
    pub variant: String,
    pub passed: usize,
    /// Trials with a verdict.
    pub judged: usize,
    /// Trials in which the judge could not tell, and those in which it gave no usable answer.
    pub unknown: usize,
    pub broken: usize,
    pub mean_score: Option<f64>,
    /// A verdict with its quote: of a trial that failed it, where there is one.
    pub example: Option<Example>,
}

/// A verdict to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    pub task: String,
    pub attempt: u32,
    pub says: String,
}

/// The criteria of a run, by variant.
pub fn rows(run: &RunRecord) -> Vec<CriterionRow> {
    let mut rows: Vec<CriterionRow> = Vec::new();
    for variant in &run.variants {
        let mut own: Vec<(CriterionRow, Option<bool>, f64)> = Vec::new();
        for trial in run.trials.iter().filter(|trial| trial.variant == variant.name && trial.copy_of.is_none()) {
            for grade in trial.grades.iter().filter(|grade| grade.kind == "criterion") {
                let at = own.iter().position(|(row, ..)| row.criterion == grade.label).unwrap_or_else(|| {
                    own.push((new(grade, &variant.name), None, 0.0));
                    own.len() - 1
                });
                let (row, shown, sum) = &mut own[at];
                match &grade.grade {
                    Grade::Scored { score, pass } => {
                        (row.judged, row.passed, *sum) =
                            (row.judged + 1, row.passed + usize::from(*pass), *sum + score);
                    }
                    Grade::Abstained { .. } => row.unknown += 1,
                    Grade::Broken { .. } => row.broken += 1,
                }
                let pass = grade.grade.pass();
                // A failure tells more than a pass, and anything more than nothing.
                if row.example.is_none() || pass == Some(false) && *shown != Some(false) {
                    let says = grade.reasons.first().cloned().unwrap_or_default();
                    row.example = Some(Example { task: trial.task.clone(), attempt: trial.attempt, says });
                    *shown = pass;
                }
            }
        }
        rows.extend(own.into_iter().map(|(mut row, _, sum)| {
            row.mean_score = (row.judged > 0).then(|| sum / row.judged as f64);
            row
        }));
    }
    rows
}

fn new(grade: &GradeRecord, variant: &str) -> CriterionRow {
    CriterionRow {
        criterion: grade.label.clone(),
        variant: variant.to_owned(),
        passed: 0,
        judged: 0,
        unknown: 0,
        broken: 0,
        mean_score: None,
        example: None,
    }
}

/// The table, and under it a verdict for each criterion.
pub fn text(rows: &[CriterionRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = out::table(&["criterion", "model", "passed", "score", "unknown", "broken"]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut quotes = String::new();
    for row in rows {
        table.add_row([
            out::printable(&row.criterion),
            out::printable(&row.variant),
            format!("{}/{}", row.passed, row.judged),
            row.mean_score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}")),
            row.unknown.to_string(),
            row.broken.to_string(),
        ]);
        if let Some(Example { task, attempt, says }) = &row.example {
            let says = out::printable(&out::shorten(says, 240));
            let _ =
                writeln!(quotes, "  {} ({} #{attempt}): {says}", out::printable(&row.criterion), out::printable(task));
        }
    }
    format!("\n{}{quotes}", out::table_text(&table))
}
