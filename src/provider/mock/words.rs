//! Words and luck of the mock models, all of it a pure function of what goes in.

use crate::trace::{Message, Part, Request};

fn words(text: &str) -> u64 {
    u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX)
}

/// A token for every word of a message; a tool call counts its name and the words of its arguments as JSON.
pub fn count_message(message: &Message) -> u64 {
    let part = |part: &Part| match part {
        Part::Text { text } | Part::Thinking { text, .. } | Part::Refusal { text } => words(text),
        Part::ToolCall(call) => 1 + words(&call.arguments.to_string()),
        Part::ToolResult(result) => words(&result.text),
        Part::Other { value } => words(&value.to_string()),
    };
    message.parts.iter().map(part).sum()
}

/// A token for every word of a request: messages and tools.
pub fn count_request(request: &Request) -> u64 {
    let tool = |tool: &crate::trace::ToolDef| 1 + words(&tool.description) + words(&tool.parameters.to_string());
    request.messages.iter().map(count_message).chain(request.tools.iter().map(tool)).sum()
}

/// FNV-1a, good enough to tell keys apart and the same on every machine for ever.
fn hash(seed: u64, text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in seed.to_le_bytes().iter().chain(text.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mixed(hash)
}

/// The finaliser of SplitMix64: near keys get far numbers.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number from 0 to 1 (never 1) drawn for a key.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit a float")]
pub fn uniform(seed: u64, key: &str) -> f64 {
    (hash(seed, key) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number that tells answers apart: of the key and of the conversation so far.
pub fn fingerprint(request: &Request, key: &str) -> u64 {
    let said = request.messages.iter().fold(0, |seed, message| hash(seed, &message.plain_text()));
    hash(said, key)
}

const STRANGERS: [&str; 24] = [
    "amber", "basalt", "cobalt", "dune", "ember", "fjord", "gravel", "hazel", "indigo", "juniper", "kelp", "lantern",
    "marble", "nutmeg", "onyx", "pebble", "quartz", "rhubarb", "saffron", "thistle", "umber", "velvet", "willow",
    "zephyr",
];

/// Three words that stand nowhere in the conversation.
pub fn strangers(request: &Request, seed: u64, key: &str) -> String {
    let said: Vec<String> = request.messages.iter().map(|message| message.plain_text().to_lowercase()).collect();
    let unsaid = |word: &str| !said.iter().any(|text| text.contains(word));
    let from = hash(seed, key);
    let known = (0..24_u64).filter_map(|step| {
        let at = usize::try_from(from.wrapping_add(step) % 24).ok()?;
        STRANGERS.get(at).map(|word| (*word).to_owned())
    });
    // A prompt may hold all of them; some word of z's it can't hold.
    let made = (3_usize..).map(|length| "z".repeat(length));
    known.chain(made).filter(|word| unsaid(word)).take(3).collect::<Vec<_>>().join(" ")
}
