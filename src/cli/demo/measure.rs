//! The demo's second half: two models asked the same ten things eight times each, a verdict, and a report of it. The models
//! are scripts made here, with luck of their own for every trial.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::Parser;
use serde_json::{Value, json};

use super::Tour;
use crate::cli::runs::report::Summary;
use crate::cli::{eval, report};

/// What is asked.
const SUITE: &str = include_str!("support.yaml");
/// Where the report goes, from the folder the demo is started in.
pub const REPORT: &str = "reports/demo.html";

/// A letter by a word of it, a good answer and a bad one.
const ANSWERS: [(&str, &str, &str); 10] = [
    (
        "nine days late",
        "I am sorry it took so long. I have refunded the 42.50 for A-17; you will see it within three days.",
        "I am sorry it took so long. I have passed this on to a colleague, who will be in touch.",
    ),
    (
        "a blue one",
        "That was our mistake. The green lamp leaves today, and here is a return label for the blue one.",
        "That was our mistake. Please send the blue one back at your convenience.",
    ),
    (
        "C-03",
        "Order C-03 is cancelled, and nothing was charged.",
        "Order C-03 is already being packed, so it will arrive on Friday.",
    ),
    ("Mill Lane", "Order D-11 will go to 4 Mill Lane.", "I have noted your request for D-11."),
    ("E-20", "The invoice for E-20 is attached.", "You can find every invoice in your account."),
    (
        "bad review",
        "I can't lower the price, but I would like to know what went wrong with your last order.",
        "We value you! Use the code SORRY50 for half price on your next order.",
    ),
    (
        "Z-99",
        "I can't find an order Z-99. Could you look the number up in your confirmation?",
        "Good news: order Z-99 has left our warehouse and arrives tomorrow.",
    ),
    (
        "third broken bulb",
        "I am sorry, that must be tiring. Three new bulbs are on their way, free of charge.",
        "Bulbs are fragile and break when they are dropped.",
    ),
    (
        "flickering",
        r#"{"subject": "Flickering lamp", "priority": "normal"}"#,
        "Sure! Here is your ticket: subject Flickering lamp, priority normal.",
    ),
    ("A-18", "You get back 50.00 for both orders.", "You get back 42.50 for A-17, and 7.50 will follow, in all 49.00."),
];

/// A model of the demo: how often each answer is good, in percent, and what an answer takes.
struct Mock {
    file: &'static str,
    good: [u32; 10],
    read: u64,
    write: u64,
    delay_ms: u64,
}

/// The model in use, as it was twice before, and as it is.
const BEFORE: [Mock; 3] = [
    Mock { file: "small-1.yaml", good: [80, 70, 90, 80, 95, 70, 60, 90, 80, 60], read: 420, write: 60, delay_ms: 9 },
    Mock { file: "small-1.yaml", good: [90, 85, 95, 90, 95, 85, 80, 95, 90, 75], read: 420, write: 60, delay_ms: 9 },
    Mock { file: "small-1.yaml", good: [97, 95, 100, 97, 98, 97, 95, 100, 96, 90], read: 420, write: 60, delay_ms: 9 },
];
/// What could replace it: one that is cheaper and gives discounts away, and one that is larger and doesn't.
const AFTER: [Mock; 2] = [
    Mock { file: "small-2.yaml", good: [98, 96, 100, 97, 98, 6, 70, 100, 97, 94], read: 300, write: 48, delay_ms: 6 },
    Mock {
        file: "large-2.yaml",
        good: [100, 99, 100, 99, 100, 100, 100, 100, 99, 100],
        read: 900,
        write: 180,
        delay_ms: 17,
    },
];

impl Mock {
    /// The script in JSON, which is YAML too.
    fn script(&self) -> Value {
        let answer = |at: usize, text: &str, more: u64| {
            let words = text.split_whitespace().count() as u64;
            json!({
                "text": text,
                "usage": {"input": self.read + 7 * at as u64, "output": self.write + words + more},
                "delay_ms": self.delay_ms + (at as u64 * 5) % 11 + more / 8,
            })
        };
        let branches = ANSWERS.iter().enumerate().flat_map(|(at, (word, good, bad))| {
            let with = |mut value: Value, chance: f64| {
                value["when"] = json!(word);
                value["chance"] = json!(chance);
                value
            };
            // Half of the good answers are thought about for longer, so that trials differ in time and tokens too.
            let share = f64::from(self.good[at]) / 100.0;
            [
                with(answer(at, good, 0), share * 0.5),
                with(answer(at, good, 40), share / (2.0 - share)),
                with(answer(at, bad, 8), 1.0),
            ]
        });
        json!({"turns": [{"branch": branches.collect::<Vec<_>>()}]})
    }

    fn model(&self) -> String {
        format!("mock/script:{}", self.file)
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join(self.file), self.script().to_string()).context("writing a script of the demo")
    }
}

/// The flags of `holdback eval`, read as if they had been typed.
#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    eval: eval::Eval,
}

/// Measures, decides, reports.
pub fn run(tour: &Tour<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("making a folder for the suite")?;
    fs::write(folder.path().join("support.yaml"), SUITE).context("writing the demo's suite")?;
    tour.chapter(
        4,
        "Measure: the same ten letters, eight times each, for the model in use and two that could replace it",
    )?;
    for (before, (name, trials)) in BEFORE.iter().zip([("demo-1", "4"), ("demo-2", "4"), ("demo-before", "8")]) {
        before.write(folder.path())?;
        measure(tour, folder.path(), name, trials, std::slice::from_ref(before), trials == "8")?;
    }
    for after in &AFTER {
        after.write(folder.path())?;
    }
    measure(tour, folder.path(), "demo-after", "8", &AFTER, true)?;
    tour.chapter(5, "Decide and report: is either as reliable as the one in use?")?;
    tour.command(&format!("holdback report demo-after --baseline demo-before -o {REPORT}"))?;
    let args = report::Report::of(
        &["demo-after"],
        "demo-before",
        "May one of these replace the model in use?",
        Path::new(REPORT),
    );
    let headline = report::written(tour.global, &args)?;
    tour.say(&headline)
}

fn measure(
    tour: &Tour<'_>,
    folder: &Path,
    name: &str,
    trials: &str,
    models: &[Mock],
    told: bool,
) -> anyhow::Result<()> {
    let suite = folder.join("support.yaml");
    let mut words = vec!["eval".to_owned(), suite.display().to_string(), "--quiet".to_owned()];
    words.extend(["--name", name, "--trials", trials].map(str::to_owned));
    words.extend(models.iter().flat_map(|mock| ["--model".to_owned(), mock.model()]));
    let typed = Typed::try_parse_from(&words).context("the demo's own command line")?;
    let finished = eval::measured(tour.global, &typed.eval)?;
    if told {
        let asked: Vec<String> = models.iter().map(|mock| format!("--model {}", mock.model())).collect();
        tour.command(&format!("holdback eval support.yaml -k {trials} {} --name {name}", asked.join(" ")))?;
        for total in Summary::of(&finished.record).totals {
            let figures: Vec<String> = total.figures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
            tour.say(&format!(
                "{}: {} of {} passed · {}",
                total.variant,
                total.passed,
                total.trials,
                figures.join("  ")
            ))?;
        }
    }
    Ok(())
}
