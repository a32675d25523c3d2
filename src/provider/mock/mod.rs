//! Models that run inside holdback, without a key and without a network: for tests, suites and tries. They speak every
//! wire format, and the same request with the same key always gets the same answer.
//!
//! - `mock/echo` answers the text of the last user message.
//! - `mock/script:FILE` plays a conversation with tools from a file (see [`Script`]); `mock/script:demo` is built in.
//! - `mock/flaky?p=0.8&seed=7` echoes with probability `p`, else answers in words that the prompt doesn't have. The luck is
//!   drawn once for each key, so all calls of one trial share it.
//! - `mock/judge:FILE` answers the questions of rubrics by rules from a file (see [`Judge`]); `mock/judge?say=yes` always says
//!   yes, and can be told to behave badly: prose, types, no-quote, false-quote, both, refuse, busy, obey, …
//!
//! They count a token for every word, in what they read and in what they write.

mod judge;
mod script;
mod words;

use bytes::Bytes;
use serde_json::Value;

use super::{answer, joined, refuse};
use crate::trace::{Headers, Message, ProviderError, Request, Response, Role, Stop, Usage, Wire};

pub use judge::{BadJudge, Judge};
pub use script::{BadScript, Script};
use words::{count_message, count_request, fingerprint, strangers, uniform};

/// A mock model's name that can't be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadModel {
    #[error(
        "there is no mock model {name:?}: use mock/echo, mock/script:FILE, mock/flaky?p=0.8&seed=7 or mock/judge:FILE"
    )]
    Unknown { name: String },
    #[error("{name:?}: {what}")]
    BadParameter { name: String, what: String },
    #[error("the script {file:?} can't be read: {reason}")]
    NoScript { file: String, reason: String },
    #[error("the script {file:?} {error}")]
    BadScript { file: String, error: BadScript },
    #[error("the judge {file:?} {error}")]
    BadJudge { file: String, error: BadJudge },
}

/// A model that needs no provider.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Answers the last user message.
    Echo,
    /// Plays a script.
    Script(Box<Script>),
    /// Echoes with probability `p`.
    Flaky { p: f64, seed: u64 },
    /// Judges by rules.
    Judge(Box<Judge>),
}

/// What a mock model answers, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// HTTP status: 200, or the error's.
    pub status: u16,
    /// How long it pretends to think.
    pub delay_ms: u64,
    pub response: Response,
}

impl Reply {
    /// The reply as the bytes a provider of that wire format would send.
    pub fn encode(&self, wire: Wire, stream: bool) -> (u16, Headers, Vec<Bytes>) {
        if let Some(error) = self.response.error.as_ref().filter(|_| self.status >= 400) {
            let (status, headers, body) = refuse(wire, self.status, &error.kind, &error.message);
            return (status, headers, vec![body]);
        }
        let (headers, body) = answer(wire, stream, &self.response);
        (self.status, headers, body)
    }
}

/// The text of a script that is built in.
pub fn comes_along(script: &str) -> Option<&'static str> {
    match script {
        "demo" => Some(include_str!("demo.yaml")),
        "demo-fixed" => Some(include_str!("demo-fixed.yaml")),
        _ => None,
    }
}

/// Whether a model's name asks for a mock model.
pub fn is_mock(model: &str) -> bool {
    model.starts_with("mock/")
}

