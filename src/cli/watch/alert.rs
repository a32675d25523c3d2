//! Tells whoever wants to know: a command with JSON on its standard input, or a webhook.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use super::rules::Alert;
use crate::capture::child::{self, Input, Spec};
use crate::capture::{Fetcher, clock};
use crate::cli::{judging, out};
use crate::signal::Level;
use crate::trace::{Timestamp, TraceId};

/// The longest that a hook may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct News {
    /// The signal's name, `rubric` or `drift`.
    pub alert: String,
    pub level: Level,
    pub says: String,
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub at: Timestamp,
}

/// Gives alerts, each as often as it should be given.
pub struct Bell<'a> {
    alerts: &'a [Alert],
    fetcher: Fetcher,
    env: Vec<(OsString, OsString)>,
    rung: HashMap<(usize, String), Instant>,
}

impl<'a> Bell<'a> {
    pub fn new(alerts: &'a [Alert]) -> Self {
        let env = judging::environment().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Bell { alerts, fetcher: Fetcher::default(), env, rung: HashMap::new() }
    }

    /// Tells everyone who wants to know; how many were told.
    pub async fn ring(&mut self, news: &News) -> usize {
        let mut told = 0;
        for (at, alert) in self.alerts.iter().enumerate() {
            let wanted = alert.on.is_empty() || alert.on.contains(&news.alert);
            if !wanted || news.level < alert.level || !self.is_due(at, alert, news) {
                continue;
            }
            let text = serde_json::to_string(news).unwrap_or_default();
            if let Err(why) = self.tell(alert, text).await {
                eprintln!("holdback: an alert could not be given: {}", out::printable(&why));
            } else {
                told += 1;
            }
        }
        told
    }

    fn is_due(&mut self, at: usize, alert: &Alert, news: &News) -> bool {
        let (key, now) = ((at, news.alert.clone()), clock::tick());
        let quiet = Duration::try_from_secs_f64(alert.quiet).unwrap_or_default();
        let due = self.rung.get(&key).is_none_or(|last| now.duration_since(*last) >= quiet);
        if due {
            self.rung.insert(key, now);
        }
        due
    }

    async fn tell(&self, alert: &Alert, text: String) -> Result<(), String> {
        if let Some(command) = &alert.command {
            let mut spec = Spec::new(command.0.clone(), self.env.clone());
            spec.stdin = Input::Bytes(text.clone().into_bytes());
            let program = command.0.join(" ");
            let ran = tokio::task::spawn_blocking(move || child::spawn(&spec)?.wait(Some(PATIENCE))).await;
            match ran {
                Ok(Ok(exit)) if exit.success() => {}
                Ok(Ok(exit)) => return Err(format!("{program} ended with {:?}", exit.code)),
                Ok(Err(error)) => return Err(format!("{program}: {error}")),
                Err(_) => return Err(format!("{program} could not be watched")),
            }
        }
        if let Some(url) = &alert.webhook {
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            let told = self.fetcher.fetch("POST", url, &headers, Bytes::from(text), PATIENCE).await;
            let told = told.map_err(|error| error.to_string())?;
            if told.status >= 400 {
                return Err(format!("{url} answered {}", told.status));
            }
        }
        Ok(())
    }
}
