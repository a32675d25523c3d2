//! `holdback watch`: looks at production traces as they end: signals on all of them, rubrics on a share.

mod alert;
mod look;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::alert::{Bell, News};
use self::look::{Read, Seen, Watched};
use self::rules::Loaded;
use super::eval::traces::recorded;
use super::judging::{self, Judge};
use super::recording::{Limits, Recording};
use super::{Exit, Global, out};
use crate::capture::{Proxy, clock};
use crate::eval::{Judges, Sitting};
use crate::grade::{Bound, Evidence, Got, Need};
use crate::redact::Redactor;
use crate::signal::{Level, drift};
use crate::store::log::{Reader, Status, Store, TraceSummary, Writer};
use crate::suite::{GraderSpec, hash_hex};
use crate::trace::{Content, Message, Source, Timestamp, TraceId};
use crate::trial::Ending;

/// Kinds of records.
const WATCHED: &str = "watched";
const DRIFT: &str = "drift";
const DAY_US: u64 = 86_400_000_000;

#[derive(Debug, Args)]
#[command(
    after_help = "Watching reads the log and disturbs nobody: run it beside `holdback proxy`, on the same store. What it finds is \
                  kept as records, so that no trace is judged twice. Traces of eval and of judges are left out. With \
                  --content none, signals, counts and labels work as always; rubrics need text and are left out.\n\nA rules \
                  file:\n  idle: 60\n  rubrics: [{rubric: rubrics/honesty.yaml, sample: 0.1, judge: anthropic/claude-haiku-4-5}]\n  \
                  budget: {usd: 2}\n  alerts: [{on: [false_success, unhappy, rubric], webhook: \"https://example.com/hook\"}]\n\n\
                  Example: holdback watch --rules watch.yaml"
)]
pub struct Watch {
    /// What to watch for
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
    /// Look once and end: for cron, and for tests
    #[arg(long)]
    once: bool,
    /// Also look at traces that ended before watching began
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    judge: Judge,
    #[command(flatten)]
    recording: Recording,
    /// Print JSON: one document with --once, a line for each trace without
    #[arg(long)]
    json: bool,
}

/// Watches until it is told to stop.
pub fn run(global: &Global, args: &Watch) -> anyhow::Result<Exit> {
    let loaded = Loaded::read(&args.rules, &args.judge)?;
    let store = global.store()?;
    let settings = args.recording.settings(&store, Limits::default())?;
    let redactor = settings.proxy.redactor.clone();
    let reader = store.reader()?;
    let judging = args.judge.judging(loaded.rubrics.iter().map(|(rubric, _)| rubric), Some(&reader))?;
    let judges = Judges::new(judging, redactor.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let proxy = match loaded.rubrics.is_empty() {
            true => None,
            false => Some(judging::proxy(settings.proxy, &store).await?),
        };
        let mut watcher = Watcher {
            store: &store,
            writer: store.writer()?,
            loaded: &loaded,
            court: proxy.as_ref().map(|proxy| (proxy, &judges)),
            redactor,
            known: HashMap::new(),
            history: Vec::new(),
            drifted: HashMap::new(),
            bell: Bell::new(&loaded.rules.alerts),
        };
        watcher.remember(&reader, args.all || args.once)?;
        let seen = watcher.go(args).await;
        drop(watcher);
        if let Some(proxy) = proxy {
            proxy.stop(Duration::from_secs(2)).await;
        }
        let seen = seen?;
        if args.once && args.json {
            out::json(&json!({"watched": seen}))?;
        }
        Ok(Exit::Pass)
    })
}

struct Watcher<'a> {
    store: &'a Store,
    writer: Writer,
    loaded: &'a Loaded,
    court: Option<(&'a Proxy, &'a Judges)>,
    redactor: Arc<Redactor>,
    /// Traces that were looked at, with the calls they had then.
    known: HashMap<TraceId, u64>,
    history: Vec<Watched>,
    /// When each series was last said to have drifted.
    drifted: HashMap<String, Timestamp>,
    bell: Bell<'a>,
}

