//! Any bytes, in any pieces, on any wire: no panic, and the pieces make no difference.
#![no_main]

use holdback::provider::{Reader, response};
use holdback::trace::{Headers, Wire};
use libfuzzer_sys::fuzz_target;

const WIRES: [Wire; 5] =
    [Wire::OpenaiChat, Wire::OpenaiResponses, Wire::AnthropicMessages, Wire::Gemini, Wire::Embeddings];

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (pick, step, body) = input;
    let wire = WIRES[usize::from(pick) % WIRES.len()];
    let status = if pick < 128 { 200 } else { 500 };
    let mut reader = Reader::new(wire, status, &Headers::new());
    for piece in body.chunks(usize::from(step).max(1)) {
        reader.feed(piece);
    }
    assert_eq!(reader.finish(), response(wire, status, &Headers::new(), body));
});
