//! ATIF, the trajectories Harbor exchanges, 1.0 to 1.8: one step a turn, with what the tools gave back in the same step. Steps
//! that only repeat another trajectory's context are context here too.

use std::path::Path;

use serde_json::Value;

use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Source, Told, Trouble, chat, document, said, time, usage};
use crate::trace::{Message, Part, Response, Role, Source as From, Stop, Timestamp, ToolResult, TraceId};

pub const FORMAT: Format = Format {
    name: "atif",
    about: "ATIF trajectories (Harbor), 1.0 to 1.8",
    fits: |shape| {
        shape.all(&["schema_version", "steps", "agent"])
            || (shape.all(&["schema_version", "agent"]) && head_says(shape.head))
    },
    read,
};

fn head_says(head: &[u8]) -> bool {
    memchr::memmem::find(&head[..head.len().min(4096)], b"\"ATIF-v").is_some()
}

const WHY: &str = "a trajectory bundles a turn into one step, without the parameters of its request";
/// Trajectories inside of trajectories.
const DEEPEST: usize = 8;

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let whole = document(source.from)?;
    let version = text(&whole, "schema_version");
    if !version.starts_with("ATIF-v1.") {
        return Err(Trouble::Bad(format!("its schema_version is {version:?}; ATIF-v1.0 to 1.8 are known here")));
    }
    trajectory(desk, &whole, source.modified, None, 0).map(|_| ())
}

/// Tells a trajectory into a trace of its own, or as an agent of one.
pub fn trajectory(
    desk: &mut Desk<'_>,
    whole: &Value,
    otherwise: Timestamp,
    within: Option<(TraceId, &str)>,
    depth: usize,
) -> Result<TraceId, Trouble> {
    let agent = &whole["agent"];
    let steps = whole["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let began = steps.iter().find_map(|step| time::read(&step["timestamp"])).unwrap_or(otherwise);
    let session = [text(whole, "trajectory_id"), text(whole, "session_id")].into_iter().find(|id| !id.is_empty());
    let key = session.map_or_else(|| desk.file().to_owned(), str::to_owned);
    // A sub-agent in a file of its own: the file that points to it was read before, or it says itself whose it is.
    let told_by = desk.belongs.as_ref().and_then(|belongs| belongs.get(desk.file()).copied());
    let named = Some(text(&agent["extra"], "parent_session_id")).filter(|id| !id.is_empty());
    let parent = told_by.or_else(|| named.map(|id| super::trace_id("atif", id)));
    let parent = parent.filter(|parent| *parent != super::trace_id("atif", &key));
    let trace = match within {
        Some((trace, _)) => trace,
        None => desk.begin(About {
            name: Some(format!("{} {key}", text(agent, "name"))),
            key: key.clone(),
            agent: Some(text(agent, "name").to_owned()),
            at: began,
            tags: match text(agent, "version") {
                "" => Vec::new(),
                version => vec![("version".to_owned(), version.to_owned())],
            },
            parent,
            why_not: WHY,
            fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Derived)],
            ..About::default()
        })?,
    };
    point(desk, trace, text(whole, "continued_trajectory_ref"));
    let tools: Vec<Value> = said::tools(&agent["tool_definitions"]).iter().map(chat::tool).collect();
    let mut telling = Telling {
        trace,
        tools,
        model: text(agent, "model_name").to_owned(),
        key,
        agent: within.map(|(_, agent)| agent.to_owned()),
        thread: Thread::default(),
        last: began,
    };
    for step in steps {
        telling.step(desk, step)?;
    }
    if depth < DEEPEST {
        for inner in whole["subagent_trajectories"].as_array().into_iter().flatten() {
            let name =
                [text(inner, "trajectory_id"), text(&inner["agent"], "name")].into_iter().find(|name| !name.is_empty());
            trajectory(desk, inner, telling.last, Some((trace, name.unwrap_or("subagent"))), depth + 1)?;
        }
    }
    if within.is_none() {
        desk.end(trace, telling.last, None)?;
    }
    Ok(trace)
}

/// Remembers that another file belongs to this trace. The path is only ever compared with the files that are imported.
fn point(desk: &mut Desk<'_>, trace: TraceId, path: &str) {
    let file = desk.file();
    if !path.is_empty()
        && let Some(belongs) = &mut desk.belongs
    {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        belongs.insert(folder.join(path).to_string_lossy().into_owned(), trace);
    }
}

