//! What is wrong with a rubric that still can be read: questions that are two, levels nobody uses, criteria that need no judge.

use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

use crate::suite::{Criterion, Rubric, See};

/// Something that would make a rubric better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The criterion's id; empty for the rubric as a whole.
    pub criterion: String,
    /// What kind of remark it is: `double`, `level`, `deterministic`, …
    pub kind: &'static str,
    pub says: String,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of our own, held by the tests")
}

/// Two questions in one: the judge has to pick which to answer.
static DOUBLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:and|or|as well as|while|but) (?:also )?(?:does|do|did|is|are|was|were|has|have|can|avoids?|without)\b|\?.*\?|\b(?:\w+ly|\w+ful|correct|clear|polite|concise|helpful|complete|accurate|safe|short|honest|friendly) and (?:\w+ly|\w+ful|correct|clear|polite|concise|helpful|complete|accurate|safe|short|honest|friendly)\b|\band/or\b",
    )
});

/// What a grader can tell for sure, and which.
static DETERMINISTIC: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (r"(?i)\b(?:valid|well-formed|parseable) json\b|\bjson schema\b", "json_schema"),
        (r"(?i)\b(?:contains?|includes?|mentions?|says?|uses?) the (?:exact )?(?:word|phrase|string|text)\b|\bexact (?:word|phrase|string)", "contains"),
        (r"(?i)\b(?:fewer|less|more|at most|at least|under|over|no more) (?:than )?\d+ (?:words?|characters?|tokens?|lines?|sentences?)\b", "regex or tokens"),
        (r"(?i)\b(?:matches|match) (?:the )?(?:regex|regular expression|pattern)\b", "regex"),
        (r"(?i)\bexit(?:s|ed)? (?:with )?(?:code|status)\b|\b(?:unit |all )?tests? (?:pass|succeed|run)", "command"),
        (r"(?i)\b(?:call|calls|called|invoke|invokes|invoked) (?:the )?[`'\x22]?\w+[`'\x22]? (?:tool|function)\b|\bhow many (?:tool )?calls\b", "tool_calls"),
        (r"(?i)\b(?:file|folder) (?:exists|was created|is created|is there)\b", "files"),
        (r"(?i)\b(?:api key|password|secret|token)s? (?:is|are|was|were)? ?(?:leaked|exposed|printed|in the answer)", "no_secrets"),
        (r"(?i)\b(?:is|equals?|exactly) (?:the number )?\d+(?:\.\d+)?\s*\?", "number or equals"),
        (r"(?i)\bwithin \d+ (?:seconds|minutes|ms)\b|\b(?:cost|costs) (?:less|under)", "latency or cost"),
    ]
    .into_iter()
    .map(|(text, grader)| (pattern(text), grader))
    .collect()
});

/// Words that every reader fills with a meaning of their own.
static VAGUE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:good|appropriate|high[- ]quality|nice|reasonable|adequate|proper)(?:ly)?\b"));

/// Questions whose `yes` would be the bad answer.
static NEGATIVE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*(?:does|did|is|are|was|were|has) (?:the \w+|it) (?:not\b|fail|lie|invent|leak|ignore|break|refuse)",
    )
});

/// Looks a rubric over. `used` are the levels that verdicts or labels have used so far, by criterion, where that is known.
pub fn lint(rubric: &Rubric, used: &dyn Fn(&str) -> Option<Vec<u32>>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut tell = |criterion: &str, kind: &'static str, says: String| {
        remarks.push(Remark { criterion: criterion.to_owned(), kind, says });
    };
    for (_, criterion) in rubric.criteria() {
        words(criterion, &mut tell);
        levels(criterion, used(&criterion.id), &mut tell);
    }
    if rubric.judge.members().len() == 2 && rubric.judge.repeats == 1 {
        tell("", "judge", "a panel of two can only agree or be split: take three, or one and a cascade".to_owned());
    }
    if rubric.grouped && rubric.criteria().count() > 6 {
        tell("", "grouped", "more than six criteria in one question colour each other: leave grouped out".to_owned());
    }
    remarks
}

