//! What one trace says of itself: signals, counts and labels. No text is needed for that, and none is kept.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::provider;
use crate::signal::{self, Level, Mood, Step, Story, Taxonomy};
use crate::store::log::{Kept, Place, Reader, StartedCall, TraceSummary};
use crate::trace::{CallEnded, CallId, LABELS, Message, Role, Timestamp, TraceEnded, TraceId};
use crate::trial::GradeRecord;

/// A trace that was watched to its end: the record that is kept of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    pub trace: TraceId,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub agent: Option<String>,
    pub ended: Timestamp,
    /// `ok`, `failed`, `killed`, `braked`, or `idle` when nobody said how it ended.
    pub outcome: String,
    pub calls: u64,
    #[serde(default)]
    pub cost_usd: Option<f64>,
    /// Numbers by name: what drift is looked for in.
    pub counts: BTreeMap<String, f64>,
    pub signals: Vec<Seen>,
    /// What the session was for.
    pub intents: Vec<String>,
    #[serde(default)]
    pub rubrics: Vec<Read>,
}

/// A signal that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub signal: String,
    pub level: Level,
    pub value: f64,
    pub says: String,
}

/// A rubric's word on the trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read {
    pub rubric: String,
    pub fingerprint: String,
    /// The verdict as a whole first, then one for each criterion.
    pub grades: Vec<GradeRecord>,
    #[serde(default)]
    pub cost_usd: Option<f64>,
}

/// Looks at a trace.
///
/// # Errors
/// When the log can't be read.
pub fn look(reader: &Reader, summary: &TraceSummary, taxonomy: &Taxonomy) -> anyhow::Result<Watched> {
    let mut told = Told::default();
    let mut open: HashMap<CallId, (Place, Box<StartedCall>)> = HashMap::new();
    for entry in reader.entries(summary.id)? {
        match entry.what {
            Kept::CallStarted(_, started) => drop(open.insert(started.call, (entry.place, started))),
            Kept::CallEnded(_, id, ended) => {
                if let Some((place, started)) = open.remove(&id) {
                    told.call(reader, id, &place, &started, &ended, taxonomy)?;
                }
            }
            // Where no text is kept, the recorder has left labels in its place.
            Kept::Noted(_, note) if note.kind == LABELS => told.labels(note.call, &note.data),
            Kept::TraceEnded(_, ended) => told.ended = Some(ended),
            _ => {}
        }
    }
    for (call, mood) in &told.moods {
        if let Some(step) = told.steps.iter_mut().find(|step| step.call == Some(*call)) {
            step.mood = step.mood.or(Some(*mood));
        }
    }
    let story = Story { steps: &told.steps, ended: told.ended.as_ref() };
    let findings = signal::read(&story);
    let signals = findings.into_iter().map(|found| Seen {
        signal: found.signal.to_owned(),
        level: found.level,
        value: found.value,
        says: found.says,
    });
    let signals: Vec<Seen> = signals.collect();
    Ok(Watched {
        trace: summary.id,
        name: summary.name.clone(),
        agent: summary.agent.clone(),
        ended: summary.last,
        outcome: summary.outcome.map_or("idle", |outcome| outcome.as_str()).to_owned(),
        calls: summary.calls,
        cost_usd: summary.cost_usd,
        counts: counts(summary, &told.steps, &signals),
        signals,
        intents: told.intents,
        rubrics: Vec::new(),
    })
}

#[derive(Default)]
struct Told {
    steps: Vec<Step>,
    ended: Option<TraceEnded>,
    moods: Vec<(CallId, Mood)>,
    intents: Vec<String>,
}

impl Told {
    fn call(
        &mut self,
        reader: &Reader,
        id: CallId,
        place: &Place,
        started: &StartedCall,
        ended: &CallEnded,
        taxonomy: &Taxonomy,
    ) -> anyhow::Result<()> {
        let (wire, target) = (started.request.wire, &started.request.target);
        let body = reader.request_at(place)?;
        let request = provider::request(wire, target, &body).unwrap_or_default();
        let response = provider::response(wire, ended.status.unwrap_or(0), &ended.headers, &ended.body);
        if self.steps.is_empty() && self.intents.is_empty() {
            let asked = request.messages.iter().filter(|message| message.role == Role::User).map(Message::plain_text);
            self.intents = taxonomy.labels(&asked.collect::<Vec<_>>().join("\n"));
        }
        let mut step = Step::of(&request, &response);
        (step.call, step.end, step.status) = (Some(id), ended.end, ended.status);
        (step.agent, step.retry_of) = (started.request.agent.clone(), started.request.retry_of);
        step.cost_usd = ended.summary.cost_usd;
        self.steps.push(step);
        Ok(())
    }

    fn labels(&mut self, call: Option<CallId>, data: &Value) {
        if let (Some(call), Ok(mood)) = (call, serde_json::from_value(data["mood"].clone())) {
            self.moods.push((call, mood));
        }
        if let (true, Ok(intents)) = (self.intents.is_empty(), serde_json::from_value(data["intents"].clone())) {
            self.intents = intents;
        }
    }
}

/// The numbers that may drift.
fn counts(summary: &TraceSummary, steps: &[Step], signals: &[Seen]) -> BTreeMap<String, f64> {
    let results = || steps.iter().flat_map(|step| &step.results);
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    let mut counts = BTreeMap::from([
        ("calls".to_owned(), summary.calls as f64),
        ("retries".to_owned(), steps.iter().filter(|step| step.retry_of.is_some()).count() as f64),
        ("refused".to_owned(), f64::from(u8::from(steps.iter().any(|step| step.refused)))),
        ("corrections".to_owned(), steps.iter().skip(1).filter(|step| step.mood.is_some()).count() as f64),
        ("tool_error_rate".to_owned(), share(results().filter(|result| result.is_error).count(), results().count())),
        ("failed".to_owned(), f64::from(u8::from(summary.went_wrong()))),
    ]);
    counts.extend(summary.cost_usd.map(|usd| ("cost_usd".to_owned(), usd)));
    for name in signal::names() {
        let seen = signals.iter().any(|seen| seen.signal == name && seen.level >= Level::Warning);
        counts.insert(format!("signal.{name}"), f64::from(u8::from(seen)));
    }
    counts
}
