//! What a judge is shown of a trial: numbered pieces, whole where they fit and as a digest where they don't. Quotes are looked
//! for in the whole, whatever was shown.

use std::fmt::Write as _;

use crate::grade::{Change, Evidence};
use crate::suite::See;
use crate::trace::{Message, Part, Role};

/// A step, an answer, a file: something with a number that a judge can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// From 1.
    pub number: usize,
    pub title: String,
    pub text: String,
}

/// All that a criterion may see of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exhibit {
    pub pieces: Vec<Piece>,
}

/// Characters that a piece is cut to in a digest.
const HEAD: usize = 160;
/// Letters and digits a quote needs, unless the piece itself is shorter.
const LEAST_QUOTE: usize = 4;

impl Exhibit {
    /// Takes what a criterion may see out of the evidence, in the order it happened.
    pub fn of(evidence: &Evidence, see: &[See]) -> Self {
        let mut exhibit = Exhibit::default();
        let sees = |what: See| see.contains(&what);
        if sees(See::Prompt) || sees(See::Transcript) {
            let asked = |message: &&Message| message.role == Role::User;
            let prompt = match evidence.prompt.trim().is_empty() {
                false => evidence.prompt.clone(),
                true => evidence.opening.iter().filter(asked).map(Message::plain_text).collect::<Vec<_>>().join("\n"),
            };
            exhibit.add("what the user asked", &prompt);
            if sees(See::Transcript) {
                let rest = evidence.opening.iter().filter(|message| message.plain_text().trim() != prompt.trim());
                rest.for_each(|message| exhibit.add(&format!("{} said", speaker(message.role)), &message.plain_text()));
            }
        }
        exhibit.add_steps(evidence, sees(See::Transcript), sees(See::ToolCalls));
        if sees(See::Answer) {
            let text = if evidence.answer.trim().is_empty() { "(there is no final answer)" } else { &evidence.answer };
            exhibit.add("the final answer", text);
        }
        if sees(See::Diff) || sees(See::Files) {
            exhibit.add_files(evidence, sees(See::Files));
        }
        if exhibit.pieces.is_empty() {
            exhibit.add("nothing", "(there is nothing to see)");
        }
        exhibit
    }

    fn add(&mut self, title: &str, text: &str) {
        if !text.trim().is_empty() {
            let number = self.pieces.len() + 1;
            self.pieces.push(Piece { number, title: title.to_owned(), text: text.to_owned() });
        }
    }

    fn add_steps(&mut self, evidence: &Evidence, words: bool, tools: bool) {
        if !words && !tools {
            return;
        }
        for step in &evidence.steps {
            for result in &step.results {
                let of = if result.name.is_empty() { String::new() } else { format!(" of {}", result.name) };
                let kind = if result.is_error { "an error came back" } else { "the result came back" };
                let empty = if result.text.trim().is_empty() { "(empty)" } else { &result.text };
                self.add(&format!("{kind}{of}"), empty);
            }
            for part in step.said.iter().flat_map(|message| &message.parts) {
                match part {
                    Part::Text { text } | Part::Refusal { text } if words => self.add("the assistant said", text),
                    Part::ToolCall(call) => {
                        let title = format!("the assistant called {}", call.name);
                        self.add(&title, &format!("{} {}", call.name, call.arguments));
                    }
                    _ => {}
                }
            }
            if let Some(error) = &step.error {
                self.add("the call of the model failed", error);
            }
        }
    }

    fn add_files(&mut self, evidence: &Evidence, whole: bool) {
        for file in evidence.files.iter().filter(|file| file.change != Change::Same) {
            let (word, text) = match file.change {
                Change::Added => ("added", file.text.as_deref()),
                Change::Deleted => ("deleted", None),
                Change::Modified if whole => ("modified", file.text.as_deref()),
                Change::Modified | Change::Same => ("modified", file.diff.as_deref().or(file.text.as_deref())),
            };
            // The name stands in the text: it is as little to be trusted as what is in the file.
            let body = text.map_or_else(|| format!("({} bytes, not shown)", file.len), str::to_owned);
            self.add(&format!("a file was {word}"), &format!("{} ({word})\n{body}", file.path));
        }
    }