impl Model {
    /// Reads a model's name. `read` fetches the text of the file that a script names; nothing here touches the disk.
    ///
    /// # Errors
    /// When there is no such mock model, its parameters are wrong, or its script can't be read.
    pub fn parse(name: &str, read: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Self, BadModel> {
        let what = name.strip_prefix("mock/").unwrap_or_default();
        if what == "echo" {
            return Ok(Model::Echo);
        }
        if let Some(file) = what.strip_prefix("script:").filter(|file| !file.is_empty()) {
            let file = file.to_owned();
            // The scripts that come along: what `holdback demo` plays, and the same model once it has been taught.
            let text = comes_along(&file).map_or_else(|| read(&file), |text| Ok(text.to_owned()));
            let text = text.map_err(|reason| BadModel::NoScript { file: file.clone(), reason })?;
            return text.parse().map(Box::new).map(Model::Script).map_err(|error| BadModel::BadScript { file, error });
        }
        if what == "flaky" || what.starts_with("flaky?") {
            return flaky(name, what);
        }
        if what == "judge" || what.starts_with("judge?") || what.starts_with("judge:") {
            return judge(name, what, read);
        }
        Err(BadModel::Unknown { name: name.to_owned() })
    }

    /// Answers a request: always the same answer for the same request and key. `key` names task and trial (or the trace),
    /// so that k trials draw independent luck.
    pub fn reply(&self, request: &Request, key: &str) -> Reply {
        let turn = turn(request);
        let mut reply = match self {
            Model::Echo => says(asked(request)),
            Model::Flaky { p, seed } if uniform(*seed, key) < *p => says(asked(request)),
            Model::Flaky { seed, .. } => says(strangers(request, *seed, key)),
            Model::Script(script) => script.reply(request, turn, key),
            Model::Judge(judge) => judge.reply(request),
        };
        let response = &mut reply.response;
        response.id = format!("mock_{:016x}_{turn}", fingerprint(request, key));
        response.model.clone_from(&request.model);
        if response.usage == Usage::default() && response.error.is_none() {
            let output = response.message.as_ref().map_or(0, count_message);
            response.usage = Usage { input: Some(count_request(request)), output: Some(output), ..Usage::default() };
        }
        reply
    }
}

fn flaky(name: &str, what: &str) -> Result<Model, BadModel> {
    let bad = |what: String| BadModel::BadParameter { name: name.to_owned(), what };
    let (mut p, mut seed) = (0.5, 0);
    for pair in
        what.split_once('?').map(|(_, query)| query).unwrap_or_default().split('&').filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "p" => p = value.parse().map_err(|_| bad(format!("p must be a number from 0 to 1, not {value:?}")))?,
            "seed" => seed = value.parse().map_err(|_| bad(format!("seed must be a whole number, not {value:?}")))?,
            other => return Err(bad(format!("flaky has no parameter {other:?}, only p and seed"))),
        }
    }
    if !(0.0..=1.0).contains(&p) {
        return Err(bad(format!("p must be a number from 0 to 1, not {p}")));
    }
    Ok(Model::Flaky { p, seed })
}