fn words(criterion: &Criterion, tell: &mut dyn FnMut(&str, &'static str, String)) {
    let ask = criterion.ask.as_str();
    if let Some(found) = DOUBLE.find(ask) {
        tell(
            &criterion.id,
            "double",
            format!("it asks two things at once ({:?}): make two criteria of it", found.as_str()),
        );
    }
    if let Some((_, grader)) = DETERMINISTIC.iter().find(|(pattern, _)| pattern.is_match(ask)) {
        tell(&criterion.id, "deterministic", format!("a grader can tell this for sure and for free: {grader}"));
    }
    if let Some(found) = VAGUE.find(ask)
        && criterion.is_yes_no()
        && criterion.yes.is_none()
    {
        let word = found.as_str();
        tell(
            &criterion.id,
            "vague",
            format!("{word:?} means something else to everyone: say what a yes and a no look like"),
        );
    }
    if NEGATIVE.is_match(ask) && criterion.is_yes_no() {
        tell(&criterion.id, "negative", "a yes must mean that all is well: turn the question round".to_owned());
    }
    if !ask.trim_end().ends_with('?') {
        tell(&criterion.id, "question", "it is not a question".to_owned());
    }
    if criterion.see.contains(&See::Transcript) && criterion.see.contains(&See::ToolCalls) {
        tell(&criterion.id, "see", "the transcript has the tool calls in it already".to_owned());
    }
}

fn levels(criterion: &Criterion, used: Option<Vec<u32>>, tell: &mut dyn FnMut(&str, &'static str, String)) {
    for (number, level) in (1_u32..).zip(&criterion.levels) {
        if criterion.levels.iter().take(number as usize - 1).any(|other| other.means == level.means) {
            tell(&criterion.id, "level", format!("level {number} means the same as another"));
        }
        if level.example.is_empty() {
            tell(&criterion.id, "example", format!("level {number} has no example"));
        }
        if let Some(used) = &used
            && !used.is_empty()
            && !used.contains(&number)
        {
            tell(
                &criterion.id,
                "unused",
                format!("level {number} was never given in {} verdicts: leave it out?", used.len()),
            );
        }
    }
    if criterion.levels.len() > 5 {
        tell(&criterion.id, "levels", "nobody tells more than five levels apart".to_owned());
    }
    if criterion.is_yes_no() && criterion.yes.is_none() && criterion.no.is_none() {
        tell(&criterion.id, "example", "say what a yes and a no look like, each with an example".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Level, load_rubric};

    fn kinds(ask: &str) -> Vec<&'static str> {
        let text = "rubric: r\njudge: {model: mock/judge}\nprinciples: [{principle: p, criteria: [{id: a, ask: x, \
            yes: {means: m, example: e}}]}]\n";
        let mut rubric = load_rubric("r.yaml", text).unwrap();
        rubric.principles[0].criteria[0].ask = ask.to_owned();
        lint(&rubric, &|_| None).into_iter().map(|remark| remark.kind).collect()
    }

    #[test]
    fn remarks_are_made_where_they_help_and_only_there() {
        for (ask, kind) in [
            ("Is the answer polite and does it mention the refund?", "double"),
            ("Is the answer clear and concise?", "double"),
            ("Is it right? Is it short?", "double"),
            ("Is the answer valid JSON?", "deterministic"),
            ("Does the answer contain the word refund?", "deterministic"),
            ("Is the answer less than 50 words?", "deterministic"),
            ("Do all tests pass?", "deterministic"),
            ("Did it call the refund tool?", "deterministic"),
            ("Did the agent fail to ask?", "negative"),
            ("The answer is polite.", "question"),
        ] {
            assert!(kinds(ask).contains(&kind), "{ask}: {:?}", kinds(ask));
        }
        for ask in [
            "Does the final answer claim only what the tool results show?",
            "Is the tone that of someone who wants to help?",
            "When terms and conditions were unclear, did the agent ask first?",
        ] {
            assert_eq!(kinds(ask), Vec::<&str>::new(), "{ask}");
        }
    }

    #[test]
    fn levels_without_use_and_panels_of_two_are_told() {
        let text = "rubric: r\nprinciples: [{principle: p, criteria: [{id: a, ask: How good?, levels: [{means: l, example: e}, \
            {means: m, example: e}, {means: m, example: e}]}]}]\n";
        let mut rubric = load_rubric("r.yaml", text).unwrap();
        let told = |rubric: &Rubric, used: Option<Vec<u32>>| -> Vec<&'static str> {
            lint(rubric, &|_| used.clone()).into_iter().map(|remark| remark.kind).collect()
        };
        assert_eq!(told(&rubric, None), ["level"]);
        assert_eq!(told(&rubric, Some(vec![1, 3, 3])), ["unused", "level"]);
        rubric.judge.panel = vec!["mock/judge".to_owned(); 2];
        assert_eq!(told(&rubric, None), ["level", "judge"]);
        rubric.judge.panel.clear();
        rubric.principles[0].criteria[0].levels = vec![Level { means: "x".into(), example: String::new() }; 2];
        assert_eq!(told(&rubric, None), ["example", "level", "example"]);
    }
}
