//! The files the loop left are the right ones.

use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

use super::text::{TextCheck, Texts, file, fixture};
use super::{Change, Config, ConfigError, Evidence, FileSeen, Graded, Grader, Need, clip};
use crate::trial::Grade;

/// The files the loop left are the right ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    /// Files that must be there; names may hold `*` and `**`.
    #[serde(default)]
    exists: Texts,
    /// Files that must not be there.
    #[serde(default)]
    absent: Texts,
    /// Files that must be as they were.
    #[serde(default)]
    unchanged: Texts,
    /// Only files of these names may have been added, changed or deleted.
    #[serde(default)]
    only: Texts,
    /// What stands in files.
    #[serde(default)]
    content: Vec<Content>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Content {
    path: String,
    /// A file beside the suite that it must equal, but for line ends and white space at its end.
    #[serde(default)]
    same_as: Option<String>,
    #[serde(default)]
    equals: Option<String>,
    #[serde(default)]
    contains: Texts,
    #[serde(default)]
    lacks: Texts,
    #[serde(default)]
    regex: Option<String>,
}

impl Content {
    fn check(&self) -> TextCheck {
        TextCheck {
            equals: self.equals.clone(),
            contains: self.contains.clone(),
            lacks: self.lacks.clone(),
            regex: self.regex.clone(),
        }
    }
}

#[derive(Debug)]
struct Compiled {
    config: Files,
    exists: Vec<(String, GlobSet)>,
    absent: GlobSet,
    unchanged: GlobSet,
    only: GlobSet,
}

impl Config for Files {
    const NAME: &'static str = "files";
    const ABOUT: &'static str =
        "The files the loop left behind exist, hold what they should, and others are untouched.";
    const EXAMPLE: &'static str =
        "{type: files, exists: [report.md], unchanged: [\"tests/**\"], content: [{path: report.md, contains: Total}]}";

    fn build(self) -> Result<Box<dyn Grader>, ConfigError> {
        for (index, content) in self.content.iter().enumerate() {
            let outer = || ["content".into(), index.into()];
            content.check().check().map_err(|error| error.within(outer()))?;
            if content.path.starts_with('/') || content.path.split('/').any(|part| part == "..") {
                return Err(ConfigError::at("path", "a path starts at the workspace and stays in it").within(outer()));
            }
        }
        let exists = self.exists.0.iter().map(|glob| Ok((glob.clone(), globs("exists", std::slice::from_ref(glob))?)));
        Ok(Box::new(Compiled {
            exists: exists.collect::<Result<_, ConfigError>>()?,
            absent: globs("absent", &self.absent.0)?,
            unchanged: globs("unchanged", &self.unchanged.0)?,
            only: globs("only", &self.only.0)?,
            config: self,
        }))
    }
}

fn globs(key: &str, names: &[String]) -> Result<GlobSet, ConfigError> {
    let mut builder = GlobSetBuilder::new();
    for name in names {
        builder.add(Glob::new(name).map_err(|error| ConfigError::at(key, error.to_string()))?);
    }
    builder.build().map_err(|error| ConfigError::at(key, error.to_string()))
}

impl Grader for Compiled {
    fn needs(&self, _: &Evidence) -> Vec<Need> {
        let file = |content: &Content| Need::File { path: content.path.clone() };
        let fixture = |content: &Content| content.same_as.as_ref().map(|path| Need::Fixture { path: path.clone() });
        let contents = &self.config.content;
        contents.iter().map(file).chain(contents.iter().filter_map(fixture)).collect()
    }

    fn grade(&self, evidence: &Evidence) -> Graded {
        let there = |file: &&FileSeen| file.change != Change::Deleted;
        let changed = |file: &&FileSeen| file.change != Change::Same;
        let mut faults = Vec::new();
        for (name, glob) in &self.exists {
            if !evidence.files.iter().filter(there).any(|file| glob.is_match(&file.path)) {
                faults.push(format!("there is no file {name}"));
            }
        }
        for file in evidence.files.iter().filter(there).filter(|file| self.absent.is_match(&file.path)) {
            faults.push(format!("{} should not be there", file.path));
        }
        for file in evidence.files.iter().filter(changed) {
            let touched = match file.change {
                Change::Added => "added",
                Change::Deleted => "deleted",
                Change::Modified | Change::Same => "changed",
            };
            if self.unchanged.is_match(&file.path) || !self.config.only.0.is_empty() && !self.only.is_match(&file.path)
            {
                faults.push(format!("{} was {touched}", file.path));
            }
        }
        for content in &self.config.content {
            match look(content, evidence) {
                Ok(found) => faults.extend(found),
                Err(Graded { grade: Grade::Scored { .. }, reasons }) => faults.extend(reasons),
                Err(graded) => return graded,
            }
        }
        let config = &self.config;
        let checks = config.exists.0.len() + config.absent.0.len() + config.unchanged.0.len() + config.content.len();
        Graded::faults(faults, checks + usize::from(!config.only.0.is_empty()))
    }
}

