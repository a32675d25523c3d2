//! Results of tau2-bench and the older tau-bench: simulations with a reward, and the conversation behind each.

use std::collections::BTreeMap;

use serde_json::Value;

use super::desk::add_usage;
use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Source, Told, Trouble, chat, desk, document, results, said, time, usage};
use crate::trace::{Message, Part, Response, Role, Source as From, Stop, Timestamp, TraceId};
use crate::trial::{Ending, RunRecord, Trial};

pub const FORMAT: Format = Format {
    name: "tau2",
    about: "results of tau2-bench and tau-bench",
    fits: |shape| {
        shape.all(&["simulations", "info"])
            || shape.all(&["task_id", "reward_info"])
            || shape.all(&["[].task_id", "[].reward", "[].traj"])
    },
    read,
};

const WHY: &str = "a simulation keeps its messages, not the requests that were sent";
/// Endings that say nothing of the agent.
const BROKEN: &[&str] = &["infrastructure_error", "user_error", "unexpected_error"];

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let whole = document(source.from)?;
    let info = &whole["info"];
    let started = time::read(&whole["timestamp"]).unwrap_or(source.modified);
    let (list, key) = match &whole {
        Value::Array(list) => (list.clone(), format!("{:x?}", desk::digest(&[&whole.to_string()]))),
        _ if whole["simulations"].is_array() => {
            let ids: Vec<&str> =
                whole["simulations"].as_array().into_iter().flatten().map(|one| text(one, "id")).collect();
            (
                whole["simulations"].as_array().cloned().unwrap_or_default(),
                format!("{} {}", text(&whole, "timestamp"), ids.join(" ")),
            )
        }
        // One simulation of a folder of them.
        _ => (
            vec![whole.clone()],
            source.path.rsplit_once("/simulations/").map_or(source.path, |(dir, _)| dir).to_owned(),
        ),
    };
    let domain = text(&info["environment_info"], "domain_name");
    let suite = if domain.is_empty() { "tau-bench".to_owned() } else { format!("tau2-bench {domain}") };
    let mut run = results::run("tau2", &key, &suite, started);
    run.name = source.path.rsplit('/').next().map(|file| file.split('.').next().unwrap_or(file).to_owned());
    run.git_commit = info["git_commit"].as_str().map(str::to_owned);
    let agent = &info["agent_info"];
    let params: BTreeMap<String, Value> =
        agent["llm_args"].as_object().cloned().unwrap_or_default().into_iter().collect();
    let variant = results::variant(&mut run, text(agent, "llm"), text(agent, "implementation"), params);
    for simulation in &list {
        one(desk, &mut run, simulation, text(agent, "llm"), &variant, started)?;
        desk.used();
    }
    desk.run(run)
}

fn one(
    desk: &mut Desk<'_>,
    run: &mut RunRecord,
    simulation: &Value,
    model: &str,
    variant: &str,
    otherwise: Timestamp,
) -> Result<(), Trouble> {
    let task = said::as_text(&simulation["task_id"]);
    let id = text(simulation, "id");
    let number =
        simulation["trial"].as_u64().and_then(|trial| u32::try_from(trial).ok()).map(|trial| trial.saturating_add(1));
    let mut trial = results::trial(run, id, &task, variant, number);
    trial.started = time::read(&simulation["start_time"]).unwrap_or(otherwise);
    trial.seed = simulation["seed"].as_u64();
    let seconds = simulation["duration"].as_f64().filter(|seconds| (0.0..1e8).contains(seconds)).unwrap_or(0.0);
    trial.duration_us = (seconds * 1e6) as u64;
    trial.cost_usd = simulation["agent_cost"].as_f64();
    let reward = &simulation["reward_info"];
    let whole = reward["reward"].as_f64().or_else(|| simulation["reward"].as_f64());
    let reason = text(simulation, "termination_reason");
    trial.grades.push(match whole {
        Some(score) => results::scored("reward", score, score >= 1.0 - 1e-6, ""),
        None => results::silent("reward", "there is no reward"),
    });
    for (part, score) in reward["reward_breakdown"].as_object().into_iter().flatten() {
        if let Some(score) = score.as_f64() {
            let mut grade = results::scored(&part.to_lowercase(), score, score >= 1.0 - 1e-6, "");
            // The reward is made of them already.
            (grade.required, grade.weight) = (false, 0.0);
            trial.grades.push(grade);
        }
    }
    trial.ending = match reason {
        reason if BROKEN.contains(&reason) => Ending::Broken { reason: reason.to_owned() },
        "timeout" => Ending::TimedOut { seconds },
        "max_steps" | "too_many_errors" | "context_window_exceeded" => Ending::Braked { brake: reason.to_owned() },
        _ => Ending::Exited { code: 0 },
    };
    let messages = simulation["messages"].as_array().or_else(|| simulation["traj"].as_array());
    if let Some(messages) = messages.filter(|messages| !messages.is_empty()) {
        let key = if id.is_empty() { trial.id.clone() } else { id.to_owned() };
        trial.trace = Some(conversation(desk, &key, &task, messages, model, &mut trial)?);
    }
    results::finish(run, trial);
    Ok(())
}

