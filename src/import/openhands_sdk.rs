//! Events of OpenHands' SDK, which its newer versions write: what a model gave is spread over events that carry its response's id.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::shape::text;
use super::thread::Thread;
use super::{Desk, Told, Trouble, chat, said, time, usage};
use crate::trace::{Message, Part, Response, Role, Stop, Timestamp, ToolResult, TraceId};

/// Whether an event is of the SDK.
pub fn is_event(event: &Value) -> bool {
    let kind = text(event, "kind");
    event.get("source").is_some()
        && (kind.ends_with("Event") || kind.ends_with("Observation") || kind == "Condensation")
}

struct Telling<'a> {
    trace: TraceId,
    model: &'a str,
    counts: HashMap<&'a str, &'a Value>,
    costs: HashMap<&'a str, f64>,
    /// What each response said, put together of its events.
    answers: HashMap<&'a str, Message>,
    told: HashSet<&'a str>,
    /// What was said, by the event that said it: a condensation forgets some.
    said: Vec<(&'a str, Vec<Vec<u8>>)>,
    thread: Thread,
    tools: Vec<Value>,
    last: Timestamp,
}

/// Tells a history; when the last of it happened.
pub fn history(
    desk: &mut Desk<'_>,
    trace: TraceId,
    events: &[&Value],
    whole: &Value,
    model: &str,
    began: Timestamp,
) -> Result<Timestamp, Trouble> {
    let metrics = &whole["metrics"];
    let counts: Vec<&Value> = metrics["token_usages"].as_array().into_iter().flatten().collect();
    let costs: Vec<&Value> = metrics["costs"].as_array().into_iter().flatten().collect();
    let mut telling = Telling {
        trace,
        model: if model.is_empty() { text(metrics, "model_name") } else { model },
        // A cost doesn't say of which response it is; they are written side by side.
        costs: if counts.len() == costs.len() {
            let pairs = counts.iter().zip(&costs);
            pairs.filter_map(|(count, cost)| Some((text(count, "response_id"), cost["cost"].as_f64()?))).collect()
        } else {
            HashMap::new()
        },
        counts: counts.iter().map(|count| (text(count, "response_id"), *count)).collect(),
        answers: HashMap::new(),
        told: HashSet::new(),
        said: Vec::new(),
        thread: Thread::default(),
        tools: Vec::new(),
        last: began,
    };
    for event in events {
        telling.gather(event);
    }
    for event in events {
        telling.event(desk, event)?;
    }
    Ok(telling.last)
}

/// The response an event came of, or the event itself.
fn response_of(event: &Value) -> &str {
    [text(event, "llm_response_id"), text(event, "id")].into_iter().find(|id| !id.is_empty()).unwrap_or_default()
}

impl<'a> Telling<'a> {
    /// Puts what a model gave to the rest of the same response.
    fn gather(&mut self, event: &'a Value) {
        let of_model = match text(event, "kind") {
            "ActionEvent" => true,
            "MessageEvent" => text(event, "source") == "agent",
            _ => false,
        };
        if !of_model {
            return;
        }
        let empty = || Message { role: Role::Assistant, parts: Vec::new() };
        let message = self.answers.entry(response_of(event)).or_insert_with(empty);
        let spoken = &event["llm_message"];
        let thought = [text(event, "reasoning_content"), text(spoken, "reasoning_content")];
        if let Some(thought) = thought.into_iter().find(|thought| !thought.is_empty()) {
            message.parts.push(Part::Thinking { text: thought.to_owned(), signature: String::new() });
        }
        for words in [said::result_text(&event["thought"]), said::result_text(&spoken["content"])] {
            if !words.is_empty() {
                message.parts.push(Part::Text { text: words });
            }
        }
        message.parts.extend(said::tool_call(&event["tool_call"]).map(Part::ToolCall));
    }

    fn say(&mut self, desk: &Desk<'_>, event: &'a Value, message: &Message) {
        let elements: Vec<Vec<u8>> = chat::elements(message)
            .into_iter()
            .map(|element| desk.hide(element.to_string().into()).0.to_vec())
            .collect();
        elements.iter().for_each(|element| self.thread.push(element));
        self.said.push((text(event, "id"), elements));
    }

