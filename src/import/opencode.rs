//! opencode sessions, as `opencode export` writes them: messages with their parts. The usage counts beside the cache, the cost
//! is opencode's own.

use serde_json::{Value, json};

use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Source, Told, Trouble, chat, document, time, usage};
use crate::trace::{
    Message, Part, ProviderError, Response, Role, Source as From, Stop, Timestamp, ToolCall, ToolResult,
};

pub const FORMAT: Format = Format {
    name: "opencode",
    about: "opencode sessions (`opencode export`)",
    fits: |shape| shape.all(&["info", "messages", "messages[].info"]) || shape.all(&["info.id", "messages[].parts"]),
    read,
};

const WHY: &str = "a session keeps what was said, not the standing orders, tools and parameters of its requests";

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let whole = document(source.from)?;
    let about = &whole["info"];
    let began = time::read(&about["time"]["created"]).unwrap_or(source.modified);
    let id = text(about, "id");
    let trace = desk.begin(About {
        key: if id.is_empty() { source.path.to_owned() } else { id.to_owned() },
        name: [text(about, "title"), id].into_iter().find(|name| !name.is_empty()).map(str::to_owned),
        agent: Some("opencode".to_owned()),
        at: began,
        cwd: about["directory"].as_str().map(str::to_owned),
        parent: about["parentID"].as_str().map(|parent| super::trace_id("opencode", parent)),
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Imported)],
        ..About::default()
    })?;
    let mut thread = Thread::default();
    let mut last = began;
    for message in whole["messages"].as_array().into_iter().flatten() {
        let info = &message["info"];
        let (said, results) = parts(&message["parts"]);
        let at = time::read(&info["time"]["created"]).unwrap_or(last);
        let end = time::read(&info["time"]["completed"]).unwrap_or(at);
        last = last.max(end);
        let assistant = text(info, "role") == "assistant";
        let role = if assistant { Role::Assistant } else { Role::User };
        let one = Message { role, parts: said };
        if assistant {
            call(desk, trace, info, &one, &thread, at, end)?;
        }
        for element in chat::elements(&one).into_iter().chain(results.iter().flat_map(chat::elements)) {
            let (hidden, _) = desk.hide(element.to_string().into());
            thread.push(&hidden);
        }
        desk.used();
    }
    desk.end(trace, last, None)
}

/// What a message says, and what its tools gave back.
fn parts(list: &Value) -> (Vec<Part>, Vec<Message>) {
    let (mut said, mut results) = (Vec::new(), Vec::new());
    for part in list.as_array().into_iter().flatten() {
        match text(part, "type") {
            "text" => said.push(Part::Text { text: text(part, "text").to_owned() }),
            "reasoning" => said.push(Part::Thinking { text: text(part, "text").to_owned(), signature: String::new() }),
            "tool" => {
                let state = &part["state"];
                let id = text(part, "callID").to_owned();
                said.push(Part::ToolCall(ToolCall {
                    id: id.clone(),
                    name: text(part, "tool").to_owned(),
                    arguments: state["input"].clone(),
                }));
                let is_error = text(state, "status") == "error";
                let words = if is_error { text(state, "error") } else { text(state, "output") };
                if matches!(text(state, "status"), "completed" | "error") {
                    let result =
                        ToolResult { id, name: text(part, "tool").to_owned(), text: words.to_owned(), is_error };
                    results.push(Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] });
                }
            }
            "file" => said.push(Part::Other { value: part.clone() }),
            // Marks of steps, snapshots, patches: nothing that was said.
            _ => {}
        }
    }
    (said, results)
}

fn call(
    desk: &mut Desk<'_>,
    trace: crate::trace::TraceId,
    info: &Value,
    message: &Message,
    thread: &Thread,
    at: Timestamp,
    end: Timestamp,
) -> Result<(), Trouble> {
    let model = text(info, "modelID");
    let failed = &info["error"];
    let error = failed.is_object().then(|| ProviderError {
        kind: text(failed, "name").to_owned(),
        message: text(&failed["data"], "message").to_owned(),
    });
    let response = Response {
        model: model.to_owned(),
        message: (!message.parts.is_empty()).then(|| message.clone()),
        stop: Some(if message.tool_calls().next().is_some() { Stop::Tools } else { Stop::End }),
        usage: usage::read(&info["tokens"], usage::Cached::Beside),
        usage_raw: json!({}),
        complete: error.is_none(),
        error,
        ..Response::default()
    };
    let mut told = desk.answered(&response, model);
    told.summary.usage = response.usage;
    told.summary.cost_usd = info["cost"].as_f64().or(told.summary.cost_usd);
    let told = Told {
        key: text(info, "id").to_owned(),
        at,
        end_at: Some(end),
        upstream: text(info, "providerID").to_owned(),
        request: thread.chat(model, &[]),
        hidden: true,
        ..told
    };
    desk.call(trace, told).map(|_| ())
}
