//! A trace as promotion reads it: every call with what was asked and what was answered.

use bytes::Bytes;

use crate::provider;
use crate::signal::{self, Finding, Step, Story};
use crate::trace::{
    CallEnd, CallEnded, CallId, CallStarted, Message, Part, Request, Response, Role, Score, ToolCall, ToolResult,
    TraceEnded, TraceId,
};

/// One call of the trace.
#[derive(Debug, Clone)]
pub struct Turn {
    /// From 1, in the order in which they were asked.
    pub number: usize,
    pub call: CallId,
    pub asked: CallStarted,
    pub body: Bytes,
    pub request: Request,
    pub response: Response,
    pub step: Step,
}

impl Turn {
    /// Reads a call.
    pub fn new(number: usize, call: CallId, asked: CallStarted, body: Bytes, ended: Option<&CallEnded>) -> Self {
        let request = provider::request(asked.wire, &asked.target, &body).unwrap_or_default();
        let response =
            ended.map(|ended| provider::response(asked.wire, ended.status.unwrap_or(0), &ended.headers, &ended.body));
        let response = response.unwrap_or_default();
        let mut step = Step::of(&request, &response);
        step.call = Some(call);
        step.end = ended.map_or(CallEnd::Lost, |ended| ended.end);
        step.status = ended.and_then(|ended| ended.status);
        step.agent.clone_from(&asked.agent);
        step.retry_of = asked.retry_of;
        Turn { number, call, asked, body, request, response, step }
    }

    /// The tools the model asked for.
    pub fn calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.response.message.iter().flat_map(Message::tool_calls)
    }

    /// Results that came in since the model last spoke.
    pub fn results(&self) -> impl Iterator<Item = &ToolResult> {
        let from = self.request.messages.iter().rposition(|m| m.role == Role::Assistant).map_or(0, |at| at + 1);
        results(&self.request.messages[from..])
    }
}

/// Tool results in messages.
pub(super) fn results(messages: &[Message]) -> impl Iterator<Item = &ToolResult> {
    messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::ToolResult(result) => Some(result),
        _ => None,
    })
}

/// Whether a tool's result says that it failed: most loops tell it in words only.
pub(super) fn is_error(result: &ToolResult) -> bool {
    let head: String = result.text.trim_start().chars().take(200).collect::<String>().to_lowercase();
    result.is_error
        || head.starts_with("error")
        || head.starts_with("traceback")
        || head.starts_with("fatal:")
        || head.contains("exception:")
        || head.contains("command not found")
        || head.contains("no such file or directory")
}

/// A trace, told.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub trace: Option<TraceId>,
    pub turns: Vec<Turn>,
    pub ended: Option<TraceEnded>,
    pub scores: Vec<Score>,
}

impl Told {
    /// What its signals say.
    pub fn findings(&self) -> Vec<Finding> {
        let steps: Vec<Step> = self.turns.iter().map(|turn| turn.step.clone()).collect();
        signal::read(&Story { steps: &steps, ended: self.ended.as_ref() })
    }
}
