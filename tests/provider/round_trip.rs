//! What is written reads back, whatever the pieces it arrives in.

use holdback::provider::{Reader, answer, response};
use holdback::trace::{Headers, Message, Part, ProviderError, Response, Role, Stop, ToolCall, Usage, Wire};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::TALKING;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{1,60}",
        prop::collection::vec(any::<char>(), 1..30).prop_map(String::from_iter),
        Just("data: [DONE]\n\n".to_owned()),
        Just("größer 🦀 \"quoted\" \\ \u{0} \r\n\u{2028}".to_owned()),
    ]
}

fn arguments() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let tree = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zä]{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let object =
        prop::collection::btree_map("[a-z]{1,8}", tree, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()));
    // What a model wrote that isn't JSON is kept as text.
    prop_oneof![9 => object, 1 => text().prop_map(|text| Value::String(format!("{{\"broken: {text}")))]
}

fn call() -> impl Strategy<Value = Part> {
    ("[a-z]{1,12}", "[a-z_]{1,12}", arguments())
        .prop_map(|(id, name, arguments)| Part::ToolCall(ToolCall { id: format!("call_{id}"), name, arguments }))
}

fn said() -> impl Strategy<Value = Part> {
    text().prop_map(|text| Part::Text { text })
}

fn thinking(sealed: bool) -> impl Strategy<Value = Part> {
    (prop::option::of(text()), prop::option::of("[A-Za-z0-9+/]{1,40}")).prop_map(move |(text, signature)| {
        let signature = signature.filter(|_| sealed).unwrap_or_default();
        let empty = if signature.is_empty() { "hm" } else { "" };
        Part::Thinking { text: text.unwrap_or_else(|| empty.to_owned()), signature }
    })
}

fn refusal() -> impl Strategy<Value = Part> {
    text().prop_map(|text| Part::Refusal { text })
}

/// The parts an answer of that wire can have, in the order it can have them.
fn parts(wire: Wire) -> BoxedStrategy<Vec<Part>> {
    match wire {
        Wire::OpenaiChat => {
            let maybe = |part: BoxedStrategy<Part>| prop::collection::vec(part, 0..=1);
            let calls = prop::collection::vec(call(), 0..4).prop_map(with_ids);
            (maybe(thinking(false).boxed()), maybe(said().boxed()), maybe(refusal().boxed()), calls)
                .prop_map(|(a, b, c, d)| [a, b, c, d].concat())
                .boxed()
        }
        Wire::OpenaiResponses => {
            prop::collection::vec(prop_oneof![said(), refusal(), thinking(true), call()], 0..6).boxed()
        }
        Wire::AnthropicMessages => {
            let other = Just(Part::Other {
                value: json!({ "type": "server_tool_use", "id": "s", "name": "web", "input": { "q": 1 } }),
            });
            prop::collection::vec(prop_oneof![4 => said(), 3 => thinking(true), 4 => call(), 1 => other], 0..6).boxed()
        }
        _ => {
            let other =
                Just(Part::Other { value: json!({ "inlineData": { "mimeType": "image/png", "data": "aGk=" } }) });
            let any = prop_oneof![4 => said(), 3 => thinking(true), 4 => call(), 1 => other];
            prop::collection::vec(any, 0..6).prop_map(without_neighbours).boxed()
        }
    }
}

/// Chat tells calls apart by index and id: two calls never share an id.
fn with_ids(mut parts: Vec<Part>) -> Vec<Part> {
    for (at, part) in parts.iter_mut().enumerate() {
        if let Part::ToolCall(call) = part {
            call.id = format!("{}{at}", call.id);
        }
    }
    parts
}

/// Gemini's streams don't tell where one text ends and the next begins.
fn without_neighbours(parts: Vec<Part>) -> Vec<Part> {
    let mut all: Vec<Part> = Vec::new();
    for part in parts {
        let joins = match (all.last(), &part) {
            (Some(Part::Text { .. }), Part::Text { .. }) => true,
            (Some(Part::Thinking { text, signature }), Part::Thinking { .. }) => {
                signature.is_empty() && !text.is_empty()
            }
            _ => false,
        };
        if !joins {
            all.push(part);
        }
    }
    all
}

fn usage(wire: Wire) -> impl Strategy<Value = Usage> {
    let count = || 0..1_000_000_u64;
    (count(), count(), prop::option::of((count(), count(), count())), any::<bool>()).prop_map(
        move |(input, output, details, known)| {
            if !known {
                return Usage::default();
            }
            let (read, write, reasoning) = details.unzip3();
            let cache_write = write.filter(|_| wire != Wire::Gemini);
            let reasoning = reasoning.map(|count| count.min(output));
            Usage { input: Some(input), output: Some(output), cache_read: read, cache_write, reasoning }
        },
    )
}