    /// The pieces as a judge reads them. `wanted` are shown whole before all others; then those that the question's words
    /// point to, as far as there is room for so many characters.
    pub fn shown(&self, question: &str, room: usize, wanted: &[usize]) -> String {
        let long = |piece: &Piece| piece.text.chars().count();
        let total: usize = self.pieces.iter().map(long).sum();
        let mut whole = vec![total <= room; self.pieces.len()];
        if total > room {
            let mut left = room.saturating_sub(self.pieces.len().min(room / 2 / HEAD) * HEAD);
            for at in self.by_need(question, wanted) {
                let cost = long(&self.pieces[at]).min(room / 2);
                if cost <= left || wanted.contains(&self.pieces[at].number) {
                    (whole[at], left) = (true, left.saturating_sub(cost));
                }
            }
        }
        let cut = if total <= room { usize::MAX } else { (room / 2).max(HEAD) };
        let most_heads = (room / HEAD).max(8);
        let mut out = String::new();
        let mut left_out: Vec<usize> = Vec::new();
        let heads = whole.iter().filter(|whole| !**whole).count();
        let mut head = 0;
        for (piece, whole) in self.pieces.iter().zip(&whole) {
            if !whole {
                head += 1;
                // The middle of a very long trace is named by its numbers only.
                if heads > most_heads && head > most_heads / 2 && head <= heads - most_heads / 2 {
                    left_out.push(piece.number);
                    continue;
                }
            }
            told_range(&mut out, &mut left_out);
            let _ = write!(
                out,
                "[{}] {}:\n{}\n\n",
                piece.number,
                piece.title,
                cut_to(piece, if *whole { cut } else { HEAD })
            );
        }
        told_range(&mut out, &mut left_out);
        out.truncate(out.trim_end().len());
        out
    }

    /// Whether a digest of so many characters leaves something out.
    pub fn is_longer_than(&self, room: usize) -> bool {
        self.pieces.iter().map(|piece| piece.text.chars().count()).sum::<usize>() > room
    }

    /// Places of pieces, those first that are needed most.
    fn by_need(&self, question: &str, wanted: &[usize]) -> Vec<usize> {
        let words: Vec<String> = words(question).collect();
        let last = self.pieces.len();
        let mut order: Vec<usize> = (0..last).collect();
        let hits = |piece: &Piece| {
            let text = piece.text.to_lowercase();
            words.iter().filter(|word| text.contains(word.as_str())).count()
        };
        order.sort_by_cached_key(|at| {
            let piece = &self.pieces[*at];
            let final_answer = piece.title == "the final answer";
            let failed = piece.title.contains("error") || piece.title.contains("failed");
            let asked = wanted.contains(&piece.number);
            std::cmp::Reverse((asked, final_answer || *at == 0, hits(piece) + usize::from(failed), *at))
        });
        order
    }

    /// The piece a quote stands in. Blanks and the shape of quotation marks don't matter, letters do; `…` stands for what was
    /// left out within one piece. Quotes of next to nothing are none.
    pub fn find(&self, quote: &str) -> Option<&Piece> {
        let wanted: Vec<String> =
            quote.replace('…', "...").split("...").map(plain).filter(|part| !part.is_empty()).collect();
        let telling = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
        if wanted.is_empty() {
            return None;
        }
        self.pieces.iter().find(|piece| {
            let text = plain(&piece.text);
            let long_enough = |part: &String| telling(part) >= LEAST_QUOTE.min(telling(&text)) && !part.is_empty();
            let mut rest = text.as_str();
            wanted.iter().all(|part| {
                let found = long_enough(part).then(|| rest.find(part.as_str())).flatten();
                rest = found.map_or("", |at| &rest[at + part.len()..]);
                found.is_some()
            })
        })
    }

    /// Every text changed by the same hand: secrets taken out, say.
    #[must_use]
    pub fn with_texts(mut self, change: impl Fn(&str) -> String) -> Self {
        self.pieces.iter_mut().for_each(|piece| piece.text = change(&piece.text));
        self
    }

    /// All texts, one after the other.
    pub fn whole(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>().join("\n\n")
    }
}

fn speaker(role: Role) -> &'static str {
    match role {
        Role::System => "the standing orders",
        Role::User => "the user",
        Role::Assistant => "the assistant",
        Role::Tool => "a tool",
    }
}

fn told_range(out: &mut String, left_out: &mut Vec<usize>) {
    if let (Some(first), Some(last)) = (left_out.first(), left_out.last()) {
        let _ = write!(
            out,
            "[{first}] to [{last}]: {} steps that are not shown; ask for them by number\n\n",
            left_out.len()
        );
    }
    left_out.clear();
}

/// A piece's text, cut in its middle: how something began and how it ended say most.
fn cut_to(piece: &Piece, most: usize) -> String {
    let count = piece.text.chars().count();
    if count <= most {
        return piece.text.clone();
    }
    let (head, tail) = (most * 2 / 3, most / 3);
    let begin: String = piece.text.chars().take(head).collect();
    let end: String = piece.text.chars().skip(count - tail).collect();
    let more = count - head - tail;
    format!("{begin}\n… ({more} more characters; ask for [{}] to see more) …\n{end}", piece.number)
}

