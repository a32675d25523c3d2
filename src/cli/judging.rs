//! What `eval`, `grade`, `judge` and `watch` have in common: who judges, with whose keys, and what was answered before.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use super::{Misuse, models};
use crate::capture::{Mocks, Proxy, ProxyConfig, Upstream};
use crate::eval::{Judged, Judging};
use crate::store::log::{Reader, Store, Writer};
use crate::suite::{Loaded, Rubric, load_rubric};
use crate::trace::{Headers, Timestamp};

/// The kind of record that remembers a judge's answer.
const JUDGED: &str = "judged";

/// Flags of everything that judges.
#[derive(Debug, Clone, Default, Args)]
pub struct Judge {
    /// Let this model judge, as provider/model, instead of the rubrics' own
    #[arg(long, value_name = "MODEL", value_parser = model)]
    judge: Option<String>,
    /// Questions to judges at once
    #[arg(long, value_name = "N", default_value_t = 32)]
    judge_jobs: usize,
}

impl Judge {
    /// Puts the judge of the command line in the place of the rubric's own.
    pub fn apply(&self, rubric: &mut Rubric) {
        if let Some(judge) = &self.judge {
            rubric.judge.model = Some(judge.clone());
            rubric.judge.panel.clear();
        }
    }

    /// The same for all rubrics of a suite; one without any judge is the caller's mistake.
    ///
    /// # Errors
    /// When a rubric has no judge.
    pub fn apply_all(&self, loaded: &mut Loaded) -> anyhow::Result<()> {
        for (file, rubric) in &mut loaded.rubrics {
            self.apply(rubric);
            must_have_judge(file, rubric)?;
        }
        Ok(())
    }

    /// Everything that judging needs; what was answered before is read from the store, when something will be judged.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn judging<'a>(
        &self,
        rubrics: impl IntoIterator<Item = &'a Rubric>,
        reader: Option<&Reader>,
    ) -> anyhow::Result<Judging> {
        let models: Vec<String> =
            rubrics.into_iter().flat_map(|rubric| rubric.judge.models()).map(str::to_owned).collect();
        let mut judging = Judging { at_once: self.judge_jobs, ..Judging::default() };
        if models.is_empty() {
            return Ok(judging);
        }
        judging.keys = keys(models.iter().map(String::as_str), &environment());
        if models.iter().all(|model| model.starts_with("mock/")) {
            // A mock that is busy is busy on purpose.
            judging.patience = Duration::from_millis(5);
        }
        if let Some(reader) = reader {
            let records = reader.records(JUDGED)?.into_iter();
            judging.memory = records.filter_map(|record| serde_json::from_value::<Judged>(record.data).ok()).collect();
        }
        Ok(judging)
    }
}

/// A judge's name, with its provider: without one nobody would know whom to ask.
pub fn model(text: &str) -> Result<String, String> {
    match text.split_once('/').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty()) {
        true => Ok(text.to_owned()),
        false => Err("write it as provider/model, like anthropic/claude-sonnet-5".to_owned()),
    }
}

/// A recording proxy of our own, for judges only.
///
/// # Errors
/// When it can't listen.
pub async fn proxy(mut config: ProxyConfig, store: &Store) -> anyhow::Result<Proxy> {
    if config.upstreams.get("mock").is_none() {
        config.upstreams.set("mock", Upstream::Local(Arc::new(Mocks)));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listening on 127.0.0.1")?;
    Ok(Proxy::start(config, listener, store.writer()?)?)
}

/// A rubric that nobody reads by is no measure.
pub fn must_have_judge(file: &str, rubric: &Rubric) -> anyhow::Result<()> {
    match rubric.judge.models().is_empty() {
        false => Ok(()),
        true => Err(Misuse(format!(
            "{file}: the rubric {} names no judge: say --judge MODEL, or judge: {{model: provider/model}} in the rubric",
            rubric.rubric
        ))
        .into()),
    }
}

/// Keeps what judges have answered.
///
/// # Errors
/// When the store can't take it.
pub fn keep(writer: &mut Writer, fresh: &[Judged], at: Timestamp) -> anyhow::Result<()> {
    for judged in fresh {
        writer.record(JUDGED, &judged.key, at, &serde_json::to_value(judged)?)?;
    }
    Ok(())
}

/// Opens a rubric; says everything that is wrong with it.
///
/// # Errors
/// When it can't be read or is wrong.
pub fn open_rubric(path: &Path) -> anyhow::Result<Rubric> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Misuse(format!("{name}: {error}")))?;
    Ok(load_rubric(&name, &text).map_err(|errors| Misuse(errors.to_string()))?)
}

/// Our own environment, as far as it is text.
pub fn environment() -> Vec<(String, String)> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read in cli")]
    let all = std::env::vars_os();
    all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// The keys of the providers of these models, from the environment, under the names their own clients use.
pub fn keys<'a>(names: impl Iterator<Item = &'a str>, env: &[(String, String)]) -> BTreeMap<String, Headers> {
    let mut keys = BTreeMap::new();
    for model in names {
        let Some((provider, _)) = model.split_once('/') else { continue };
        let own = models::keys(provider, env);
        if !own.is_empty() {
            keys.insert(provider.to_owned(), own);
        }
    }
    keys
}
