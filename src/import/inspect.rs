//! Inspect logs, `.eval` archives and JSON: samples become trials with grades, their model events become calls. Texts that a
//! log keeps once and points to (attachments, pooled messages) are put back where they stood.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::desk::add_usage;
use super::shape::text;
use super::{About, Desk, Format, Source, Told, Trouble, chat, document, results, said, time, usage, zip};
use crate::trace::{Message, ProviderError, Response, Role, Source as From, Stop, Timestamp, ToolDef, TraceId};
use crate::trial::{Ending, RunRecord, Trial};

pub const FORMAT: Format = Format {
    name: "inspect",
    about: "logs of Inspect, .eval and JSON",
    fits: |shape| {
        shape.head.starts_with(b"PK\x03\x04")
            || shape.all(&["eval", "eval.task", "eval.model"])
            || shape.all(&["version", "status", "eval", "plan"])
    },
    read,
};

const WHY: &str = "a log keeps messages and settings, not the request that was sent";
/// Bytes that putting texts back may add to a sample.
const MOST: usize = 256 << 20;
const DEEPEST: usize = 64;
/// Messages of a request, about: no model reads more.
const MESSAGES: usize = 100_000;

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let (path, modified) = (source.path, source.modified);
    let Some(file) = &mut source.file else {
        let log = document(source.from)?;
        let mut run = begin(&log, path, modified);
        for sample in log["samples"].as_array().into_iter().flatten() {
            one(desk, &mut run, &log, sample)?;
            desk.used();
        }
        return desk.run(run);
    };
    let entries = zip::entries(&mut **file)?;
    // Where an archive was added to, the last of a name counts.
    let named = |name: &str| entries.iter().rfind(|entry| entry.name == name);
    let last: HashMap<&str, usize> =
        entries.iter().enumerate().map(|(index, entry)| (entry.name.as_str(), index)).collect();
    let header = named("header.json").or_else(|| named("_journal/start.json"));
    let Some(header) = header else {
        return Err(Trouble::Bad("it is a zip archive, but no Inspect log: there is no header.json in it".to_owned()));
    };
    let parse = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes);
    let log =
        parse(zip::read(&mut **file, header)?).map_err(|error| Trouble::Bad(format!("{}: {error}", header.name)))?;
    let mut run = begin(&log, path, modified);
    for (index, entry) in entries.iter().enumerate() {
        if !(entry.name.starts_with("samples/") && entry.name.ends_with(".json")) {
            desk.skipped("indexes and sums of the log");
            continue;
        }
        if last[entry.name.as_str()] != index {
            desk.skipped("samples that were written again");
            continue;
        }
        // One bad sample doesn't hide the others.
        match zip::read(&mut **file, entry).map(parse) {
            Ok(Ok(sample)) => {
                one(desk, &mut run, &log, &sample)?;
                desk.used();
            }
            Ok(Err(error)) => {
                desk.remark(format!("{}: {error}", entry.name));
                desk.damaged();
            }
            Err(error) => {
                desk.remark(error.to_string());
                desk.damaged();
            }
        }
    }
    desk.run(run)
}

fn begin(log: &Value, path: &str, modified: Timestamp) -> RunRecord {
    let eval = &log["eval"];
    let ids = [text(eval, "eval_id"), text(eval, "run_id"), path];
    let key = ids.into_iter().find(|id| !id.is_empty()).unwrap_or_default();
    let started = [&log["stats"]["started_at"], &eval["created"]].into_iter().find_map(time::read).unwrap_or(modified);
    let mut run = results::run("inspect", key, text(eval, "task"), started);
    run.name = Some(format!("{} {}", text(eval, "task"), text(eval, "model")));
    run.finished = time::read(&log["stats"]["completed_at"]);
    run.git_commit = eval["revision"]["commit"].as_str().map(str::to_owned);
    let mut params: BTreeMap<String, Value> =
        eval["model_generate_config"].as_object().cloned().unwrap_or_default().into_iter().collect();
    params.extend(eval["task_args"].as_object().cloned().unwrap_or_default());
    results::variant(&mut run, text(eval, "model"), "", params);
    run
}

