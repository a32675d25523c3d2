//! A context that only grows: what is read at every call, and what that adds up to.

use super::{Found, Level, Story};

/// Below this many calls nothing runs away.
const CALLS: usize = 20;
/// A last call that reads this many times what the first one read.
const GROWTH: u64 = 10;
/// And at least this many tokens.
const TOKENS: u64 = 100_000;

pub fn signal(story: &Story<'_>) -> Vec<Found> {
    let read: Vec<(usize, u64)> = story
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.tools_offered > 0)
        .filter_map(|(at, step)| Some((at, step.read_tokens?)))
        .collect();
    let (Some((_, first)), Some((at, last))) = (read.first(), read.last()) else { return Vec::new() };
    if read.len() < CALLS || *last < TOKENS || *last < first.saturating_mul(GROWTH) {
        return Vec::new();
    }
    let total: u64 = read.iter().map(|(_, tokens)| tokens).sum();
    let says = format!(
        "the context grew from {first} to {last} tokens over {} calls, {total} tokens read in all; nothing was compacted",
        read.len()
    );
    #[expect(clippy::cast_precision_loss, reason = "tokens stay far below 2^53")]
    let growth = *last as f64 / (*first).max(1) as f64;
    vec![Found { level: Level::Warning, at: *at, value: growth, says }]
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;

    fn found(tokens: impl Iterator<Item = u64>) -> Vec<Found> {
        let mut made = Loop::new();
        for (n, tokens) in tokens.enumerate() {
            made.bash(&format!("do {n}"), "done").reads(tokens);
        }
        signal(&Story { steps: &made.steps, ended: None })
    }

    #[test]
    fn only_a_long_loop_that_grew_much_runs_away() {
        let ran = found((1..=40).map(|n| n * 5000));
        assert_eq!((ran.len(), ran[0].at, ran[0].value), (1, 39, 40.0));
        assert!(ran[0].says.contains("from 5000 to 200000 tokens over 40 calls"), "{}", ran[0].says);
        assert_eq!(found((1..=10).map(|n| n * 50_000)), [], "short");
        assert_eq!(found((1..=40).map(|n| n * 500)), [], "small");
        assert_eq!(found((1..=40).map(|n| 90_000 + n * 1000)), [], "big from the start");
    }
}
