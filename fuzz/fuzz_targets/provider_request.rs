//! Any bytes as a request, whole and by block: no panic.
#![no_main]

use holdback::provider::{block_messages, block_tools, detect, request};
use holdback::trace::{Headers, Wire};
use libfuzzer_sys::fuzz_target;

const WIRES: [Wire; 5] =
    [Wire::OpenaiChat, Wire::OpenaiResponses, Wire::AnthropicMessages, Wire::Gemini, Wire::Embeddings];

fuzz_target!(|body: &[u8]| {
    let _ = detect("POST", "/", &Headers::new(), body);
    for wire in WIRES {
        let _ = request(wire, "/v1beta/models/m:generateContent", body);
        let _ = block_tools(wire, body);
        for array in ["messages", "system", "input", "instructions", "contents", "systemInstruction"] {
            let _ = block_messages(wire, array, body);
        }
    }
});