fn one(desk: &mut Desk<'_>, run: &mut RunRecord, log: &Value, sample: &Value) -> Result<(), Trouble> {
    let task = said::as_text(&sample["id"]);
    let model = text(&log["eval"], "model");
    let variant = run.variants.first().map(|variant| variant.name.clone()).unwrap_or_default();
    let epoch = sample["epoch"].as_u64().and_then(|epoch| u32::try_from(epoch).ok());
    let mut trial = results::trial(run, text(sample, "uuid"), &task, &variant, epoch);
    trial.started = time::read(&sample["started_at"]).unwrap_or(run.started);
    let seconds = sample["total_time"].as_f64().filter(|seconds| (0.0..1e8).contains(seconds)).unwrap_or(0.0);
    trial.duration_us = (seconds * 1e6) as u64;
    for counts in sample["model_usage"].as_object().into_iter().flat_map(|models| models.values()) {
        add_usage(&mut trial.usage, &counted(counts));
    }
    trial.infra_retries =
        sample["error_retries"].as_array().map_or(0, |list| u32::try_from(list.len()).unwrap_or(u32::MAX));
    for (scorer, score) in sample["scores"].as_object().into_iter().flatten() {
        grades(&mut trial, scorer, score);
    }
    if sample["error"].is_object() {
        trial.ending = Ending::Broken { reason: text(&sample["error"], "message").chars().take(300).collect() };
    } else if sample["limit"].is_object() {
        trial.ending = Ending::Braked { brake: text(&sample["limit"], "type").to_owned() };
    }
    trial.trace = Some(conversation(desk, run, model, sample, &mut trial)?);
    results::finish(run, trial);
    Ok(())
}

/// What a scorer said: a letter, a number, a truth, or several by name.
fn grades(trial: &mut Trial, scorer: &str, score: &Value) {
    let why = [text(score, "explanation"), text(score, "reason"), text(score, "answer")]
        .into_iter()
        .find(|why| !why.is_empty())
        .unwrap_or_default();
    let why: String = why.chars().take(1000).collect();
    match &score["value"] {
        Value::Object(several) => {
            for (name, value) in several {
                trial.grades.push(grade(&format!("{scorer} {name}"), value, &why));
            }
        }
        value => trial.grades.push(grade(scorer, value, &why)),
    }
}

fn grade(label: &str, value: &Value, why: &str) -> crate::trial::GradeRecord {
    let score = match value {
        Value::String(letter) => match letter.as_str() {
            "C" => Some(1.0),
            "P" => Some(0.5),
            "I" | "N" => Some(0.0),
            other => other.parse().ok(),
        },
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::Array(list) => {
            let numbers: Vec<f64> = list.iter().filter_map(Value::as_f64).collect();
            (!numbers.is_empty() && numbers.len() == list.len())
                .then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
        }
        other => other.as_f64(),
    };
    match score {
        Some(score) => results::scored(label, score, score >= 1.0 - 1e-9, why),
        None => results::silent(label, &format!("its value is {value}, which is no number")),
    }
}

/// Counts: some providers' have the cache in the input, some beside it; the total tells which.
fn counted(counts: &Value) -> crate::trace::Usage {
    let beside = usage::read(counts, usage::Cached::Beside);
    let total = counts["total_tokens"].as_u64();
    let inside = total.is_some_and(|total| total == beside.input.unwrap_or(0) + beside.output.unwrap_or(0));
    if inside { usage::read(counts, usage::Cached::Inside) } else { beside }
}

fn conversation(
    desk: &mut Desk<'_>,
    run: &RunRecord,
    model: &str,
    sample: &Value,
    trial: &mut Trial,
) -> Result<TraceId, Trouble> {
    let trace = desk.begin(About {
        key: trial.id.clone(),
        name: Some(format!("{} {}", run.suite, trial.task)),
        agent: Some("inspect".to_owned()),
        at: trial.started,
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Derived), ("times", From::Imported)],
        ..About::default()
    })?;
    let mut texts = Texts { attachments: &sample["attachments"], pool: &sample["events_data"]["messages"], left: MOST };
    let mut last = trial.started;
    for (number, event) in sample["events"].as_array().into_iter().flatten().enumerate() {
        let at = time::read(&event["timestamp"]).unwrap_or(last);
        last = last.max(time::read(&event["completed"]).unwrap_or(at));
        let event = texts.put_back(event, 0);
        match text(&event, "event") {
            "model" => {
                trial.calls += 1;
                let key = Some(text(&event, "uuid"))
                    .filter(|id| !id.is_empty())
                    .map_or_else(|| number.to_string(), str::to_owned);
                call(desk, trace, &mut texts, &event, model, at, key)?;
            }
            kind => desk.note(trace, at, &format!("inspect.{kind}"), None, event.clone())?,
        }
    }
    if texts.left == 0 {
        desk.remark(format!("{}: texts of more than {} MB were left where they are kept", trial.task, MOST >> 20));
    }
    let failed = sample["error"].is_object().then(|| text(&sample["error"], "message").to_owned());
    desk.end(trace, last, failed)?;
    Ok(trace)
}