fn judge(name: &str, what: &str, read: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Model, BadModel> {
    let (head, query) = what.split_once('?').unwrap_or((what, ""));
    let rules = match head.strip_prefix("judge:") {
        None => None,
        Some(file) => {
            let file = file.to_owned();
            let text = read(&file).map_err(|reason| BadModel::NoScript { file: file.clone(), reason })?;
            Some(text.parse().map_err(|error| BadModel::BadJudge { file, error })?)
        }
    };
    let judge =
        Judge::with_manner(query, rules).map_err(|what| BadModel::BadParameter { name: name.to_owned(), what })?;
    Ok(Model::Judge(Box::new(judge)))
}

/// A plain answer.
fn says(text: String) -> Reply {
    let message = Some(Message::text(Role::Assistant, text));
    let response = Response { message, stop: Some(Stop::End), complete: true, ..Response::default() };
    Reply { status: 200, delay_ms: 0, response }
}

/// A failed status.
fn fails(status: u16, kind: String, message: String) -> Reply {
    let response = Response { error: Some(ProviderError { kind, message }), ..Response::default() };
    Reply { status, delay_ms: 0, response }
}

/// The text of the last user message.
fn asked(request: &Request) -> String {
    let mut users = request.messages.iter().rev().filter(|message| message.role == Role::User);
    users.next().map(Message::plain_text).unwrap_or_default()
}

/// How many answers of a model the conversation has already. Where a request carries only what is new (Responses with
/// `previous_response_id`), the id that a mock model gave its last answer says it.
fn turn(request: &Request) -> usize {
    let previous = request.params.get("previous_response_id").and_then(Value::as_str);
    let before = previous
        .filter(|id| id.starts_with("mock_"))
        .and_then(|id| id.rsplit('_').next()?.parse::<usize>().ok())
        .map_or(0, |turn| turn.saturating_add(1));
    let answers = joined(request.messages.clone()).iter().filter(|message| message.role == Role::Assistant).count();
    before.saturating_add(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Part;

    fn no_file(_: &str) -> Result<String, String> {
        Err("no such file".to_owned())
    }

    fn model(name: &str) -> Result<Model, BadModel> {
        Model::parse(name, &mut no_file)
    }

    fn request(text: &str) -> Request {
        let messages = vec![Message::text(Role::System, "Be kind."), Message::text(Role::User, text)];
        Request { model: "mock/echo".into(), messages, ..Request::default() }
    }

    #[test]
    fn echo_answers_the_last_user_message_and_counts_words() {
        let reply = Model::Echo.reply(&request("Say  two words"), "");
        assert_eq!(reply.response.message, Some(Message::text(Role::Assistant, "Say  two words")));
        let usage = Usage { input: Some(5), output: Some(3), ..Usage::default() };
        assert_eq!((reply.status, reply.response.usage, reply.response.complete), (200, usage, true));
    }

    #[test]
    fn flaky_passes_as_often_as_it_is_told_and_never_by_halves() {
        let prompt = request("Which apple, Lantern or pebble? Say the word willow.");
        for p in [0.0, 0.3, 0.8, 1.0] {
            let flaky = model(&format!("mock/flaky?p={p}&seed=7")).unwrap();
            let mut passed = 0;
            for trial in 0..2000 {
                let key = format!("task-{}/{trial}", trial % 20);
                let reply = flaky.reply(&prompt, &key);
                assert_eq!(reply, flaky.reply(&prompt, &key));
                let text = reply.response.message.unwrap().plain_text();
                if text == asked(&prompt) {
                    passed += 1;
                } else {
                    let asked = asked(&prompt).to_lowercase();
                    for word in
                        text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
                    {
                        assert!(!asked.contains(word), "{word}");
                    }
                }
            }
            assert!((f64::from(passed) / 2000.0 - p).abs() < 0.04, "{passed} of 2000 at {p}");
        }
    }

    #[test]
    fn names_that_are_no_model_say_what_would_be() {
        for (name, word) in [
            ("mock/ecko", "mock/echo"),
            ("gpt-5", "mock/echo"),
            ("mock/script:", "mock/script:FILE"),
            ("mock/flaky?p=2", "from 0 to 1"),
            ("mock/flaky?p=NaN", "from 0 to 1"),
            ("mock/flaky?seed=-1", "whole number"),
            ("mock/flaky?q=1", "only p and seed"),
            ("mock/script:a.yaml", "no such file"),
        ] {
            let error = model(name).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
        assert_eq!(model("mock/flaky"), Ok(Model::Flaky { p: 0.5, seed: 0 }));
    }

    #[test]
    fn turns_are_counted_in_answers_however_the_wire_cuts_them() {
        let mut request = request("go");
        assert_eq!(turn(&request), 0);
        request.messages.push(Message::text(Role::Assistant, "thinking aloud"));
        request.messages.push(Message { role: Role::Assistant, parts: vec![Part::Text { text: "and acting".into() }] });
        assert_eq!(turn(&request), 1);
        request.messages.push(Message::text(Role::Tool, "done"));
        request.messages.push(Message::text(Role::Assistant, "well"));
        assert_eq!(turn(&request), 2);
        request.messages.clear();
        request.params.insert("previous_response_id".into(), "mock_00000000000000aa_4".into());
        assert_eq!(turn(&request), 5);
    }
}
