//! `holdback judge noise`: how well the judges of a run agree, and whose the noise is.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use crate::cli::runs::stored::Runs;
use crate::cli::{Exit, Global, out};
use crate::eval::{Bench, Figure, benches, samples};
use crate::grade::rubric::Reading;

#[derive(Debug, Args)]
#[command(
    after_help = "A criterion needs several votes on a trial: a panel, or `repeats` in the rubric's judge. To ask more of a run \
                  that is there, set repeats and grade it again; what was answered already is not asked again.\n\nExample: \
                  holdback grade last --name thrice && holdback judge noise thrice"
)]
pub struct Noise {
    /// The run: a name, an id, the beginning of one, or `last`
    run: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Says how well judges agree.
pub fn run(global: &Global, args: &Noise) -> anyhow::Result<Exit> {
    let store = global.existing_store()?;
    let reader = store.reader()?;
    let runs = Runs::read(store.reader()?)?;
    let run = &runs.whole(runs.get(&args.run)?)?;
    let tasks: std::collections::HashMap<&str, String> =
        run.trials.iter().map(|trial| (trial.id.as_str(), format!("{} {}", trial.task, trial.variant))).collect();
    let evidence = samples::evidence(&reader, &tasks.keys().copied().collect())?;
    let mut readings: Vec<(&str, &Reading)> = Vec::new();
    let mut rubrics: Vec<&str> = Vec::new();
    for (id, evidence) in &evidence {
        for (_, got) in &evidence.got {
            if let crate::grade::Got::Judge { reading } = got {
                readings.push((tasks[id.as_str()].as_str(), reading));
                rubrics.push(&reading.rubric);
            }
        }
    }
    rubrics.sort_unstable();
    rubrics.dedup();
    if readings.is_empty() {
        eprintln!("holdback: run {} has no rubric", run.id);
        return Ok(Exit::Undecided);
    }
    let mut all: Vec<(String, Bench)> = Vec::new();
    for rubric in rubrics {
        let mut own: Vec<(&str, &Reading)> =
            readings.iter().filter(|(_, reading)| reading.rubric == rubric).copied().collect();
        own.sort_by_key(|(task, _)| *task);
        all.extend(benches(&own).into_iter().map(|bench| (rubric.to_owned(), bench)));
    }
    let several = all.iter().any(|(_, bench)| bench.agreement.items > 0);
    if args.json {
        let documents: Vec<_> =
            all.iter().map(|(rubric, bench)| json!({"rubric": rubric, "criterion": bench})).collect();
        out::json(&documents)?;
    } else {
        out::text(out::printable(&worded(&all)))?;
    }
    Ok(if several { Exit::Pass } else { Exit::Undecided })
}

fn worded(all: &[(String, Bench)]) -> String {
    let figure = |figure: Option<Figure>| match figure {
        Some(Figure { value, interval: Some(interval) }) => {
            format!("{value:.2} [{:.2}, {:.2}]", interval.lower, interval.upper)
        }
        Some(Figure { value, interval: None }) => format!("{value:.2}"),
        None => "-".to_owned(),
    };
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let mut table = out::table(&[
        "criterion",
        "votes",
        "trials",
        "unanimous",
        "kappa",
        "fleiss",
        "ac1",
        "alpha",
        "loop noise",
        "judge noise",
    ]);
    for (rubric, bench) in all {
        let agreement = &bench.agreement;
        table.add_row([
            format!("{rubric}/{}", bench.criterion),
            agreement.raters.to_string(),
            agreement.items.to_string(),
            number(bench.unanimous),
            figure(agreement.cohen),
            figure(agreement.fleiss),
            figure(agreement.ac1),
            figure(agreement.alpha),
            bench.noises.map_or_else(|| "-".to_owned(), |noises| format!("{:.3}", noises.trials)),
            bench.noises.map_or_else(|| "-".to_owned(), |noises| format!("{:.3}", noises.judge)),
        ]);
    }
    let mut text = format!(
        "{}(noise: variance of the score between trials of a task, and between votes on a trial)\n",
        out::table_text(&table)
    );
    for (rubric, bench) in all {
        let advice =
            bench.advice.as_deref().unwrap_or("one vote a trial says nothing of the judge's noise: ask more often");
        let _ = writeln!(text, "{rubric}/{}: {advice}", bench.criterion);
    }
    text
}