fn look(content: &Content, evidence: &Evidence) -> Result<Vec<String>, Graded> {
    let text = file(&content.path, evidence)?;
    let mut faults = content.check().faults(&content.path, &text);
    if let Some(other) = &content.same_as {
        let (want, got) = (plain(fixture(other, evidence)?), plain(&text));
        if let Some(at) = (0..want.len().max(got.len())).find(|at| want.get(*at) != got.get(*at)) {
            let line = |lines: &[&str]| {
                lines.get(at).map_or_else(|| "nothing more".to_owned(), |line| format!("{:?}", clip(line)))
            };
            faults.push(format!(
                "{} differs from {other} in line {}: {} instead of {}",
                content.path,
                at + 1,
                line(&got),
                line(&want)
            ));
        }
    }
    Ok(faults)
}

fn plain(text: &str) -> Vec<&str> {
    text.trim_end().lines().map(str::trim_end).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test::grade;
    use super::*;
    use crate::grade::Got;

    fn evidence() -> Evidence {
        let seen = |path: &str, change, text: Option<&str>| FileSeen {
            path: path.to_owned(),
            len: 1,
            change,
            text: text.map(ToOwned::to_owned),
            diff: None,
        };
        let mut evidence = Evidence::new("t", "");
        evidence.files = vec![
            seen("report.md", Change::Added, Some("# Report\r\nTotal: 3\n")),
            seen("src/a.py", Change::Modified, Some("x = 1\n")),
            seen("tests/t.py", Change::Same, None),
            seen("old.txt", Change::Deleted, None),
        ];
        let need = |path: &str| Need::Fixture { path: path.to_owned() };
        evidence.got = vec![
            (need("want.md"), Got::Text { text: "# Report\nTotal: 3".to_owned() }),
            (need("other.md"), Got::Text { text: "# Report\nTotal: 4\n".to_owned() }),
            (Need::File { path: "gone.md".to_owned() }, Got::Missing),
        ];
        evidence
    }

    #[test]
    fn files_are_held_against_what_is_asked() {
        for (config, pass, reason) in [
            (json!({"exists": ["report.md", "src/*.py"]}), Some(true), ""),
            (json!({"exists": ["old.txt"]}), Some(false), "there is no file old.txt"),
            (json!({"absent": "*.md"}), Some(false), "report.md should not be there"),
            (json!({"unchanged": ["tests/**"]}), Some(true), ""),
            (json!({"unchanged": ["src/**"]}), Some(false), "src/a.py was changed"),
            (json!({"only": ["report.md", "src/**"]}), Some(false), "old.txt was deleted"),
            (json!({"content": [{"path": "report.md", "contains": "Total"}]}), Some(true), ""),
            (json!({"content": [{"path": "report.md", "same_as": "want.md"}]}), Some(true), ""),
            (
                json!({"content": [{"path": "report.md", "same_as": "other.md"}]}),
                Some(false),
                "in line 2: \"Total: 3\" instead of \"Total: 4\"",
            ),
            (json!({"content": [{"path": "gone.md", "contains": "x"}]}), Some(false), "there is no file gone.md"),
            (json!({"content": [{"path": "tests/t.py", "contains": "x"}]}), None, ""),
        ] {
            let mut spec = config.clone();
            spec["type"] = json!("files");
            let record = grade(spec, &evidence());
            assert_eq!(record.grade.pass(), pass, "{config} {:?}", record.reasons);
            let reasons = record.reasons.join("; ");
            assert!(reasons.contains(reason), "{config} {reasons}");
        }
    }

    #[test]
    fn paths_stay_in_the_workspace() {
        for path in ["/etc/passwd", "../x", "a/../../b"] {
            let spec = crate::suite::GraderSpec(json!({"type": "files", "content": [{"path": path}]}));
            assert!(super::super::Bound::compile(&spec, &Default::default()).is_err(), "{path}");
        }
    }
}