/// What the agent hears of a message. In domains with two sides the user has tools too, and their results are the user's own.
fn heard(raw: &Value) -> Vec<Message> {
    let several = raw["tool_messages"].as_array().map_or(std::slice::from_ref(raw), Vec::as_slice);
    let mut all: Vec<Message> = several
        .iter()
        .filter(|one| text(one, "requestor") != "user")
        .flat_map(|one| said::messages(one, Role::User))
        .collect();
    for message in all.iter_mut().filter(|message| message.role == Role::User) {
        message.parts.retain(|part| !matches!(part, Part::ToolCall(_)));
    }
    all.retain(|message| !message.parts.is_empty());
    all
}

/// The conversation of a simulation as a trace of its own.
fn conversation(
    desk: &mut Desk<'_>,
    key: &str,
    task: &str,
    messages: &[Value],
    model: &str,
    trial: &mut Trial,
) -> Result<TraceId, Trouble> {
    let trace = desk.begin(About {
        key: key.to_owned(),
        name: Some(format!("tau2 {task}")),
        agent: Some("tau2".to_owned()),
        at: trial.started,
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Derived)],
        ..About::default()
    })?;
    let mut thread = Thread::default();
    let mut last = trial.started;
    for (number, raw) in messages.iter().enumerate() {
        let at = time::read(&raw["timestamp"]).unwrap_or(Timestamp(last.0 + 1));
        let took = raw["generation_time_seconds"].as_f64().filter(|seconds| (0.0..1e6).contains(seconds));
        let asked_at = took.map_or(last.min(at), |seconds| Timestamp(at.0.saturating_sub((seconds * 1e6) as i64)));
        last = last.max(at);
        for message in heard(raw) {
            if message.role == Role::Assistant && (number > 0 || raw.get("usage").is_some_and(|usage| !usage.is_null()))
            {
                let response = Response {
                    model: model.to_owned(),
                    message: Some(message.clone()),
                    stop: Some(if message.tool_calls().next().is_some() { Stop::Tools } else { Stop::End }),
                    usage: usage::read(&raw["usage"], usage::Cached::Inside),
                    complete: true,
                    ..Response::default()
                };
                let mut told = desk.answered(&response, model);
                told.summary.cost_usd = raw["cost"].as_f64().or(told.summary.cost_usd);
                add_usage(&mut trial.usage, &response.usage);
                trial.calls += 1;
                let told = Told {
                    key: number.to_string(),
                    at: asked_at,
                    end_at: Some(at),
                    request: thread.chat(model, &[]),
                    hidden: true,
                    ..told
                };
                desk.call(trace, told)?;
            }
            for element in chat::elements(&message) {
                let (hidden, _) = desk.hide(element.to_string().into());
                thread.push(&hidden);
            }
        }
    }
    desk.end(trace, last, None)?;
    Ok(trace)
}
