//! The provider room against recorded traffic, generated answers and garbage.

#![expect(clippy::unwrap_used, reason = "a test that can't read its input has failed")]

mod corpus;
mod garbage;
mod mocks;
mod reading;
mod round_trip;

use holdback::trace::Wire;

/// The wire formats that carry conversations.
pub const TALKING: [Wire; 4] = [Wire::OpenaiChat, Wire::OpenaiResponses, Wire::AnthropicMessages, Wire::Gemini];
/// All of them.
pub const WIRES: [Wire; 6] =
    [Wire::OpenaiChat, Wire::OpenaiResponses, Wire::AnthropicMessages, Wire::Gemini, Wire::Embeddings, Wire::Raw];
