//! A change to standing orders: a unified diff, or a short list of what to replace, add in front and add behind.

use serde::Deserialize;

/// A patch that can't be read or does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPatch {
    #[error("line {line} of the patch: {what}")]
    Diff { line: usize, what: String },
    #[error(
        "the patch is neither a unified diff (as `diff -u old new` writes it) nor YAML with replace:, prepend: or append:: {0}"
    )]
    Unreadable(String),
    #[error("the patch changes nothing")]
    Empty,
    #[error("the standing orders have no such text: {0:?}")]
    NoSuchText(String),
    #[error("hunk {hunk} of the patch fits nowhere in the standing orders; it wants to see: {wants:?}")]
    NoFit { hunk: usize, wants: String },
}

/// How a prompt is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patch {
    Diff(Vec<Hunk>),
    Words(Words),
}

/// Changed lines and the lines around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    before: Vec<String>,
    after: Vec<String>,
}

/// What to replace and add.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Words {
    replace: Vec<Replace>,
    prepend: Option<String>,
    append: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    find: String,
    with: String,
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// When it is neither of the two kinds, or does nothing.
    pub fn parse(text: &str) -> Result<Self, BadPatch> {
        if text.lines().any(|line| line.starts_with("@@ ")) {
            return hunks(text).map(Patch::Diff);
        }
        let words: Words = serde_saphyr::from_str(text).map_err(|error| BadPatch::Unreadable(error.to_string()))?;
        if words == Words::default() {
            return Err(BadPatch::Empty);
        }
        Ok(Patch::Words(words))
    }

    /// A text with the change made.
    ///
    /// # Errors
    /// When something it wants to change is not there.
    pub fn apply(&self, text: &str) -> Result<String, BadPatch> {
        match self {
            Patch::Diff(hunks) => patched(text, hunks),
            Patch::Words(words) => {
                let mut text = text.to_owned();
                for Replace { find, with } in &words.replace {
                    if find.is_empty() || !text.contains(find.as_str()) {
                        return Err(BadPatch::NoSuchText(find.clone()));
                    }
                    text = text.replace(find.as_str(), with);
                }
                let before =
                    words.prepend.iter().map(|more| format!("{}\n", more.trim_end_matches('\n'))).collect::<String>();
                let after =
                    words.append.iter().map(|more| format!("\n{}", more.trim_end_matches('\n'))).collect::<String>();
                Ok(format!("{before}{text}{after}"))
            }
        }
    }
}

fn hunks(text: &str) -> Result<Vec<Hunk>, BadPatch> {
    let mut hunks: Vec<Hunk> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with("@@ ") {
            hunks.push(Hunk { before: Vec::new(), after: Vec::new() });
            continue;
        }
        let Some(hunk) = hunks.last_mut() else { continue };
        let (sign, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
        match sign {
            " " => {
                hunk.before.push(rest.to_owned());
                hunk.after.push(rest.to_owned());
            }
            "-" if line.starts_with("--- ") && hunk.before.is_empty() => {}
            "-" => hunk.before.push(rest.to_owned()),
            "+" => hunk.after.push(rest.to_owned()),
            "\\" => {}
            _ => {
                let what = "a line of a hunk begins with a blank, - or +".to_owned();
                return Err(BadPatch::Diff { line: number, what });
            }
        }
    }
    if hunks.iter().all(|hunk| hunk.before == hunk.after) { Err(BadPatch::Empty) } else { Ok(hunks) }
}

/// Line numbers are not looked at: standing orders are short, and the lines around a change say where it goes.
fn patched(text: &str, hunks: &[Hunk]) -> Result<String, BadPatch> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let mut from = 0;
    for (hunk, number) in hunks.iter().zip(1..) {
        let fits = |at: usize| lines[at..].starts_with(&hunk.before);
        let at = (from..=lines.len()).find(|at| fits(*at)).or_else(|| (0..from).find(|at| fits(*at)));
        let no_fit = || BadPatch::NoFit { hunk: number, wants: hunk.before.join("\n") };
        let at = at.ok_or_else(no_fit)?;
        lines.splice(at..at + hunk.before.len(), hunk.after.iter().cloned());
        from = at + hunk.after.len();
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_patches_change_what_they_say() {
        let orders = "Be kind.\nLook orders up first.\nNever delete.";
        let diff = "--- a\n+++ b\n@@ -1,2 +1,2 @@\n Be kind.\n-Look orders up first.\n+Look orders up once.\n";
        let patched = Patch::parse(diff).unwrap().apply(orders).unwrap();
        assert_eq!(patched, "Be kind.\nLook orders up once.\nNever delete.");
        let words = "replace: [{find: kind, with: brief}]\nappend: Say goodbye.\n";
        let patched = Patch::parse(words).unwrap().apply(orders).unwrap();
        assert_eq!(patched, "Be brief.\nLook orders up first.\nNever delete.\nSay goodbye.");
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let no_fit = Patch::parse("@@ -1 +1 @@\n-Be rude.\n+Be kind.\n").unwrap().apply("Be kind.").unwrap_err();
        assert!(no_fit.to_string().contains("Be rude."), "{no_fit}");
        let no_text = Patch::parse("replace: [{find: rude, with: kind}]").unwrap().apply("Be kind.").unwrap_err();
        assert!(no_text.to_string().contains("rude"), "{no_text}");
        for bad in ["", "just words", "remove: x", "@@ -1 +1 @@\nx\n", "@@ -1 +1 @@\n same\n"] {
            assert!(Patch::parse(bad).is_err(), "{bad:?}");
        }
    }
}
