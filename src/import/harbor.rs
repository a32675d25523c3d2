//! Harbor job folders: a `result.json` for each trial, one for the job, trajectories beside them (those are ATIF).

use std::collections::BTreeMap;

use serde_json::Value;

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
    let spent = &whole["agent_result"];
    let cached = spent["n_cache_tokens"].as_u64();
    trial.usage = Usage {
        input: spent["n_input_tokens"].as_u64().map(|input| input.saturating_sub(cached.unwrap_or(0))),
        output: spent["n_output_tokens"].as_u64(),
        cache_read: cached,
        ..Usage::default()
    };
    trial.cost_usd = spent["cost_usd"].as_f64();
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
    let exception = &whole["exception_info"];
    if trial.grades.is_empty() {
        let why = Some(text(exception, "exception_type"))
            .filter(|kind| !kind.is_empty())
            .unwrap_or("the verifier gave no reward");
        let timed_out = why.contains("AgentTimeout");
        trial.ending = if timed_out {
            Ending::TimedOut { seconds: trial.duration_us as f64 / 1e6 }
        } else {
            Ending::Broken { reason: why.to_owned() }
        };
        trial.grades.push(if timed_out {
            results::scored("reward", 0.0, false, why)
        } else {
            results::silent("reward", why)
        });
    }
    if let Value::String(message) = &exception["exception_message"] {
        trial.why = Some(message.chars().take(300).collect());
    }
}
