//! Failures that are probably the same failure: the same kind, the same tool, and words that are nearly the same (MinHash over
//! pieces of the settled text, compared band by band). No model, and memory for one line a group, not for the traces.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use super::pick::{Reason, pick};
use super::story::Told;
use crate::replay::settled;
use crate::trace::{CallEnd, Timestamp, TraceId, TraceOutcome};

/// Hash functions, and how many of them make a band: texts that are half alike surely meet in one of the bands.
const HASHES: usize = 32;
const BAND: usize = 2;
/// From this likeness on two texts are one failure.
const ALIKE: f64 = 0.5;
/// Letters in a piece of text.
const PIECE: usize = 5;
/// Characters of a text that are looked at, and kept.
const LOOKED_AT: usize = 2_000;
/// Groups that are remembered for one band: where more meet, a text tells little, and looking at all of them would take for ever.
const MOST_IN_A_BAND: usize = 64;

/// How a trace failed, in words that other traces may share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// `stuck`, `tool_error`, `refusal`, `false_success`, `error`, `brake`, `exit`, `score`, …
    pub kind: String,
    /// The tool it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What was said when it failed.
    pub text: String,
}

impl Failure {
    /// How a trace failed; `None` when it didn't.
    pub fn of(told: &Told) -> Option<Self> {
        let new = |kind: &str, tool: Option<String>, text: String| Failure { kind: kind.to_owned(), tool, text };
        if let Ok(picked) = pick(told, None) {
            let (tool, text) = match &picked.reason {
                Reason::Repeats { tool, error, .. } => (Some(tool.clone()), error.clone()),
                Reason::Forbidden { tool } => (Some(tool.clone()), picked.says.clone()),
                Reason::Refused | Reason::Words { .. } => (None, picked.says.clone()),
            };
            return Some(new(&picked.kind, tool, text));
        }
        if let Some(finding) = told.findings().into_iter().find(|finding| finding.level == crate::signal::Level::Bad) {
            return Some(new(finding.signal, None, finding.says));
        }
        let ended = told.ended.as_ref();
        let reason = ended.and_then(|ended| ended.reason.clone()).unwrap_or_default();
        let error = told.turns.last().and_then(|turn| turn.step.error.clone());
        match ended.map(|ended| (ended.outcome, ended.exit_code)) {
            Some((TraceOutcome::Braked, _)) => Some(new("brake", None, reason)),
            Some((TraceOutcome::Killed, _)) => Some(new("killed", None, reason)),
            Some((TraceOutcome::Failed, code)) => Some(match error {
                Some(error) => new("error", None, error),
                None => new(
                    "exit",
                    None,
                    format!("{} {reason}", code.map_or_else(String::new, |code| format!("exit code {code}"))),
                ),
            }),
            // A standing proxy never hears how a loop ended: only a call without an end says that something broke.
            None => {
                let lost = told.turns.last().is_some_and(|turn| turn.step.end == CallEnd::Lost);
                lost.then(|| new("cut_off", None, "the recording broke off".to_owned()))
            }
            Some((TraceOutcome::Ok, _)) => {
                let bad = told
                    .scores
                    .iter()
                    .find(|score| score.value.is_some_and(|value| value <= 0.0) || is_bad(score.label.as_deref()));
                bad.map(|score| {
                    new("score", None, format!("{}: {}", score.name, score.comment.clone().unwrap_or_default()))
                })
            }
        }
    }
}

fn is_bad(label: Option<&str>) -> bool {
    label.is_some_and(|label| {
        matches!(label.to_lowercase().as_str(), "bad" | "fail" | "failed" | "wrong" | "thumbs_down" | "down")
    })
}

/// Traces that failed alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Names it, and stays the same while traces are added.
    pub id: String,
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What was said, in the newest of them.
    pub says: String,
    pub count: usize,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub newest: TraceId,
    /// The case that stands for it, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
}

/// Groups, as traces come in. Hand them in oldest first: a group is named for its first trace.
#[derive(Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    marks: Vec<[u64; HASHES]>,
    bands: HashMap<(usize, u64), Vec<usize>>,
}

/// A failure with what tells whether it is like another. To be made on as many threads as there are.
#[derive(Debug, Clone)]
pub struct Marked {
    failure: Failure,
    marks: [u64; HASHES],
    /// Of kind and tool, which have to be the same.
    key: u64,
    id: u64,
}