/// Words worth looking for, in small letters.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 3).map(str::to_lowercase)
}

/// A text with single blanks and plain quotation marks.
fn plain(text: &str) -> String {
    let same = |c: char| match c {
        '\u{2018}' | '\u{2019}' | '`' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{a0}' => ' ',
        c => c,
    };
    let text: String = text.chars().map(same).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.trim_matches(['"', '\'', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::grade::FileSeen;
    use crate::grade::test::with_tools;
    use crate::trace::ToolResult;

    fn evidence() -> Evidence {
        let mut evidence = with_tools(&[("bash", json!({"command": "ls"})), ("read", json!({"path": "a.txt"}))]);
        evidence.prompt = "Fix the “late” order.".to_owned();
        evidence.answer = "Done: the order is fixed.".to_owned();
        evidence.steps[1].results =
            vec![ToolResult { id: String::new(), name: "bash".into(), text: "a.txt\nb.txt".into(), is_error: false }];
        evidence.files = vec![FileSeen {
            path: "src/a.rs".to_owned(),
            len: 3,
            change: Change::Modified,
            text: Some("new".to_owned()),
            diff: Some("-old\n+new".to_owned()),
        }];
        evidence
    }

    #[test]
    fn a_criterion_sees_what_it_may_and_nothing_else() {
        let titles = |see: &[See]| -> Vec<String> {
            Exhibit::of(&evidence(), see).pieces.into_iter().map(|piece| piece.title).collect()
        };
        assert_eq!(titles(&[See::Answer]), ["the final answer"]);
        assert_eq!(titles(&[See::Prompt, See::Answer]), ["what the user asked", "the final answer"]);
        let tools = titles(&[See::ToolCalls]);
        assert_eq!(tools, ["the assistant called bash", "the result came back of bash", "the assistant called read"]);
        let diff = Exhibit::of(&evidence(), &[See::Diff]);
        assert_eq!(diff.pieces[0].text, "src/a.rs (modified)\n-old\n+new");
        assert!(Exhibit::of(&evidence(), &[See::Files]).pieces[0].text.ends_with("\nnew"));
        assert_eq!(titles(&[See::Files, See::Transcript]).len(), 5);
        let mut silent = evidence();
        silent.answer.clear();
        assert!(Exhibit::of(&silent, &[See::Answer]).whole().contains("no final answer"));
    }

    #[test]
    fn quotes_are_found_as_people_copy_them_and_not_otherwise() {
        let exhibit = Exhibit::of(&evidence(), &[See::Prompt, See::ToolCalls, See::Answer]);
        let at = |quote: &str| exhibit.find(quote).map(|piece| piece.title.clone());
        assert_eq!(at("the \"late\" order").as_deref(), Some("what the user asked"));
        assert_eq!(at("\"a.txt b.txt\"").as_deref(), Some("the result came back of bash"));
        assert_eq!(at("Done: … fixed.").as_deref(), Some("the final answer"));
        for none in
            ["", "  ", "e", "...", "the order is not fixed", "fixed … Done", "a.txt … order is", "Done: THE order"]
        {
            assert_eq!(at(none), None, "{none:?}");
        }
    }

    #[test]
    fn long_evidence_becomes_a_digest_and_steps_can_be_asked_for() {
        let mut long = evidence();
        let step = long.steps[1].clone();
        for n in 0..200 {
            let mut step = step.clone();
            step.results[0].text = format!("line {n}\n").repeat(100) + &format!("secret-{n}");
            long.steps.push(step);
        }
        long.steps[50].results[0].text.push_str(" refund was approved");
        let exhibit = Exhibit::of(&long, &[See::ToolCalls, See::Answer]);
        let digest = exhibit.shown("Was the refund approved before it was made?", 4_000, &[]);
        assert!(digest.chars().count() < 14_000, "{}", digest.chars().count());
        assert!(digest.contains("refund was approved") && digest.contains("the order is fixed"));
        assert!(digest.contains("steps that are not shown"));
        assert!(!digest.contains("line 120\nline 120\nline 120"));
        let number = exhibit.pieces.iter().find(|piece| piece.text.contains("secret-120")).unwrap().number;
        let more = exhibit.shown("Was the refund approved?", 4_000, &[number]);
        assert!(more.contains("line 120\nline 120\nline 120") && more.contains("secret-120"));
        assert!(exhibit.find("line 99 line 99").is_some(), "quotes are looked for in the whole");
    }
}
