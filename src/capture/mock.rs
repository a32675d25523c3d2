//! Models named `mock/…` answer from here, in whatever wire format they are asked.

use std::time::Duration;

use memchr::memmem;

use super::upstream::{Answer, Answers, Asked, Reply};
use crate::provider::{self, mock};
use crate::trace::CallEnd;

/// An upstream of mock models only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mocks;

impl Answers for Mocks {
    fn answer(&self, asked: &Asked<'_>) -> Answer {
        let no_mock = || {
            let why = "this upstream has mock models only, and the request names another";
            super::forward::refusal(provider::refusal(asked.wire, "no_such_model", why), 0)
        };
        Answer::Reply(answer(asked).unwrap_or_else(no_mock))
    }
}

/// Whether a request could name a mock model. Cheap, and never wrong when it says no.
pub(super) fn may_be_asked(target: &str, body: &[u8]) -> bool {
    memmem::find(body, b"mock/").or_else(|| memmem::find(body, b"mock\\/")).is_some() || target.contains("mock")
}

/// The answer of the mock model that the request names; `None` when it names none.
pub(super) fn answer(asked: &Asked<'_>) -> Option<Reply> {
    let request = provider::request(asked.wire, asked.target, asked.body).ok()?;
    let name = request.model.replace("%2F", "/").replace("%2f", "/");
    if !mock::is_mock(&name) {
        return None;
    }
    let mut read = |file: &str| std::fs::read_to_string(file).map_err(|error| error.to_string());
    let model = match mock::Model::parse(&name, &mut read) {
        Ok(model) => model,
        Err(error) => {
            return Some(super::forward::refusal(
                provider::refusal(asked.wire, "no_such_model", &error.to_string()),
                0,
            ));
        }
    };
    let key = match (asked.key, asked.trace) {
        ("", Some(trace)) => trace.to_string(),
        (key, _) => key.to_owned(),
    };
    let reply = model.reply(&request, &key);
    let (status, headers, chunks) = reply.encode(asked.wire, request.stream);
    let mut wait = Duration::from_millis(reply.delay_ms);
    let chunks = chunks.into_iter().map(|chunk| (std::mem::take(&mut wait), chunk)).collect();
    Some(Reply {
        upstream: name.split(['?', ':']).next().unwrap_or("mock").to_owned(),
        status,
        headers,
        chunks,
        end: CallEnd::Complete,
    })
}