    fn event(&mut self, desk: &mut Desk<'_>, event: &'a Value) -> Result<(), Trouble> {
        let at = time::read(&event["timestamp"]).unwrap_or(self.last);
        let asked_at = self.last.min(at);
        self.last = self.last.max(at);
        let result = |words: String, is_error: bool| Message {
            role: Role::Tool,
            parts: vec![Part::ToolResult(ToolResult {
                id: text(event, "tool_call_id").to_owned(),
                name: text(event, "tool_name").to_owned(),
                text: words,
                is_error,
            })],
        };
        let message = match text(event, "kind") {
            "SystemPromptEvent" => {
                self.tools = said::tools(&event["tools"]).iter().map(chat::tool).collect();
                let words = [text(&event["system_prompt"], "text"), text(&event["dynamic_context"], "text")];
                let words: Vec<&str> = words.into_iter().filter(|words| !words.is_empty()).collect();
                Message::text(Role::System, words.join("\n\n"))
            }
            "ActionEvent" | "MessageEvent" if self.answers.contains_key(response_of(event)) => {
                return self.answer(desk, event, asked_at, at);
            }
            "MessageEvent" => {
                let words = [&event["llm_message"]["content"], &event["extended_content"]].map(said::result_text);
                Message::text(
                    Role::User,
                    words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("\n"),
                )
            }
            "ObservationEvent" => {
                let observation = &event["observation"];
                let words = [&observation["content"], &event["extended_content"]].map(said::result_text);
                let is_error = observation["is_error"] == true;
                result(words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("\n"), is_error)
            }
            "AgentErrorEvent" => result(text(event, "error").to_owned(), true),
            "UserRejectObservation" => result(format!("Action rejected: {}", text(event, "rejection_reason")), true),
            "Condensation" => {
                self.forget(desk, event);
                return desk.note(self.trace, at, "openhands.condensation", None, event.clone());
            }
            other => return desk.note(self.trace, at, &format!("openhands.{other}"), None, event.clone()),
        };
        self.say(desk, event, &message);
        Ok(())
    }

    fn answer(
        &mut self,
        desk: &mut Desk<'_>,
        event: &'a Value,
        asked_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), Trouble> {
        let id = response_of(event);
        if !self.told.insert(id) {
            return Ok(());
        }
        let message = self.answers.get(id).cloned().expect("it was asked for");
        let response = Response {
            id: id.to_owned(),
            model: self.model.to_owned(),
            message: Some(message.clone()),
            stop: Some(if message.tool_calls().next().is_some() { Stop::Tools } else { Stop::End }),
            usage: self.counts.get(id).map(|counts| usage::read(counts, usage::Cached::Inside)).unwrap_or_default(),
            complete: true,
            ..Response::default()
        };
        let mut told = desk.answered(&response, self.model);
        told.summary.usage = response.usage;
        told.summary.cost_usd = self.costs.get(id).copied().or(told.summary.cost_usd);
        let told = Told {
            key: id.to_owned(),
            at: asked_at,
            end_at: Some(at),
            request: self.thread.chat(self.model, &self.tools),
            hidden: true,
            ..told
        };
        desk.call(self.trace, told)?;
        self.say(desk, event, &message);
        Ok(())
    }

    /// A condensation takes events out of what the model reads, and puts a summary in their place.
    fn forget(&mut self, desk: &Desk<'_>, event: &'a Value) {
        let gone: HashSet<&str> =
            event["forgotten_event_ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.said.retain(|(id, _)| !gone.contains(id));
        let summary = text(event, "summary");
        if !summary.is_empty() {
            let place = event["summary_offset"].as_u64().and_then(|place| usize::try_from(place).ok()).unwrap_or(1);
            let elements = chat::elements(&Message::text(Role::User, summary));
            let elements =
                elements.into_iter().map(|element| desk.hide(element.to_string().into()).0.to_vec()).collect();
            self.said.insert(place.min(self.said.len()), (text(event, "id"), elements));
        }
        self.thread.clear();
        for element in self.said.iter().flat_map(|(_, elements)| elements) {
            self.thread.push(element);
        }
    }
}