impl Watcher<'_> {
    /// What was watched before; and what ended before anybody watched, unless that is wanted too.
    fn remember(&mut self, reader: &Reader, past: bool) -> anyhow::Result<()> {
        for record in reader.records(WATCHED)? {
            if let Ok(watched) = serde_json::from_value::<Watched>(record.data) {
                self.known.insert(watched.trace, watched.calls);
                self.history.push(watched);
            }
        }
        for record in reader.records(DRIFT)? {
            if let (Some(series), Ok(at)) =
                (record.data["series"].as_str(), serde_json::from_value(record.data["at"].clone()))
            {
                self.drifted.insert(series.to_owned(), at);
            }
        }
        if !past {
            let now = clock::now();
            let ended: Vec<TraceSummary> =
                reader.traces().into_iter().filter(|trace| self.has_ended(trace, now)).collect();
            for trace in ended {
                self.known.entry(trace.id).or_insert(trace.calls);
            }
        }
        Ok(())
    }

    fn has_ended(&self, trace: &TraceSummary, now: Timestamp) -> bool {
        let idle = now.micros_since(trace.last) as f64 / 1e6 >= self.loaded.rules.idle && trace.open_calls == 0;
        trace.outcome.is_some() || trace.status == Status::CutOff || idle
    }

    async fn go(&mut self, args: &Watch) -> anyhow::Result<Vec<Watched>> {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        if !args.once {
            eprintln!("holdback: watching {}; Ctrl-C stops", self.store.dir().display());
        }
        loop {
            let seen = self.look(args).await?;
            if args.once {
                return Ok(seen);
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs_f64(self.loaded.rules.every)) => {}
                _ = interrupt.recv() => return Ok(seen),
                _ = terminate.recv() => return Ok(seen),
            }
        }
    }

    /// Looks at everything that has ended since the last look.
    async fn look(&mut self, args: &Watch) -> anyhow::Result<Vec<Watched>> {
        let (reader, now) = (self.store.reader()?, clock::now());
        let mut ended: Vec<TraceSummary> = reader
            .traces()
            .into_iter()
            .filter(|trace| is_production(trace) && trace.calls > 0)
            .filter(|trace| self.known.get(&trace.id).is_none_or(|calls| *calls < trace.calls))
            .filter(|trace| self.has_ended(trace, now))
            .collect();
        ended.sort_by_key(|trace| trace.last);
        let mut seen = Vec::new();
        for trace in ended {
            let mut watched = look::look(&reader, &trace, &self.loaded.taxonomy)?;
            self.judge(&reader, &trace, &mut watched).await?;
            self.writer.record(WATCHED, &trace.id.to_string(), now, &serde_json::to_value(&watched)?)?;
            self.known.insert(trace.id, trace.calls);
            self.tell(&watched).await;
            if !(args.once && args.json) {
                out::text(if args.json { serde_json::to_string(&watched)? + "\n" } else { worded(&watched) })?;
            }
            self.history.retain(|other| other.trace != watched.trace);
            self.history.push(watched.clone());
            seen.push(watched);
        }
        if let (Some((_, judges)), false) = (self.court, seen.is_empty()) {
            judging::keep(&mut self.writer, &judges.take_fresh(), now)?;
        }
        if !seen.is_empty() {
            self.drift(now).await?;
        }
        Ok(seen)
    }

    /// Lets the rubrics read it whose share it falls into, as long as the day's budget lasts.
    async fn judge(&mut self, reader: &Reader, trace: &TraceSummary, watched: &mut Watched) -> anyhow::Result<()> {
        let Some((proxy, judges)) = self.court else { return Ok(()) };
        if trace.content == Content::None {
            return Ok(());
        }
        let evidence = evidence(reader, trace)?;
        for ((rubric, dir), reader) in self.loaded.rubrics.iter().zip(&self.loaded.rules.rubrics) {
            let luck = hash_hex(format!("{} {}", rubric.rubric, trace.id).as_bytes());
            let luck = u64::from_str_radix(&luck, 16).unwrap_or(0) as f64 / u64::MAX as f64;
            if luck >= reader.sample || !self.is_affordable(watched) {
                continue;
            }
            let name = format!("judge {} {}", rubric.rubric, trace.id);
            let tags = [("watch".to_owned(), trace.id.to_string())];
            let sitting = Sitting { rubric, dir, evidence: &evidence, name: &name, tags: &tags, swapped: false };
            let reading = judges.read(proxy, sitting).await;
            let cost_usd = reading.cost_usd;
            let fingerprint = reading.fingerprint.clone();
            let mut grades = records(&rubric.rubric, &evidence, reading)?;
            for reason in grades.iter_mut().flat_map(|grade| &mut grade.reasons) {
                *reason = self.redactor.text(reason).0.into_owned();
            }
            if let Some(pass) = grades.first().and_then(|grade| grade.grade.pass()) {
                watched.counts.insert(format!("rubric.{}", rubric.rubric), f64::from(u8::from(pass)));
            }
            watched.rubrics.push(Read { rubric: rubric.rubric.clone(), fingerprint, grades, cost_usd });
        }
        Ok(())
    }

    /// Whether the day's budget has room for one more reading.
    fn is_affordable(&self, now: &Watched) -> bool {
        let budget = &self.loaded.rules.budget;
        let today = || {
            let recent = |other: &&Watched| now.ended.micros_since(other.ended) < DAY_US;
            self.history.iter().filter(recent).chain([now]).filter(|watched| !watched.rubrics.is_empty())
        };
        let spent: f64 = today().flat_map(|watched| &watched.rubrics).filter_map(|read| read.cost_usd).sum();
        budget.usd.is_none_or(|usd| spent < usd)
            && budget
                .traces
                .is_none_or(|traces| (today().filter(|watched| watched.trace != now.trace).count() as u64) < traces)
    }

    async fn tell(&mut self, watched: &Watched) {
        let of = |alert: &str, level, says: String, value| News {
            alert: alert.to_owned(),
            level,
            says,
            value,
            trace: Some(watched.trace),
            name: watched.name.clone(),
            at: watched.ended,
        };
        let mut news: Vec<News> =
            watched.signals.iter().map(|seen| of(&seen.signal, seen.level, seen.says.clone(), seen.value)).collect();
        for read in &watched.rubrics {
            let Some(grade) = read.grades.first() else { continue };
            if grade.grade.pass() == Some(false) {
                let says = format!("{}: {}", read.rubric, grade.reasons.first().map_or("failed", String::as_str));
                news.push(of("rubric", Level::Bad, says, 0.0));
            }
        }
        for news in &news {
            self.bell.ring(news).await;
        }
    }

    /// Looks for change-points in every series, and tells of each once.
    async fn drift(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let (days, alpha) = (u64::from(self.loaded.rules.drift.days), self.loaded.rules.drift.alpha);
        let mut recent: Vec<&Watched> =
            self.history.iter().filter(|watched| now.micros_since(watched.ended) < days * DAY_US).collect();
        recent.sort_by_key(|watched| watched.ended);
        let mut series: BTreeMap<&str, Vec<(Timestamp, f64)>> = BTreeMap::new();
        for watched in recent {
            for (name, value) in &watched.counts {
                series.entry(name).or_default().push((watched.ended, *value));
            }
        }
        let found: Vec<(String, Timestamp, crate::signal::Drift)> = series
            .iter()
            .filter_map(|(name, points)| {
                let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
                let found = drift(&values).filter(|found| found.p * series.len() as f64 <= alpha)?;
                Some(((*name).to_owned(), points[found.at].0, found))
            })
            .collect();
        for (name, since, found) in found {
            if self.drifted.get(&name).is_some_and(|told| *told >= since) {
                continue;
            }
            let (before, after) = (found.before, found.after);
            let says =
                format!("{name} went from {before:.3} to {after:.3} on average at {since} UTC (p = {:.1e})", found.p);
            let data =
                json!({"series": name, "at": now, "since": since, "before": before, "after": after, "p": found.p});
            self.writer.record(DRIFT, &hash_hex(format!("{name} {since}").as_bytes()), now, &data)?;
            self.drifted.insert(name, now);
            eprintln!("holdback: drift: {says}");
            let (trace, named) = (None, None);
            let news = News {
                alert: "drift".to_owned(),
                level: Level::Warning,
                says,
                value: after,
                trace,
                name: named,
                at: now,
            };
            self.bell.ring(&news).await;
        }
        Ok(())
    }
}

