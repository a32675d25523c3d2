//! A run while it runs: a bar on a terminal, a plain line now and then elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::capture::clock;
use crate::cli::out;
use crate::eval::{Event, Tally};

/// How often something is said: on a terminal, and where every line stays.
const TERMINAL: Duration = Duration::from_millis(250);
const PLAIN: Duration = Duration::from_secs(3);

type Running = (String, String, u32);

struct Watched {
    tally: Tally,
    before: usize,
    running: HashMap<Running, Instant>,
    /// What providers are being spared, by name.
    slowed: BTreeMap<String, String>,
    bar: Option<ProgressBar>,
    said: Instant,
    last: String,
}

/// Shows a run until it has ended. `quiet` shows only what a person should know.
pub async fn show(mut events: UnboundedReceiver<Event>, quiet: bool) {
    let terminal = std::io::stderr().is_terminal() && !quiet;
    let mut watched = Watched {
        tally: Tally::default(),
        before: 0,
        running: HashMap::new(),
        slowed: BTreeMap::new(),
        bar: None,
        said: clock::tick(),
        last: String::new(),
    };
    let mut ticks = tokio::time::interval(if terminal { TERMINAL } else { PLAIN });
    ticks.tick().await;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => watched.take(event, terminal),
                None => break,
            },
            _ = ticks.tick(), if !quiet => watched.tell(),
        }
    }
    if let Some(bar) = watched.bar {
        bar.finish_and_clear();
    }
}

impl Watched {
    fn take(&mut self, event: Event, terminal: bool) {
        match event {
            Event::Started { run, planned, finished } => {
                (self.tally.planned, self.tally.done, self.before) = (planned, finished, finished);
                let before = if finished > 0 { format!(", {finished} of them made before") } else { String::new() };
                self.line(&format!("run {run}: {planned} trials{before}"));
                if terminal {
                    self.bar = Some(bar(planned, finished));
                }
            }
            Event::Note(note) => self.line(&note),
            Event::TrialStarted { task, variant, attempt } => {
                self.running.insert((task, variant, attempt), clock::tick());
            }
            Event::Retrying { task, variant, attempt, reason } => {
                self.line(&format!("{task} {variant} #{attempt} is made again: {}", out::shorten(&reason, 160)));
                self.running.remove(&(task, variant, attempt));
            }
            Event::TrialDone { trial, tally } => {
                self.running.remove(&(trial.task, trial.variant, trial.attempt));
                self.tally = tally;
                if let Some(bar) = &self.bar {
                    bar.set_position(tally.done as u64);
                }
            }
            Event::Slowed { provider, at_once, wait_seconds } => {
                self.slowed.insert(provider.clone(), format!("{provider} limits us: {at_once} at once"));
                if wait_seconds >= 1.0 {
                    self.line(&format!("{provider} asks us to wait {wait_seconds:.0} s; then {at_once} at once"));
                }
            }
            Event::Stopping(why) => self.line(&format!("no new trials: {why}")),
        }
    }

    fn line(&self, text: &str) {
        let text = format!("holdback: {}", out::printable(text));
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    fn tell(&mut self) {
        let status = self.status();
        if let Some(bar) = &self.bar {
            bar.set_message(status);
        } else if status != self.last {
            self.line(&format!("{}/{} trials · {status}", self.tally.done, self.tally.planned));
            self.last = status;
            self.said = clock::tick();
        }
    }

    fn status(&self) -> String {
        let tally = &self.tally;
        let mut facts = Vec::new();
        let judged = tally.passed + tally.failed;
        if judged > 0 {
            facts.push(format!("{:.0} % pass", 100.0 * tally.passed as f64 / judged as f64));
        }
        if tally.broken > 0 {
            facts.push(format!("{} broken", tally.broken));
        }
        if tally.spent_usd > 0.0 {
            let and = if tally.unpriced > 0 { " + unpriced" } else { "" };
            facts.push(format!("{}{and}", out::dollars(Some(tally.spent_usd))));
        }
        facts.extend(self.slowed.values().cloned());
        if let Some(seconds) = tally.seconds_left(self.before) {
            facts.push(format!("{} left", out::duration((seconds * 1e6) as u64)));
        }
        if let Some(((task, _, attempt), since)) = self.running.iter().min_by_key(|(_, since)| **since) {
            let micros = clock::micros_since(*since);
            if micros > 1_000_000 {
                facts.push(format!("slowest {} #{attempt} {}", out::printable(task), out::duration(micros)));
            }
        }
        facts.join(" · ")
    }
}

fn bar(planned: usize, finished: usize) -> ProgressBar {
    let bar = ProgressBar::new(planned as u64).with_position(finished as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}
