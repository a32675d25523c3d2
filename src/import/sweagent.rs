//! Trajectories of SWE-agent (`.traj`) and mini-swe-agent (`.traj.json`): the history of messages, of which each of the
//! assistant's is a call. SWE-agent itself keeps no usage per call, only its sums.

use serde_json::{Value, json};

use super::shape::text;
use super::thread::Thread;
use super::{About, Desk, Format, Source, Told, Trouble, chat, desk, document, said, time, usage};
use crate::trace::{Message, Response, Role, Source as From, Stop, Timestamp, TraceId};

pub const FORMAT: Format = Format {
    name: "swe-agent",
    about: "trajectories of SWE-agent and mini-swe-agent",
    fits: |shape| {
        shape.all(&["trajectory", "history"])
            || shape.all(&["trajectory", "environment"])
            || (shape.has("info.model_stats") && shape.is_json())
    },
    read,
};

const WHY: &str = "a trajectory keeps the messages, not the tools and parameters of its requests";

fn read(source: &mut Source<'_>, desk: &mut Desk<'_>) -> Result<(), Trouble> {
    let whole = document(source.from)?;
    let info = &whole["info"];
    let mini = whole.get("messages").is_some();
    let history = whole["messages"].as_array().or_else(|| whole["history"].as_array());
    let Some(history) = history else {
        return Err(Trouble::Bad("a trajectory has a list `history` or `messages`, this has none".to_owned()));
    };
    let config = replay_config(&whole);
    let models = [text(&config["agent"]["model"], "name"), text(&info["config"]["model"], "model_name")];
    let model = models.into_iter().find(|model| !model.is_empty()).unwrap_or_default().to_owned();
    let times = history.iter().find_map(|message| time::read(&message["extra"]["timestamp"]));
    let began = times.unwrap_or(source.modified);
    let file = source.path.rsplit('/').next().unwrap_or_default();
    let agent = if mini { "mini-swe-agent" } else { "swe-agent" };
    let key = format!("{:x?}", desk::digest(&[&Value::from(history.to_vec()).to_string()]));
    let trace = desk.begin(About {
        key,
        name: Some(file.split(".traj").next().unwrap_or(file).to_owned()),
        agent: Some(agent.to_owned()),
        at: began,
        why_not: WHY,
        fields: &[("usage", From::Imported), ("cost_usd", From::Imported), ("times", From::Derived)],
        ..About::default()
    })?;
    let mut telling = Telling { trace, model, thread: Thread::default(), last: began, calls: 0 };
    for message in history {
        telling.message(desk, message)?;
        desk.used();
    }
    let stats = json!({ "model_stats": info["model_stats"], "exit_status": info["exit_status"], "submission": info["submission"] });
    desk.note(trace, telling.last, &format!("{agent}.info"), None, stats)?;
    let status = text(info, "exit_status");
    let failed = (!status.to_lowercase().contains("submi")).then(|| format!("exit status {status:?}"));
    desk.end(trace, telling.last, failed)
}

/// SWE-agent writes its configuration as an object, older ones as a text with one in it.
fn replay_config(whole: &Value) -> Value {
    super::spans::json_of(&whole["replay_config"])
}

struct Telling {
    trace: TraceId,
    model: String,
    thread: Thread,
    last: Timestamp,
    calls: u32,
}

impl Telling {
    fn message(&mut self, desk: &mut Desk<'_>, raw: &Value) -> Result<(), Trouble> {
        let extra = &raw["extra"];
        let at = time::read(&extra["timestamp"]).unwrap_or(Timestamp(self.last.0 + 1));
        let asked_at = self.last.min(at);
        self.last = self.last.max(at);
        let mut said = said::messages(raw, Role::User);
        // SWE-agent names the answered calls in a list.
        if let (Some(id), Some(message)) = (raw["tool_call_ids"][0].as_str(), said.first_mut()) {
            for part in &mut message.parts {
                if let crate::trace::Part::ToolResult(result) = part
                    && result.id.is_empty()
                {
                    id.clone_into(&mut result.id);
                }
            }
        }
        for message in said {
            if message.role == Role::Assistant && raw["is_demo"] != Value::Bool(true) {
                self.call(desk, extra, &message, asked_at, at)?;
            }
            for element in chat::elements(&message) {
                let (hidden, _) = desk.hide(element.to_string().into());
                self.thread.push(&hidden);
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        desk: &mut Desk<'_>,
        extra: &Value,
        message: &Message,
        asked_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), Trouble> {
        self.calls += 1;
        let told_response = &extra["response"];
        let model =
            Some(text(told_response, "model")).filter(|model| !model.is_empty()).unwrap_or(&self.model).to_owned();
        let response = Response {
            id: text(told_response, "id").to_owned(),
            model: model.clone(),
            message: Some(message.clone()),
            stop: Some(if message.tool_calls().next().is_some() { Stop::Tools } else { Stop::End }),
            usage: usage::read(&told_response["usage"], usage::Cached::Inside),
            complete: true,
            ..Response::default()
        };
        let mut told = desk.answered(&response, &model);
        told.summary.cost_usd = extra["cost"].as_f64().or(told.summary.cost_usd);
        let told = Told {
            key: self.calls.to_string(),
            at: asked_at,
            end_at: Some(at),
            request: self.thread.chat(&model, &[]),
            hidden: true,
            ..told
        };
        desk.call(self.trace, told).map(|_| ())
    }
}
