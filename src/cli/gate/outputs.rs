//! Where a verdict goes besides the exit code: the terminal, files, GitHub.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::super::{Misuse, arms, out};
use crate::gate::{GateReport, Verdict};
use crate::report;

/// A suite's name to its file.
type Files = BTreeMap<String, String>;

#[derive(Debug, Args)]
pub struct Outputs {
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Write Markdown, for a comment on a pull request
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print annotations for GitHub Actions and add to the summary of the step (GITHUB_STEP_SUMMARY)
    #[arg(long)]
    github: bool,
    /// The suite's own file, where annotations and SARIF then point. Once per suite
    #[arg(long, value_name = "FILE")]
    suite_file: Vec<PathBuf>,
}

impl Outputs {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Writes the files that were asked for.
    pub fn write(&self, report: &GateReport, files: &Files) -> anyhow::Result<()> {
        let put =
            |path: &Path, text: String| out::publish(path, |file| Ok(file.write_all(text.as_bytes())?)).map(|_| ());
        if let Some(path) = &self.junit {
            put(path, report::junit::gate(report))?;
        }
        if let Some(path) = &self.sarif {
            put(path, report::sarif::gate(report, files))?;
        }
        if let Some(path) = &self.markdown {
            put(path, report::markdown::gate(report))?;
        }
        match step_summary().filter(|_| self.github) {
            // The runner made this file, and other steps write to it too.
            Some(path) => add_to(&path, &report::github::summary(report)),
            None => Ok(()),
        }
    }

    /// Prints the verdict and, for GitHub, its annotations. Beside JSON these go to stderr, which the runner reads as well.
    pub fn print(&self, report: &GateReport, files: &Files, paint: out::Paint) -> anyhow::Result<()> {
        let annotations = if self.github { report::github::annotations(report, files) } else { String::new() };
        if self.json {
            eprint!("{annotations}");
            return out::text(report::json::gate(report));
        }
        let text = out::printable(&report::text::gate(report));
        let text = if self.github { tame(&text) } else { headline(&text, report.verdict, paint) };
        out::text(text + &annotations)
    }

    /// Which file each suite was read from, as far as it was said.
    pub fn files(&self) -> anyhow::Result<Files> {
        let mut files = Files::new();
        for path in &self.suite_file {
            let place = path.display();
            let suite: Value = crate::suite::yaml(&arms::text_of(path)?)
                .map_err(|error| Misuse(format!("--suite-file {place}: {error}")))?;
            let name =
                suite["suite"].as_str().ok_or_else(|| Misuse(format!("--suite-file {place}: no `suite:` in it")))?;
            files.insert(name.to_owned(), place.to_string());
        }
        Ok(files)
    }
}

fn step_summary() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read in cli")]
    std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn add_to(path: &Path, text: &str) -> anyhow::Result<()> {
    let doing = || format!("writing the step's summary to {}", path.display());
    let mut file = OpenOptions::new().create(true).append(true).open(path).with_context(doing)?;
    file.write_all(text.as_bytes()).with_context(doing)
}

/// The first word in its colour.
fn headline(text: &str, verdict: Verdict, paint: out::Paint) -> String {
    let Some((word, rest)) = text.split_once(':') else { return text.to_owned() };
    let word = match verdict {
        Verdict::Pass => paint.good(word),
        Verdict::Regress | Verdict::Invalid => paint.bad(word),
        Verdict::Undecided => paint.bold(word),
    };
    format!("{word}:{rest}")
}

/// Text in which GitHub's runner sees no command of its own: the names of suites and tasks are not ours.
fn tame(text: &str) -> String {
    let one = |line: &str| match line.trim_start().strip_prefix("::") {
        Some(rest) => format!(": :{rest}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(one).collect::<String>().replace("##[", "## [")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_can_not_give_the_runner_orders() {
        assert_eq!(tame("  ::error::x\nfine ::y\n##[error]z\n"), ": :error::x\nfine ::y\n## [error]z\n");
    }

    #[test]
    fn only_the_first_word_is_coloured() {
        assert_eq!(headline("Pass: a: b\n", Verdict::Pass, out::Paint(true)), "\u{1b}[32mPass\u{1b}[0m: a: b\n");
        assert_eq!(headline("Pass: a\n", Verdict::Pass, out::Paint(false)), "Pass: a\n");
    }
}