/// Whether a trace is nobody's experiment: no trial of eval, no replay, no shadow, no judge at work.
fn is_production(trace: &TraceSummary) -> bool {
    trace.source != Source::Derived
        && !trace.tags.iter().any(|(tag, _)| matches!(tag.as_str(), "run" | "judge" | "calibration"))
}

/// A trace as a judge sees it.
fn evidence(reader: &Reader, trace: &TraceSummary) -> anyhow::Result<Evidence> {
    let told = recorded(reader, trace.id)?;
    let words = |message: &Message| Some(message.plain_text()).filter(|text| !text.trim().is_empty());
    let answer = told.steps.iter().rev().find_map(|step| step.said.as_ref().and_then(words)).unwrap_or_default();
    let mut evidence = Evidence::new(&trace.id.to_string(), &answer);
    (evidence.opening, evidence.steps) = (told.opening, told.steps);
    evidence.ending = told.ending.unwrap_or(Ending::Exited { code: 0 });
    Ok(evidence)
}

/// A reading as grades: the same ones that a suite's grader would give.
fn records(
    label: &str,
    evidence: &Evidence,
    reading: crate::grade::rubric::Reading,
) -> anyhow::Result<Vec<crate::trial::GradeRecord>> {
    let spec = GraderSpec(json!({"type": "rubric", "rubric": label, "label": label}));
    let mut grader = Bound::compile(&spec, &BTreeMap::new()).map_err(|error| anyhow::anyhow!("{error}"))?;
    grader.fingerprint.clone_from(&reading.fingerprint);
    let mut evidence = evidence.clone();
    evidence.got = vec![(Need::Judge { rubric: label.to_owned() }, Got::Judge { reading: Box::new(reading) })];
    Ok(grader.records(&evidence))
}

/// A trace in a line, and a line for everything worth a look.
fn worded(watched: &Watched) -> String {
    let id: String = watched.trace.to_string().chars().take(8).collect();
    let name = watched.name.as_deref().unwrap_or("-");
    let intents = if watched.intents.is_empty() { "-".to_owned() } else { watched.intents.join(",") };
    let mut text = format!(
        "{id} {} {} calls {} {intents} {}\n",
        watched.outcome,
        watched.calls,
        out::dollars(watched.cost_usd),
        out::shorten(name, 60)
    );
    for Seen { signal, level, says, .. } in watched.signals.iter().filter(|seen| seen.level >= Level::Warning) {
        text.push_str(&format!("  {} {signal}: {says}\n", level.as_str()));
    }
    for grade in watched.rubrics.iter().flat_map(|read| &read.grades) {
        let word = match grade.grade.pass() {
            Some(true) => "pass",
            Some(false) => "fail",
            None => "no verdict",
        };
        let reason = grade.reasons.first().map(|reason| format!(": {}", out::shorten(reason, 160))).unwrap_or_default();
        text.push_str(&format!("  {word} {}{reason}\n", grade.label));
    }
    out::printable(&text)
}