struct Telling {
    trace: TraceId,
    tools: Vec<Value>,
    model: String,
    key: String,
    agent: Option<String>,
    thread: Thread,
    last: Timestamp,
}

impl Telling {
    fn say(&mut self, desk: &Desk<'_>, message: &Message) {
        for element in chat::elements(message) {
            let (hidden, _) = desk.hide(element.to_string().into());
            self.thread.push(&hidden);
        }
    }

    fn step(&mut self, desk: &mut Desk<'_>, step: &Value) -> Result<(), Trouble> {
        desk.used();
        let at = time::read(&step["timestamp"]).unwrap_or(Timestamp(self.last.0 + 1));
        let asked_at = self.last.min(at);
        self.last = self.last.max(at);
        let role = match text(step, "source") {
            "agent" => Role::Assistant,
            "user" => Role::User,
            _ => Role::System,
        };
        let mut message = Message { role, parts: Vec::new() };
        let thought = text(step, "reasoning_content");
        if !thought.is_empty() {
            message.parts.push(Part::Thinking { text: thought.to_owned(), signature: String::new() });
        }
        message.parts.extend(said::messages(&step["message"], role).into_iter().flat_map(|message| message.parts));
        let calls = step["tool_calls"].as_array().into_iter().flatten().filter_map(said::tool_call);
        message.parts.extend(calls.map(Part::ToolCall));
        // A step of the agent without a model behind it: it acted by itself.
        let asked = role == Role::Assistant
            && step["is_copied_context"] != Value::Bool(true)
            && step["llm_call_count"].as_u64() != Some(0);
        if asked {
            self.call(desk, step, &message, asked_at, at)?;
        }
        self.say(desk, &message);
        let results = step["observation"]["results"].as_array().into_iter().flatten();
        let ids: Vec<String> = message.tool_calls().map(|call| call.id.clone()).collect();
        for (nth, result) in results.enumerate() {
            // One, or a list of them since 1.3.
            let refs = &result["subagent_trajectory_ref"];
            for one in refs.as_array().map_or(std::slice::from_ref(refs), Vec::as_slice) {
                point(desk, self.trace, text(one, "trajectory_path"));
            }
            let id = Some(text(result, "source_call_id")).filter(|id| !id.is_empty()).map(str::to_owned);
            // Terminals answer to the turn as a whole: that is its only, or its first, call.
            let id = id.or_else(|| ids.get(nth).or(ids.first()).cloned());
            let content = said::result_text(&result["content"]);
            let answer = match id {
                Some(id) => Message {
                    role: Role::Tool,
                    parts: vec![Part::ToolResult(ToolResult {
                        id,
                        name: String::new(),
                        text: content,
                        is_error: false,
                    })],
                },
                None if content.is_empty() => continue,
                None => Message::text(Role::User, content),
            };
            self.say(desk, &answer);
        }
        Ok(())
    }

    fn call(
        &mut self,
        desk: &mut Desk<'_>,
        step: &Value,
        message: &Message,
        asked_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), Trouble> {
        let model = Some(text(step, "model_name")).filter(|model| !model.is_empty()).unwrap_or(&self.model).to_owned();
        let metrics = &step["metrics"];
        let stop = if message.tool_calls().next().is_some() { Stop::Tools } else { Stop::End };
        let response = Response {
            model: model.clone(),
            message: Some(message.clone()),
            stop: Some(stop),
            usage: usage::read(metrics, usage::Cached::Inside),
            complete: true,
            ..Response::default()
        };
        let mut told = desk.answered(&response, &model);
        told.summary.cost_usd = metrics["cost_usd"].as_f64().or(told.summary.cost_usd);
        let told = Told {
            // A session may go on in another file, where steps are counted anew.
            key: format!("{} {} {}", self.key, step["step_id"], text(step, "timestamp")),
            at: asked_at,
            end_at: Some(at),
            upstream: model.split_once('/').map_or("", |(provider, _)| provider).to_owned(),
            request: self.thread.chat(&model, &self.tools),
            hidden: true,
            agent: self.agent.clone(),
            ..told
        };
        desk.call(self.trace, told).map(|_| ())
    }
}
