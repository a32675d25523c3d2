//! Harbor job folders: a `result.json` for each trial, one for the job, trajectories beside them (those are ATIF).

use std::collections::BTreeMap;

use serde_json::Value;

use super::desk::add_usage;
use super::shape::text;
use super::{Desk, Format, Source, Trouble, document, results, time};
use crate::trace::Usage;
use crate::trial::{Ending, Trial};

pub const FORMAT: Format = Format {
    name: "harbor",
    about: "results of Harbor trials",
    fits: |shape| shape.all(&["task_name", "trial_name"]) || shape.all(&["n_total_trials", "stats"]),
    read,
};

/// Exceptions that are the agent's own doing: what the verifier says after them is a measurement. After all others (the sandbox,
/// the provider, the verifier) Harbor itself counts no reward.
const OF_THE_AGENT: &[&str] = &[
    "AgentTimeoutError",
    "ContextWindowExceededError",
    "ContextLengthExceededError",
    "OutputTokenExceededError",
    "OutputLengthExceededError",
    "AgentSafetyRefusalError",
    "ContentPolicyViolationError",
];

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let whole = document(source.from)?;
    if text(&whole, "trial_name").is_empty() {
        desk.skipped("the job's own sums: its trials say the same");
        return Ok(());
    }
    let folders: Vec<&str> = source.path.rsplit('/').collect();
    // job/trial/result.json
    let job_folder = folders.get(2).copied().unwrap_or_default();
    let config = &whole["config"];
    let key = [text(config, "job_id"), text(&whole, "job_id"), job_folder]
        .into_iter()
        .find(|key| !key.is_empty())
        .unwrap_or_default();
    let started = time::read(&whole["started_at"]).unwrap_or(source.modified);
    let source_name =
        [text(&whole, "source"), text(&whole["task_id"], "git_url")].into_iter().find(|name| !name.is_empty());
    let mut run = results::run("harbor", key, source_name.unwrap_or("harbor"), started);
    run.name = Some(job_folder).filter(|name| !name.is_empty()).map(str::to_owned);
    let agent = &whole["agent_info"];
    let about = &agent["model_info"];
    let model = match (text(about, "provider"), text(about, "name")) {
        ("", "") => text(&config["agent"], "model_name").to_owned(),
        ("", name) => name.to_owned(),
        (provider, name) => format!("{provider}/{name}"),
    };
    let params = BTreeMap::from([("agent_version".to_owned(), agent["version"].clone())]);
    let variant = results::variant(&mut run, &model, text(agent, "name"), params);
    let mut trial = results::trial(&run, text(&whole, "trial_name"), text(&whole, "task_name"), &variant, None);
    let finished = time::read(&whole["finished_at"]).unwrap_or(started);
    (trial.started, trial.duration_us) = (started, finished.micros_since(started));
    spent(&mut trial, &whole);
    judge(&mut trial, &whole);
    results::finish(&mut run, trial);
    desk.used();
    desk.run(run)
}

/// What the verifier said, or why it said nothing.
fn judge(trial: &mut Trial, whole: &Value) {
    let verdict = &whole["verifier_result"];
    let rewards = verdict["rewards"].as_object().cloned();
    let rewards = rewards.or_else(|| {
        verdict["reward"].as_f64().map(|reward| [("reward".to_owned(), reward.into())].into_iter().collect())
    });
    for (name, reward) in rewards.unwrap_or_default() {
        if let Some(score) = reward.as_f64() {
            trial.grades.push(results::scored(&name, score, score >= 1.0 - 1e-6, ""));
        }
    }
    let Some(exception) = exception(whole) else {
        if trial.grades.is_empty() {
            trial.ending = Ending::Broken { reason: "the verifier gave no reward".to_owned() };
            trial.grades.push(results::silent("reward", "the verifier gave no reward"));
        }
        return;
    };
    let kind = text(exception, "exception_type");
    let kind = if kind.is_empty() { "the trial failed" } else { kind };
    let of_the_agent = OF_THE_AGENT.contains(&kind);
    trial.ending = match kind {
        "AgentTimeoutError" => Ending::TimedOut { seconds: trial.duration_us as f64 / 1e6 },
        _ if of_the_agent => Ending::Braked { brake: kind.to_owned() },
        _ => Ending::Broken { reason: kind.to_owned() },
    };
    if trial.grades.is_empty() {
        trial.grades.push(if of_the_agent {
            results::scored("reward", 0.0, false, kind)
        } else {
            results::silent("reward", kind)
        });
    }
    let message = text(exception, "exception_message");
    if !message.is_empty() {
        trial.why = Some(message.chars().take(300).collect());
    }
}

/// What went wrong in the trial, or in the first of its steps where anything did.
fn exception(whole: &Value) -> Option<&Value> {
    let steps = whole["step_results"].as_array().into_iter().flatten().map(|step| &step["exception_info"]);
    std::iter::once(&whole["exception_info"]).chain(steps).find(|exception| exception.is_object())
}

/// Tokens and cost: of the trial, or of its steps. Harbor's input holds the cache.
fn spent(trial: &mut Trial, whole: &Value) {
    let steps = whole["step_results"].as_array().into_iter().flatten().map(|step| &step["agent_result"]);
    let whole = &whole["agent_result"];
    let all: Vec<&Value> = if whole.is_object() { vec![whole] } else { steps.collect() };
    for one in all {
        let cached = one["n_cache_tokens"].as_u64();
        let usage = Usage {
            input: one["n_input_tokens"].as_u64().map(|input| input.saturating_sub(cached.unwrap_or(0))),
            output: one["n_output_tokens"].as_u64(),
            cache_read: cached,
            ..Usage::default()
        };
        add_usage(&mut trial.usage, &usage);
        if let Some(cost) = one["cost_usd"].as_f64() {
            *trial.cost_usd.get_or_insert(0.0) += cost;
        }
    }
}
