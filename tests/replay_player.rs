//! What a tape takes for the same request: the differences that two identical runs of real agents have, and those that count.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::sync::Arc;

use bytes::Bytes;
use holdback::context::{Blocks, outline};
use holdback::replay::{Asking, Kind, Match, Played, Player, Recorded, Reel, Roots, Tape};
use holdback::trace::{CallEnded, CallId, CallStarted, Content, Source, TraceId, Wire};
use serde_json::{Value, json};

const TARGET: &str = "/v1/messages";

/// A recorded request, and the sub-agent that sent it with its parent.
type Sent<'a> = (Value, Option<&'a str>, Option<&'a str>);

fn player(sent: &[Sent<'_>], how: Match) -> Player {
    let mut blocks = Blocks::new();
    let mut bodies = Vec::new();
    let calls = sent
        .iter()
        .zip(1..)
        .map(|((body, agent, parent), id)| {
            let body = Bytes::from(body.to_string());
            let (outline, _) = outline(&body, None, |_, _| false, |id, _, bytes| drop(blocks.insert(id, bytes.into())));
            bodies.push(body);
            let request = CallStarted {
                wire: Wire::AnthropicMessages,
                method: "POST".into(),
                target: TARGET.into(),
                agent: agent.map(str::to_owned),
                parent_agent: parent.map(str::to_owned),
                ..CallStarted::default()
            };
            let ended = Some(Box::new(CallEnded { status: Some(200), ..CallEnded::default() }));
            Recorded { call: CallId(id), request, outline, ended }
        })
        .collect();
    playing(calls, blocks, bodies, how).unwrap()
}

/// A tape of these calls from its beginning.
fn playing(calls: Vec<Recorded>, blocks: Blocks, bodies: Vec<Bytes>, how: Match) -> Result<Player, String> {
    let reel = Reel {
        trace: TraceId(1),
        content: Content::Redacted,
        source: Source::Recorded,
        lost_calls: 0,
        calls,
        blocks: Arc::new(blocks),
        bodies: Box::new(move |call| bodies.get(call.0 as usize - 1).cloned()),
    };
    let tape = Tape::new(reel, how, Vec::new(), false).map_err(|error| error.to_string())?;
    Ok(Player::new(tape, Roots::none(), None))
}

fn ask(player: &mut Player, body: &Value, agent: Option<&str>, parent_agent: Option<&str>) -> Played {
    let body = Bytes::from(body.to_string());
    let wire = Wire::AnthropicMessages;
    player.ask(&Asking { call: CallId(99), wire, target: TARGET, body: &body, agent, parent_agent })
}

fn conversation(ids: [&str; 2], results: &[(usize, &str)], mark: bool) -> Value {
    let call = |at: usize| json!({"type": "tool_use", "id": ids[at], "name": "read", "input": {"path": if at == 0 { "a" } else { "b" }}});
    let mut content: Vec<Value> = results
        .iter()
        .map(|(at, text)| json!({"type": "tool_result", "tool_use_id": ids[*at], "content": text}))
        .collect();
    if mark && let Some(last) = content.last_mut() {
        last["cache_control"] = json!({"type": "ephemeral"});
    }
    json!({"model": "m", "metadata": {"user_id": ids[0]}, "system": "Be kind.", "messages": [
        {"role": "user", "content": "Read both."},
        {"role": "assistant", "content": [call(0), call(1)]},
        {"role": "user", "content": content},
    ]})
}

#[test]
fn ids_marks_sessions_times_and_the_order_of_parallel_results_are_no_difference() {
    let recorded = conversation(["t1", "t2"], &[(0, "A at 11:27:03"), (1, "B")], false);
    let again = conversation(["u1", "u2"], &[(1, "B"), (0, "A at 12:00:59")], true);
    assert_eq!(ask(&mut player(&[(recorded.clone(), None, None)], Match::Normal), &again, None, None), Played::Call(0));
    let strict = ask(&mut player(&[(recorded.clone(), None, None)], Match::Strict), &again, None, None);
    assert!(matches!(strict, Played::Nothing(_)));
    // Each result belongs to its call: the same texts the other way round are another matter.
    let swapped = conversation(["t1", "t2"], &[(0, "B"), (1, "A at 11:27:03")], false);
    let Played::Nothing(divergence) = ask(&mut player(&[(recorded, None, None)], Match::Normal), &swapped, None, None)
    else {
        panic!("swapped results went unnoticed");
    };
    assert_eq!((divergence.kind, divergence.cause.as_ref().unwrap().tool.as_str()), (Kind::Changed, "read"));
}

#[test]
fn sub_agents_that_say_the_same_are_told_apart_by_who_they_are() {
    let same = json!({"model": "m", "messages": [{"role": "user", "content": "Look."}]});
    let sent = [
        (same.clone(), Some("x1"), Some("left")),
        (same.clone(), Some("y1"), Some("right")),
        (json!({"model": "m", "messages": [{"role": "user", "content": "I am left."}]}), Some("left"), None),
        (json!({"model": "m", "messages": [{"role": "user", "content": "I am right."}]}), Some("right"), None),
    ];
    let mut player = player(&sent, Match::Normal);
    // The parents have other names this time, and their children come in another order.
    assert_eq!(ask(&mut player, &sent[3].0, Some("R"), None), Played::Call(3));
    assert_eq!(ask(&mut player, &sent[2].0, Some("L"), None), Played::Call(2));
    assert_eq!(ask(&mut player, &same, Some("child of R"), Some("R")), Played::Call(1));
    assert_eq!(ask(&mut player, &same, Some("child of L"), Some("L")), Played::Call(0));
    let Played::Nothing(divergence) = ask(&mut player, &same, Some("one more"), Some("L")) else {
        panic!("asked too often")
    };
    assert_eq!(divergence.kind, Kind::Repeated);
    assert!(divergence.says.contains("it was asked 2 times"), "{}", divergence.says);
}

#[test]
fn another_order_is_no_divergence_and_what_was_never_asked_is() {
    let body = |text: &str| json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    let sent = [(body("title"), None, None), (body("first"), None, None), (body("second"), None, None)];
    let mut player = player(&sent, Match::Normal);
    assert_eq!(ask(&mut player, &body("first"), None, None), Played::Call(1));
    assert_eq!(ask(&mut player, &body("title"), None, None), Played::Call(0));
    let report = player.report(TraceId(2));
    assert_eq!((report.divergences, report.matched, report.first.unwrap().kind), (1, 2, Kind::Missing));
    assert_eq!(ask(&mut player, &body("second"), None, None), Played::Call(2));
    assert_eq!(player.report(TraceId(2)).divergences, 0);
}

#[test]
fn a_changed_tool_or_parameter_is_found_where_it_is() {
    let body = |description: &str, temperature: f64| {
        json!({"model": "m", "temperature": temperature, "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "read", "description": description, "input_schema": {"type": "object"}}]})
    };
    for (changed, place) in [(body("Reads more.", 0.5), "tool read"), (body("Reads.", 1.0), "parameter temperature")] {
        let mut player = player(&[(body("Reads.", 0.5), None, None)], Match::Normal);
        let Played::Nothing(divergence) = ask(&mut player, &changed, None, None) else {
            panic!("{place} went unnoticed")
        };
        assert_eq!(divergence.changes[0].place, place);
    }
}

/// A turn over a WebSocket, and the answer to it.
fn over_websocket(id: u64, body: &Value, blocks: &mut Blocks) -> Recorded {
    let raw = body.to_string();
    let (outline, _) =
        outline(raw.as_bytes(), None, |_, _| false, |id, _, bytes| drop(blocks.insert(id, bytes.into())));
    let item = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]});
    let answer = format!(
        "data: {}\n\ndata: {}\n\n",
        json!({"type": "response.output_item.done", "item": item}),
        json!({"type": "response.completed", "response": {"id": format!("r{id}")}})
    );
    let request = CallStarted {
        wire: Wire::OpenaiResponses,
        method: "POST".into(),
        target: "/v1/responses".into(),
        headers: vec![("x-holdback-websocket".into(), "1".into())],
        ..CallStarted::default()
    };
    let ended = Some(Box::new(CallEnded { status: Some(200), body: answer.into(), ..CallEnded::default() }));
    Recorded { call: CallId(id), request, outline, ended }
}

