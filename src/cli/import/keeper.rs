//! Keeps what importers tell, and only what is new: a second import finds everything there already.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::cli::runs::stored::{Runs, keep_whole};
use crate::import::{TakeError, Taker};
use crate::store::log::{Kept, Reader, Store, Writer};
use crate::trace::{Note, Provenance, Score, Sink, Timestamp, TraceEnded, TraceEvent, TraceId, TraceStarted, What};
use crate::trial::{RunRecord, Trial};

/// What all threads share.
pub struct Shared {
    store: Store,
    reader: Reader,
    /// Traces that were here before.
    here: HashSet<TraceId>,
    /// Marks of what is known of a trace.
    known: Mutex<HashMap<TraceId, HashSet<u64>>>,
    writers: Mutex<Vec<Writer>>,
    runs: Mutex<BTreeMap<String, RunRecord>>,
}

/// Keeps what one job tells.
pub struct Keeper<'a> {
    shared: &'a Shared,
    writer: Option<Writer>,
    events: u64,
    calls: u64,
}

impl Shared {
    pub fn of(store: Store) -> anyhow::Result<Self> {
        let reader = store.reader()?;
        let here = reader.traces().iter().map(|trace| trace.id).collect();
        Ok(Shared { store, reader, here, known: Mutex::default(), writers: Mutex::default(), runs: Mutex::default() })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A keeper with a writer of its own; writers are used again, so that there are no more segments than threads.
    pub fn keeper(&self) -> anyhow::Result<Keeper<'_>> {
        let spare = self.writers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let writer = match spare {
            Some(writer) => writer,
            None => self.store.writer()?,
        };
        Ok(Keeper { shared: self, writer: Some(writer), events: 0, calls: 0 })
    }

    /// Whoever listens for long can't remember everything: what is long past is not sent again.
    pub fn forget_when_full(&self) {
        const MOST: usize = 4 << 20;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.values().map(HashSet::len).sum::<usize>() > MOST {
            known.clear();
        }
    }

    /// Whether something is new.
    fn is_new(&self, trace: TraceId, mark: u64) -> Result<bool, TakeError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(marks) = known.get_mut(&trace) {
            return Ok(marks.insert(mark));
        }
        let mut marks = HashSet::new();
        if self.here.contains(&trace) {
            for entry in self.reader.entries(trace)? {
                marks.extend(mark_of_kept(&entry.what));
            }
        }
        let new = marks.insert(mark);
        known.insert(trace, marks);
        Ok(new)
    }

    /// Keeps the runs that were told, those that differ from what is there; says how many.
    pub fn keep_runs(&self, at: Timestamp) -> anyhow::Result<usize> {
        let runs = std::mem::take(&mut *self.runs.lock().unwrap_or_else(PoisonError::into_inner));
        if runs.is_empty() {
            return Ok(0);
        }
        let before = Runs::read(self.store.reader()?)?;
        let mut writer = self.store.writer()?;
        let mut kept = 0;
        for (_, mut run) in runs {
            let tasks: HashMap<&str, usize> = (0..).zip(&run.tasks).map(|(at, task)| (task.as_str(), at)).collect();
            let place = |trial: &Trial| tasks.get(trial.task.as_str()).copied();
            run.trials.sort_by(|a, b| {
                (place(a), &a.variant, a.attempt, &a.id).cmp(&(place(b), &b.variant, b.attempt, &b.id))
            });
            let known =
                before.all.iter().find(|known| known.id == run.id).map(|known| before.whole(known)).transpose()?;
            if known.is_some_and(|known| known.trials == run.trials) {
                continue;
            }
            keep_whole(&mut writer, &run, at)?;
            kept += 1;
        }
        Ok(kept)
    }
}

impl Keeper<'_> {
    /// A new file begins.
    pub fn begin(&mut self) {
        (self.events, self.calls) = (0, 0);
    }

    /// Returns when everything is on the disk.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        Ok(self.writer.as_mut().map_or(Ok(()), Writer::sync)?)
    }

    /// Events and calls that were new in this file.
    pub fn added(&self) -> (u64, u64) {
        (self.events, self.calls)
    }
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.shared.writers.lock().unwrap_or_else(PoisonError::into_inner).push(writer);
        }
    }
}

impl Taker for Keeper<'_> {
    fn event(&mut self, event: &TraceEvent) -> Result<(), TakeError> {
        if !self.shared.is_new(event.trace, mark(&event.what))? {
            return Ok(());
        }
        self.events += 1;
        self.calls += u64::from(matches!(event.what, What::CallStarted(..)));
        let Some(writer) = &mut self.writer else { return Ok(()) };
        Ok(writer.accept(event)?)
    }

    fn run(&mut self, part: RunRecord) -> Result<(), TakeError> {
        let mut runs = self.shared.runs.lock().unwrap_or_else(PoisonError::into_inner);
        match runs.get_mut(&part.id) {
            None => {
                runs.insert(part.id.clone(), part);
            }
            Some(run) => join(run, part),
        }
        Ok(())
    }
}

/// Puts a part of a run to what is known of it.
fn join(run: &mut RunRecord, part: RunRecord) {
    run.started = run.started.min(part.started);
    run.finished = run.finished.max(part.finished);
    run.trials_per_task = run.trials_per_task.max(part.trials_per_task);
    for task in part.tasks {
        if !run.tasks.contains(&task) {
            run.tasks.push(task);
        }
    }
    for variant in part.variants {
        if !run.variants.iter().any(|known| known.name == variant.name) {
            run.variants.push(variant);
        }
    }
    for mut trial in part.trials {
        if run.trials.iter().any(|known| known.id == trial.id) {
            continue;
        }
        // Files of one run may each count their attempts from one.
        let same = |known: &&Trial| known.task == trial.task && known.variant == trial.variant;
        let taken: Vec<u32> = run.trials.iter().filter(same).map(|known| known.attempt).collect();
        while taken.contains(&trial.attempt) {
            trial.attempt += 1;
        }
        run.trials_per_task = run.trials_per_task.max(trial.attempt);
        run.trials.push(trial);
    }
}

fn mark(what: &What) -> u64 {
    match what {
        What::TraceStarted(started) => mark_started(started),
        What::CallStarted(call, _) => hashed(&("started", call)),
        What::CallEnded(call, _) => hashed(&("ended", call)),
        What::Noted(note) => mark_note(note),
        What::Scored(score) => mark_score(score),
        What::TraceEnded(ended) => mark_ended(ended),
    }
}

fn mark_of_kept(kept: &Kept) -> Option<u64> {
    Some(match kept {
        Kept::TraceStarted(_, started) => mark_started(started),
        Kept::CallStarted(_, started) => hashed(&("started", started.call)),
        Kept::CallEnded(_, call, _) => hashed(&("ended", call)),
        Kept::Noted(_, note) => mark_note(note),
        Kept::Scored(_, score) => mark_score(score),
        Kept::TraceEnded(_, ended) => mark_ended(ended),
        Kept::CallLost(..) | Kept::Record(_) | Kept::Removed(_) => return None,
    })
}

fn hashed(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn mark_started(started: &TraceStarted) -> u64 {
    hashed(&("trace", format!("{started:?}")))
}

fn mark_note(note: &Note) -> u64 {
    if note.kind == Provenance::KIND {
        return hashed(&note.kind);
    }
    hashed(&("note", &note.kind, note.call, note.data.to_string()))
}

fn mark_score(score: &Score) -> u64 {
    hashed(&("score", format!("{score:?}")))
}

fn mark_ended(ended: &TraceEnded) -> u64 {
    hashed(&("end", format!("{ended:?}")))
}
