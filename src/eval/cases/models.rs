//! Who is asked whether a failure comes back: mock models at once and for nothing, live ones through the recording proxy.

use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::grade::{Evidence, Graded};
use crate::promote::{self, Proof, Turn};
use crate::provider::{self, mock};
use crate::stats::proportion::clopper_pearson;
use crate::suite::Rubric;
use crate::trace::{Headers, Request, Response, Wire};
use crate::trial::RunRecord;

/// One minus the confidence of intervals.
const ALPHA: f64 = 0.05;

/// A request that can be put to a model.
#[derive(Debug, Clone)]
pub struct Frozen {
    pub wire: Wire,
    /// The upstream it was recorded at.
    pub upstream: String,
    pub target: String,
    pub headers: Headers,
    pub body: Bytes,
}

/// Answers, or why there are none.
pub type Answers = Vec<Result<Response, String>>;

/// Who asks live models.
pub trait Models {
    /// Puts a request so many times; `model` is PROVIDER/MODEL, or the recorded one where `None`.
    fn answers(&mut self, model: Option<&str>, frozen: &Frozen, times: u32) -> Answers;

    /// Has an answer read by a rubric's judge.
    ///
    /// # Errors
    /// When nobody judges here, or the judge could not be reached.
    fn judged(&mut self, rubric: &Rubric, evidence: &Evidence) -> Result<Graded, String>;

    /// Runs a suite's trials, in a store of their own.
    ///
    /// # Errors
    /// When nothing is run here, or it could not be.
    fn run(&mut self, suite: &Path) -> Result<RunRecord, String>;
}

/// Nobody: mock models are asked, and no others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mocked;

impl Models for Mocked {
    fn answers(&mut self, _: Option<&str>, _: &Frozen, times: u32) -> Answers {
        let why = "live models are not asked from here: use `holdback promote` on the command line";
        (0..times).map(|_| Err(why.to_owned())).collect()
    }

    fn judged(&mut self, _: &Rubric, _: &Evidence) -> Result<Graded, String> {
        Err("judges are not asked from here: use `holdback promote` on the command line".to_owned())
    }

    fn run(&mut self, _: &Path) -> Result<RunRecord, String> {
        Err("loops are not run from here: use `holdback promote --level loop` on the command line".to_owned())
    }
}

/// How often a failure came back.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rate {
    pub model: String,
    pub failed: u32,
    /// Answers that could be graded.
    pub asked: u32,
    /// Of the share of failures, exact, 95 %.
    pub lower: f64,
    pub upper: f64,
    /// Whether the very first answer failed.
    pub at_once: bool,
    /// Asked without a usable answer.
    pub unanswered: u32,
    /// Why the last of those had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Why the first that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub red: Option<String>,
}

impl Rate {
    /// Some answers fail and some don't.
    pub fn is_flaky(&self) -> bool {
        self.failed > 0 && self.failed < self.asked
    }
}

/// A frozen turn, and who may be asked about it.
pub(super) struct Bench<'a> {
    pub models: &'a mut dyn Models,
    pub turn: &'a Turn,
}

impl Bench<'_> {
    /// A body read as the request it is.
    pub fn read(&self, body: &Value) -> Request {
        read(self.turn, body)
    }

    /// Whether asking that model costs nothing.
    pub fn is_free(&self, model: Option<&str>) -> bool {
        mock::is_mock(model.unwrap_or(&self.turn.request.model))
    }

    /// What a model answers to a body, so many times.
    pub fn answers(&mut self, model: Option<&str>, body: &Value, times: u32) -> Answers {
        let name = model.unwrap_or(&self.turn.request.model);
        if mock::is_mock(name) {
            let mut read_file = |file: &str| std::fs::read_to_string(file).map_err(|error| error.to_string());
            let parsed = mock::Model::parse(name, &mut read_file).map_err(|error| error.to_string());
            let request = self.read(body);
            let one = |attempt: u32| match &parsed {
                Ok(model) => Ok(model.reply(&request, &attempt.to_string()).response),
                Err(why) => Err(why.clone()),
            };
            return (0..times).map(one).collect();
        }
        let asked = &self.turn.asked;
        let frozen = Frozen {
            wire: asked.wire,
            upstream: asked.upstream.clone(),
            target: asked.target.clone(),
            headers: asked.headers.clone(),
            body: Bytes::from(body.to_string()),
        };
        self.models.answers(model, &frozen, times)
    }

    /// Asks a model so many times and counts how often the graders are red.
    pub fn rate(&mut self, model: Option<&str>, body: &Value, graders: &[Value], times: u32) -> Rate {
        let request = self.read(body);
        let name = model.unwrap_or(&self.turn.request.model).to_owned();
        let answers = self.answers(model, body, times);
        let mut rate = Rate { model: name, upper: 1.0, ..Rate::default() };
        for answer in answers {
            let proof = match answer {
                Ok(answer) => promote::prove(graders, &request, &answer),
                Err(why) => Proof::Open(why),
            };
            match proof {
                Proof::Red(why) => {
                    rate.at_once |= rate.asked == 0;
                    rate.failed += 1;
                    rate.asked += 1;
                    rate.red.get_or_insert(why);
                }
                Proof::Green => rate.asked += 1,
                Proof::Open(why) => {
                    rate.unanswered += 1;
                    rate.why = Some(why);
                }
            }
        }
        if let Ok(interval) = clopper_pearson(rate.failed, rate.asked, ALPHA) {
            (rate.lower, rate.upper) = (interval.lower, interval.upper);
        }
        rate
    }
}

/// A body read as the request it is.
pub(super) fn read(turn: &Turn, body: &Value) -> Request {
    provider::request(turn.asked.wire, &turn.asked.target, body.to_string().as_bytes()).unwrap_or_default()
}
