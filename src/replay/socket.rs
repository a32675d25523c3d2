//! Calls that were made over a WebSocket, as they would have been made over plain HTTP. There a turn says only what is new and
//! names the answer it goes on from; a loop that is replayed is told that there is no WebSocket, and says everything.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde_json::{Value, json};

use super::tape::{Bodies, Recorded};
use crate::trace::CallId;

/// Marks calls that were made over a WebSocket.
const MARK: &str = "x-holdback-websocket";

/// What the calls over a WebSocket of a trace are over plain HTTP.
#[derive(Default)]
pub(super) struct OverHttp {
    /// Their whole requests.
    pub requests: HashMap<CallId, Bytes>,
    /// Calls that only warmed something up: over plain HTTP there are none.
    pub warming: HashSet<CallId>,
    /// Numbers of calls that go on from an answer nobody recorded.
    pub broken: Vec<usize>,
}

/// Puts back what the calls over a WebSocket left out.
pub(super) fn whole(calls: &[Recorded], bodies: &Bodies) -> OverHttp {
    let mut said: HashMap<String, Vec<Value>> = HashMap::new();
    let mut over_http = OverHttp::default();
    for (recorded, number) in calls.iter().zip(1..) {
        let marked = recorded.request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(MARK));
        if !marked {
            continue;
        }
        let body = bodies(recorded.call).unwrap_or_default();
        let Ok(Value::Object(mut request)) = serde_json::from_slice::<Value>(&body) else { continue };
        request.remove("type");
        let mut input = match request.remove("previous_response_id") {
            Some(Value::String(before)) => match said.get(&before) {
                Some(known) => known.clone(),
                None => {
                    over_http.broken.push(number);
                    continue;
                }
            },
            _ => Vec::new(),
        };
        match request.remove("input") {
            Some(Value::Array(own)) => input.extend(own),
            Some(Value::String(text)) => input.push(json!({"role": "user", "content": text})),
            _ => {}
        }
        request.insert("input".to_owned(), Value::Array(input.clone()));
        // Over a WebSocket every answer is a stream, and nobody asks for one.
        request.entry("stream").or_insert(Value::Bool(true));
        if request.get("generate") == Some(&Value::Bool(false)) {
            over_http.warming.insert(recorded.call);
        }
        over_http.requests.insert(recorded.call, Bytes::from(Value::Object(request).to_string()));
        let answer = recorded.ended.as_ref().map(|ended| ended.body.clone()).unwrap_or_default();
        let (id, output) = answered(&answer);
        if let Some(id) = id {
            input.extend(output);
            said.insert(id, input);
        }
    }
    over_http
}

/// The id of an answer and its items.
fn answered(body: &[u8]) -> (Option<String>, Vec<Value>) {
    let text = String::from_utf8_lossy(body);
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok());
    let (mut id, mut done, mut output) = (None, Vec::new(), Vec::new());
    for mut event in events {
        match event["type"].as_str() {
            Some("response.output_item.done") => done.push(event["item"].take()),
            Some("response.completed" | "response.incomplete") => {
                id = event["response"]["id"].as_str().map(str::to_owned);
                if let Value::Array(items) = event["response"]["output"].take() {
                    output = items;
                }
            }
            _ => {}
        }
    }
    (id, if done.is_empty() { output } else { done })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::trace::{CallEnded, CallStarted, Wire};

    fn call(id: u64, answer: &str) -> Recorded {
        let item =
            json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": answer}]});
        let body = format!(
            "data: {}\n\ndata: {}\n\n",
            json!({"type": "response.output_item.done", "item": item}),
            json!({"type": "response.completed", "response": {"id": format!("r{id}"), "output": []}})
        );
        let ended = CallEnded { status: Some(200), body: body.into(), ..CallEnded::default() };
        let request = CallStarted {
            wire: Wire::OpenaiResponses,
            headers: vec![("X-Holdback-Websocket".to_owned(), "1".to_owned())],
            ..CallStarted::default()
        };
        Recorded { call: CallId(id), request, outline: Vec::new(), ended: Some(Box::new(ended)) }
    }

    #[test]
    fn a_turn_is_told_with_all_that_came_before_it() {
        let user = |text: &str| json!({"role": "user", "content": text});
        let sent = Arc::new([
            json!({"type": "response.create", "model": "m", "generate": false, "input": [user("one")]}),
            json!({"type": "response.create", "model": "m", "previous_response_id": "r1", "input": [user("two")]}),
            json!({"type": "response.create", "model": "m", "previous_response_id": "gone", "input": [user("x")]}),
        ]);
        let calls = [call(1, "first"), call(2, "second"), call(3, "third")];
        let theirs = sent.clone();
        let bodies =
            move |id: CallId| theirs.get(usize::try_from(id.0).ok()? - 1).map(|body| Bytes::from(body.to_string()));
        let OverHttp { requests, warming, broken } = whole(&calls, &bodies);
        assert_eq!((broken, warming.contains(&CallId(1)), warming.len()), (vec![3], true, 1));
        let second: Value = serde_json::from_slice(&requests[&CallId(2)]).unwrap();
        let said: Vec<String> =
            second["input"].as_array().unwrap().iter().map(|item| item["content"].to_string()).collect();
        assert_eq!(said.len(), 3, "{second:#}");
        assert!(said[1].contains("first") && said[2].contains("two"), "{said:?}");
        assert!(second.get("previous_response_id").is_none() && second.get("type").is_none());
    }
}