fn websocket_tape(sent: &[Value]) -> Result<Player, String> {
    let mut blocks = Blocks::new();
    let calls = (1..).zip(sent).map(|(id, body)| over_websocket(id, body, &mut blocks)).collect();
    let bodies: Vec<Bytes> = sent.iter().map(|body| Bytes::from(body.to_string())).collect();
    playing(calls, blocks, bodies, Match::Normal)
}

#[test]
fn turns_over_a_websocket_are_played_over_plain_http() {
    let user =
        |text: &str| json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
    let said = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]});
    let turn = |before: Option<&str>, input: Value| {
        let mut turn = json!({"type": "response.create", "model": "m", "stream": true, "input": input});
        if let Some(before) = before {
            turn["previous_response_id"] = json!(before);
        }
        turn
    };
    let mut warm = turn(None, json!([user("one")]));
    warm["generate"] = json!(false);
    let mut player =
        websocket_tape(&[warm, turn(None, json!([user("one")])), turn(Some("r2"), json!([user("two")]))]).unwrap();
    let mut ask = |input: Value| {
        let body = Bytes::from(json!({"model": "m", "stream": true, "input": input}).to_string());
        let (wire, target) = (Wire::OpenaiResponses, "/v1/responses");
        player.ask(&Asking { call: CallId(99), wire, target, body: &body, agent: None, parent_agent: None })
    };
    assert_eq!(ask(json!([user("one")])), Played::Call(1));
    assert_eq!(ask(json!([user("one"), said, user("two")])), Played::Call(2));
    assert_eq!(player.report(TraceId(2)).divergences, 0, "what warms up over a WebSocket is not asked over plain HTTP");
    let broken = websocket_tape(&[turn(Some("elsewhere"), json!([user("two")]))]).err().unwrap();
    assert!(broken.contains("call 1 goes on, over a WebSocket, from an answer that is not in the trace"), "{broken}");
}
