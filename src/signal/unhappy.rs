//! A user who corrects the agent again and again, or has had enough. Known by English words; what was said is looked at while
//! it is there, and only the label is kept.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{Found, Level, Story, number};

/// How a user takes what the agent did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// It was not what was meant.
    Correcting,
    /// Patience is at its end.
    Frustrated,
}

static CORRECTING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?xi)
        ^\s*(?:no|nope|wrong|not\ quite|stop)\b[\s,.!:;-]
        | ^\s*(?:no|nope|wrong)\s*$
        | \bthat['’]?s\ (?:not\ (?:right|what|it|correct)|wrong|incorrect)\b
        | \b(?:not|isn['’]?t|wasn['’]?t)\ what\ i\ (?:asked|meant|wanted|said)\b
        | \bi\ (?:said|meant|asked\ (?:you\ )?(?:for|to)|told\ you)\b
        | \b(?:undo|revert|roll\ back)\ (?:that|it|this|your)\b
        | \byou\ (?:forgot|missed|misunderstood|ignored|broke)\b
        | \bdon['’]?t\ do\ that\b
        ",
    )
    .expect("a pattern of our own, held by the tests")
});

static FRUSTRATED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?xi)
        \b(?:wtf|ffs|jesus\ christ|for\ god['’]?s\ sake|for\ the\ (?:third|fourth|last|nth|hundredth)\ time)\b
        | \bhow\ many\ times\b
        | \b(?:useless|ridiculous|hopeless|garbage|terrible|infuriating|waste\ of\ (?:time|money))\b
        | \b(?:still|again)\ (?:broken|wrong|failing|not\ working|doesn['’]?t\ work|the\ same\ (?:error|mistake|problem))\b
        | \b(?:i\ give\ up|forget\ it|never\ ?mind,?\ i['’]?ll\ do\ it)\b
        | \bwhy\ (?:do|did|are|would)\ you\ (?:keep|not\ listen|always)\b
        | [!?]{3,}
        ",
    )
    .expect("a pattern of our own, held by the tests")
});

/// The mood of a user's words; `None` for words like any other. Long texts are pasted material more than talk.
pub fn mood(text: &str) -> Option<Mood> {
    const TALK: usize = 600;
    let head: String = text.chars().take(TALK).collect();
    match () {
        () if FRUSTRATED.is_match(&head) => Some(Mood::Frustrated),
        () if CORRECTING.is_match(&head) => Some(Mood::Correcting),
        () => None,
    }
}

/// Corrections from which on it is worth a look.
const CORRECTIONS: usize = 3;

pub fn signal(story: &Story<'_>) -> Vec<Found> {
    let moods: Vec<(usize, Mood)> =
        story.steps.iter().enumerate().skip(1).filter_map(|(at, step)| Some((at, step.mood?))).collect();
    let Some((first, _)) = moods.first().copied() else { return Vec::new() };
    let frustrated = moods.iter().filter(|(_, mood)| *mood == Mood::Frustrated).count();
    let corrections = moods.len() - frustrated;
    // The last thing a user says before leaving weighs most.
    let left = story.steps.iter().rposition(|step| step.said.is_some());
    let left_angry = moods.last().is_some_and(|(at, mood)| *mood == Mood::Frustrated && Some(*at) == left);
    let level = match (left_angry, frustrated, corrections) {
        (true, ..) => Level::Bad,
        (_, 1.., _) | (_, _, CORRECTIONS..) => Level::Warning,
        _ => Level::Info,
    };
    let says = format!("the user corrected the agent {corrections} times and lost patience {frustrated} times");
    vec![Found { level, at: first, value: number(moods.len()), says }]
}

#[cfg(test)]
mod tests {
    use super::super::made::Loop;
    use super::*;

    #[test]
    fn moods_are_known_by_words() {
        for (text, want) in [
            ("no, the other file", Some(Mood::Correcting)),
            ("That's not what I asked for.", Some(Mood::Correcting)),
            ("please undo that", Some(Mood::Correcting)),
            ("it's still broken", Some(Mood::Frustrated)),
            ("How many times do I have to say it?", Some(Mood::Frustrated)),
            ("WHAT???", Some(Mood::Frustrated)),
            ("Great, now add a test.", None),
            ("There is no such order; can you look it up?", None),
            ("Explain the wrong-way risk.", None),
        ] {
            assert_eq!(mood(text), want, "{text}");
        }
    }

    #[test]
    fn a_user_who_leaves_angry_is_worse_than_one_who_corrects() {
        let look = |words: &[&str]| {
            let mut made = Loop::new();
            for word in words {
                made.says("Done.", word);
            }
            made.says("All right.", "");
            signal(&Story { steps: &made.steps, ended: None }).first().map(|found| (found.level, found.value))
        };
        assert_eq!(look(&["thanks"]), None);
        assert_eq!(look(&["no, the other one"]), Some((Level::Info, 1.0)));
        assert_eq!(look(&["no, a", "no, b", "no, c"]), Some((Level::Warning, 3.0)));
        assert_eq!(look(&["still broken", "thanks"]), Some((Level::Warning, 1.0)));
        assert_eq!(look(&["thanks", "this is useless"]), Some((Level::Bad, 1.0)));
    }
}