trait Unzip3<A, B, C> {
    fn unzip3(self) -> (Option<A>, Option<B>, Option<C>);
}

impl<A, B, C> Unzip3<A, B, C> for Option<(A, B, C)> {
    fn unzip3(self) -> (Option<A>, Option<B>, Option<C>) {
        match self {
            Some((a, b, c)) => (Some(a), Some(b), Some(c)),
            None => (None, None, None),
        }
    }
}

/// A reason to stop that goes with the parts: most wires have one word for several of ours.
fn stop(wire: Wire, parts: &[Part], pick: u8) -> Stop {
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let refused = parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
    let natural = match wire {
        Wire::OpenaiResponses | Wire::Gemini | Wire::OpenaiChat if calls => Stop::Tools,
        Wire::OpenaiResponses | Wire::OpenaiChat if refused => Stop::Refusal,
        _ => Stop::End,
    };
    match pick % 5 {
        0 => Stop::Length,
        1 => Stop::Other("weird".to_owned()),
        2 if wire == Wire::AnthropicMessages => Stop::Tools,
        3 if !refused => Stop::Refusal,
        _ => natural,
    }
}

fn answers() -> impl Strategy<Value = (Wire, Response)> {
    (0..TALKING.len()).prop_flat_map(|at| {
        let wire = TALKING[at];
        (parts(wire), usage(wire), any::<u8>(), "[a-z0-9]{1,12}", "[a-z0-9.-]{1,12}").prop_map(
            move |(parts, usage, pick, id, model)| {
                let stop = Some(stop(wire, &parts, pick));
                let message = (!parts.is_empty()).then_some(Message { role: Role::Assistant, parts });
                let usage_raw = Value::Null;
                let error = None;
                (
                    wire,
                    Response {
                        id,
                        model,
                        message,
                        stop,
                        usage,
                        usage_raw,
                        error,
                        complete: true,
                        first_content_at: None,
                    },
                )
            },
        )
    })
}

/// Without what only reading can know.
fn plain(mut response: Response) -> Response {
    response.usage_raw = Value::Null;
    response.first_content_at = None;
    response
}

fn in_pieces(wire: Wire, body: &[u8], cuts: &[prop::sample::Index]) -> (Response, bool) {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    at.extend([0, body.len()]);
    at.sort_unstable();
    let mut reader = Reader::new(wire, 200, &Headers::new());
    let mut complete = false;
    for pair in at.windows(2) {
        complete = reader.feed(&body[pair[0]..pair[1]]).complete;
    }
    (reader.finish(), complete)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_written_reads_back((wire, original) in answers(), stream: bool) {
        let (headers, chunks) = answer(wire, stream, &original);
        let body = chunks.concat();
        let read = response(wire, 200, &headers, &body);
        let content = original.message.iter().flat_map(|message| &message.parts).any(has_content);
        prop_assert!(read.first_content_at.is_some() || !content);
        prop_assert!(read.usage_raw.is_object() || !original.usage.is_known());
        prop_assert_eq!(plain(read), original);
    }

    #[test]
    fn pieces_make_no_difference(
        (wire, original) in answers(),
        stream: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let body = answer(wire, stream, &original).1.concat();
        let whole = response(wire, 200, &Headers::new(), &body);
        let (pieced, complete) = in_pieces(wire, &body, &cuts);
        prop_assert!(complete);
        prop_assert_eq!(&pieced, &whole);
    }

    #[test]
    fn a_cut_stream_is_never_complete((wire, original) in answers(), cut in any::<prop::sample::Index>()) {
        let body = answer(wire, true, &original).1.concat();
        // The end of a chat is its finish reason, of a message its stop: what follows only counts tokens.
        let end = memchr::memmem::rfind(&body, b"\"weird\"").filter(|_| wire == Wire::OpenaiChat);
        let last = end.unwrap_or_else(|| body.len() - 4);
        if wire != Wire::OpenaiChat || end.is_some() {
            let read = response(wire, 200, &Headers::new(), &body[..cut.index(last)]);
            prop_assert!(!read.complete, "{:?}", read);
        }
    }

    #[test]
    fn an_error_inside_a_stream_is_seen((wire, mut original) in answers()) {
        original.error = Some(ProviderError { kind: "overloaded_error".into(), message: "Overloaded".into() });
        original.complete = false;
        for stream in [true, false] {
            let read = response(wire, 200, &Headers::new(), &answer(wire, stream, &original).1.concat());
            prop_assert_eq!(&read.error, &original.error);
        }
    }
}

fn has_content(part: &Part) -> bool {
    !matches!(part, Part::Thinking { text, .. } if text.is_empty())
}
