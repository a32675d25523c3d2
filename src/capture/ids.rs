//! New names for traces and calls.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::trace::{CallId, TraceId};

/// A number nobody else has: a counter, stirred with randomness that this process drew once.
pub fn random() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seed = *SEED.get_or_init(|| getrandom::u64().unwrap_or_else(|_| super::clock::now().0.unsigned_abs()));
    stir(seed.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// SplitMix64's last step: one to one, so that numbers that differ stay different.
fn stir(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A new call.
pub fn call() -> CallId {
    CallId(random())
}

/// A new trace.
pub fn trace() -> TraceId {
    TraceId((u128::from(random()) << 64) | u128::from(random()))
}

/// The trace that a client's own name for its session stands for: the same name gives the same trace, today and tomorrow.
pub fn trace_named(kind: &str, name: &str) -> TraceId {
    let hash = Sha256::new().chain_update(kind).chain_update([0]).chain_update(name).finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    TraceId(u128::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_differ_and_names_stay() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| call()).collect();
        assert_eq!(ids.len(), 1000);
        assert_ne!(trace(), trace());
        assert_eq!(trace_named("codex", "a"), trace_named("codex", "a"));
        assert_ne!(trace_named("codex", "a"), trace_named("claude", "a"));
    }
}