/// Texts that are kept once and pointed to.
struct Texts<'a> {
    attachments: &'a Value,
    pool: &'a Value,
    /// Bytes that may still be put back.
    left: usize,
}

impl<'a> Texts<'a> {
    fn put_back(&mut self, value: &Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return value.clone();
        }
        match value {
            Value::String(word) => {
                let found = word.strip_prefix("attachment://").and_then(|hash| self.attachments.get(hash)?.as_str());
                match found {
                    Some(found) if found.len() <= self.left => {
                        self.left -= found.len();
                        Value::from(found)
                    }
                    Some(_) => {
                        self.left = 0;
                        value.clone()
                    }
                    None => value.clone(),
                }
            }
            Value::Array(list) => list.iter().map(|one| self.put_back(one, depth + 1)).collect(),
            Value::Object(map) => map.iter().map(|(key, one)| (key.clone(), self.put_back(one, depth + 1))).collect(),
            other => other.clone(),
        }
    }

    /// Messages of the pool: places, or ranges of them.
    fn pooled(&self, refs: &Value) -> Vec<&'a Value> {
        let at = |value: &Value| value.as_u64().and_then(|at| usize::try_from(at).ok());
        let mut found = Vec::new();
        for one in refs.as_array().into_iter().flatten() {
            let range = match one {
                Value::Array(pair) => pair.first().and_then(at).zip(pair.get(1).and_then(at)),
                place => at(place).map(|at| (at, at.saturating_add(1))),
            };
            let Some((from, to)) = range else { continue };
            if found.len() > MESSAGES {
                break;
            }
            let pool = self.pool.as_array().map(Vec::as_slice).unwrap_or_default();
            found.extend(pool.get(from..to.min(pool.len())).unwrap_or_default());
        }
        found
    }
}

fn call(
    desk: &mut Desk<'_>,
    trace: TraceId,
    texts: &mut Texts<'_>,
    event: &Value,
    model: &str,
    at: Timestamp,
    key: String,
) -> Result<(), Trouble> {
    let mut messages: Vec<Message> = said::messages(&event["input"], Role::User);
    // A message of the pool may itself point to attachments. What one call takes back is not missing in the next.
    let left = texts.left;
    for pooled in texts.pooled(&event["input_refs"]) {
        messages.extend(said::messages(&texts.put_back(pooled, 0), Role::User));
    }
    if texts.left > 0 {
        texts.left = left;
    }
    let tools: Vec<ToolDef> = said::tools(&event["tools"]);
    let output = &event["output"];
    let own = Some(text(event, "model")).filter(|own| !own.is_empty()).unwrap_or(model);
    let choice = &output["choices"][0];
    let error =
        [event["error"].as_str(), output["error"].as_str()].into_iter().flatten().find(|error| !error.is_empty());
    let response = Response {
        model: text(output, "model").to_owned(),
        message: said::answer(&choice["message"]),
        stop: match text(choice, "stop_reason") {
            "" => None,
            "stop" => Some(Stop::End),
            "tool_calls" => Some(Stop::Tools),
            "max_tokens" | "model_length" => Some(Stop::Length),
            "content_filter" => Some(Stop::Refusal),
            other => Some(Stop::Other(other.to_owned())),
        },
        usage: counted(&output["usage"]),
        complete: error.is_none(),
        error: error.map(|error| ProviderError { kind: String::new(), message: error.chars().take(1000).collect() }),
        ..Response::default()
    };
    let params: Map<String, Value> = event["config"]
        .as_object()
        .cloned()
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    let usage = response.usage;
    let mut told = desk.answered(&response, own);
    told.summary.usage = usage;
    let seconds = output["time"].as_f64().filter(|seconds| (0.0..1e7).contains(seconds)).unwrap_or(0.0);
    let end = time::read(&event["completed"]).unwrap_or(Timestamp(at.0.saturating_add((seconds * 1e6) as i64)));
    let told = Told {
        key,
        at,
        end_at: Some(end),
        upstream: own.split('/').next().unwrap_or_default().to_owned(),
        request: chat::request(own, &messages, &tools, &params),
        ..told
    };
    desk.call(trace, told).map(|_| ())
}