impl From<Failure> for Marked {
    fn from(mut failure: Failure) -> Self {
        let text: String = settled(&failure.text).chars().take(LOOKED_AT).collect::<String>().to_lowercase();
        if let Some((end, _)) = failure.text.char_indices().nth(LOOKED_AT) {
            failure.text.truncate(end);
        }
        let key = hash(&(&failure.kind, &failure.tool));
        Marked { marks: min_hashes(&text), id: hash(&(key, &text)), key, failure }
    }
}

impl Groups {
    /// Takes one failed trace; the number of its group.
    pub fn add(&mut self, trace: TraceId, at: Timestamp, failure: impl Into<Marked>) -> usize {
        let Marked { failure, marks, key, id } = failure.into();
        let bands: Vec<(usize, u64)> =
            marks.chunks(BAND).enumerate().map(|(number, band)| (number, hash(&(key, band)))).collect();
        let mut candidates: Vec<usize> =
            bands.iter().filter_map(|band| self.bands.get(band)).flatten().copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let best = candidates
            .into_iter()
            .map(|group| (group, alike(&self.marks[group], &marks)))
            .filter(|(_, alike)| *alike >= ALIKE)
            .max_by(|one, other| one.1.total_cmp(&other.1).then(other.0.cmp(&one.0)))
            .map(|(group, _)| group);
        if let Some(group) = best {
            let known = &mut self.groups[group];
            known.count += 1;
            known.first_seen = known.first_seen.min(at);
            if at >= known.last_seen {
                (known.last_seen, known.newest, known.says) = (at, trace, failure.text);
            }
            return group;
        }
        let group = self.groups.len();
        for band in bands {
            let met = self.bands.entry(band).or_default();
            if met.len() < MOST_IN_A_BAND {
                met.push(group);
            }
        }
        self.marks.push(marks);
        self.groups.push(Group {
            id: format!("{:08x}", id >> 32),
            kind: failure.kind,
            tool: failure.tool,
            says: failure.text,
            count: 1,
            first_seen: at,
            last_seen: at,
            newest: trace,
            case: None,
        });
        group
    }

    /// The names of the groups, by number.
    pub fn ids(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.id.clone()).collect()
    }

    /// The largest first.
    pub fn finish(self) -> Vec<Group> {
        let mut groups = self.groups;
        groups.sort_by_key(|group| (std::cmp::Reverse(group.count), std::cmp::Reverse(group.last_seen)));
        groups
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The smallest hash of all pieces of a text, under each of many hash functions.
fn min_hashes(text: &str) -> [u64; HASHES] {
    let letters: Vec<char> = text.chars().collect();
    let mut least = [u64::MAX; HASHES];
    let mut take = |piece: &[char]| {
        let mut state = hash(&piece);
        for least in &mut least {
            // A cheap family of hash functions: steps of a generator seeded by the piece (SplitMix64).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *least = (*least).min(mixed ^ (mixed >> 31));
        }
    };
    if letters.len() < PIECE {
        take(&letters);
    } else {
        letters.windows(PIECE).for_each(take);
    }
    least
}

fn alike(one: &[u64; HASHES], other: &[u64; HASHES]) -> f64 {
    let same = one.iter().zip(other).filter(|(one, other)| one == other).count();
    same as f64 / HASHES as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &str, tool: &str, text: &str) -> Failure {
        Failure { kind: kind.to_owned(), tool: Some(tool.to_owned()), text: text.to_owned() }
    }

    #[test]
    fn what_fails_alike_is_one_group_and_what_does_not_is_another() {
        let mut groups = Groups::default();
        let seen = [
            failure("stuck", "lookup_order", "error: no order B-99 in the shop's book of orders"),
            failure("stuck", "lookup_order", "error: no order C-12 in the shop's book of orders"),
            failure("stuck", "refund_order", "error: no order B-99 in the shop's book of orders"),
            failure("stuck", "lookup_order", "connection refused by the warehouse, try again later"),
            failure("stuck", "lookup_order", "error: no order A-01 in the shop's book of orders"),
        ];
        let found: Vec<usize> =
            (0..).zip(seen).map(|(n, failure)| groups.add(TraceId(n), Timestamp(n as i64), failure)).collect();
        assert_eq!(found, [0, 0, 1, 2, 0]);
        let groups = groups.finish();
        assert_eq!((groups[0].count, groups[0].newest, groups[0].first_seen), (3, TraceId(4), Timestamp(0)));
        assert_eq!(groups[0].id.len(), 8);
    }
}
