//! The one place that writes to stdout. A reader that goes away (`| head`) ends the program quietly.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// stdout was closed by its reader: not an error of ours, and nobody is left to tell.
#[derive(Debug, thiserror::Error)]
#[error("stdout was closed")]
pub struct ReaderGone;

/// Writes one text to stdout.
///
/// # Errors
/// [`ReaderGone`] when nobody reads any more; the I/O error otherwise (a full disk behind `>`).
pub fn text(text: impl AsRef<str>) -> anyhow::Result<()> {
    bytes(text.as_ref().as_bytes())
}

/// Writes raw bytes to stdout.
///
/// # Errors
/// As [`text`].
pub fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        Err(error) => Err(anyhow::Error::new(error).context("writing to stdout")),
        Ok(()) => Ok(()),
    }
}

/// Writes one JSON document, pretty for people on a terminal, in one line for programs.
///
/// # Errors
/// As [`text`].
pub fn json(document: &impl Serialize) -> anyhow::Result<()> {
    let mut written =
        if io::stdout().is_terminal() { serde_json::to_vec_pretty(document)? } else { serde_json::to_vec(document)? };
    written.push(b'\n');
    bytes(&written)
}

/// A table of ours: headings in capitals.
pub fn table(header: &[&str]) -> Table {
    let header: Vec<String> = header.iter().map(|name| name.to_uppercase()).collect();
    plain_table(&header.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A table without lines between rows, as wide as the terminal at most; unbounded when it isn't one.
pub fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(if io::stdout().is_terminal() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    table.set_header(header.to_vec());
    table
}

/// Prints a table, without trailing blanks.
///
/// # Errors
/// As [`text`].
pub fn print_table(table: &Table) -> anyhow::Result<()> {
    text(table_text(table))
}

/// A table as text, without trailing blanks.
pub fn table_text(table: &Table) -> String {
    let mut lines = String::new();
    for line in table.to_string().lines() {
        lines.push_str(line.strip_prefix(' ').unwrap_or(line).trim_end());
        lines.push('\n');
    }
    lines
}

/// Writes a file whole or not at all: beside its place first, then moved there. Says how big it became.
///
/// # Errors
/// When it can't be written; what stood there before still does.
pub fn publish(path: &Path, write: impl FnOnce(&mut fs::File) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let doing = || format!("writing {}", path.display());
    fs::create_dir_all(folder).with_context(doing)?;
    let mut part = tempfile::NamedTempFile::new_in(folder).with_context(doing)?;
    write(part.as_file_mut())?;
    let size = part.as_file().metadata().with_context(doing)?.len();
    part.persist(path).map_err(|error| error.error).with_context(doing)?;
    Ok(size)
}

/// A progress bar on stderr: shown on a terminal only, and only for work longer than a second or so.
pub fn progress(total: Option<u64>, what: &str) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::no_length(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
    let template = if total.is_some() { "{msg} {wide_bar} {pos}/{len} {eta}" } else { "{msg} {spinner} {pos}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

/// Colours, when stdout is a terminal and nobody asked for none.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub fn name(self, text: &str) -> String {
        self.with("36", text)
    }
}

/// `1.2 MB`: three digits at most.
pub fn size(bytes: u64) -> String {
    scaled(bytes, &["B", "kB", "MB", "GB", "TB"])
}

/// `12.3k`: counts of tokens and the like.
pub fn count(number: u64) -> String {
    scaled(number, &["", "k", "M", "G", "T"]).replace(' ', "")
}

#[allow(clippy::cast_precision_loss)] // three digits are shown
fn scaled(number: u64, units: &[&str]) -> String {
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let shown = match unit {
        0 => number.to_string(),
        _ if value < 9.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    format!("{shown} {}", units[unit])
}

/// `1.23 s`, `45 ms`, `3 m 07 s`.
#[allow(clippy::cast_precision_loss)] // three digits are shown
pub fn duration(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.2} s", micros as f64 / 1e6),
        _ => format!("{} m {:02} s", micros / 60_000_000, micros / 1_000_000 % 60),
    }
}

/// `$0.0123`: cents and below matter here. A dash when there is no price.
pub fn dollars(cost: Option<f64>) -> String {
    match cost {
        None => "-".to_owned(),
        Some(cost) if cost >= 100.0 => format!("${cost:.0}"),
        Some(cost) if cost >= 1.0 => format!("${cost:.2}"),
        Some(cost) => format!("${cost:.4}"),
    }
}

/// Text from outside made safe for a terminal: control characters are shown, not obeyed.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '\n' | '\t' => vec![c],
            c if c.is_control() => c.escape_default().collect(),
            // bidirectional overrides can make a line read as something else
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => c.escape_default().collect(),
            c => vec![c],
        })
        .collect()
}

/// The first `most` characters of the first line, with an ellipsis when something is left out.
pub fn shorten(text: &str, most: usize) -> String {
    let line = text.trim().lines().next().unwrap_or("");
    let cut: String = line.chars().take(most).collect();
    if cut.len() < text.trim().len() { format!("{}…", cut.trim_end()) } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_counts_and_times_are_short() {
        let sizes = [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (9_960, "10 kB"), (999_600, "1.0 MB")];
        for (bytes, expected) in sizes {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
        assert_eq!(count(12_345), "12k");
        for (micros, expected) in [(12, "12 us"), (45_000, "45 ms"), (1_234_000, "1.23 s"), (187_000_000, "3 m 07 s")] {
            assert_eq!(duration(micros), expected);
        }
        assert_eq!(dollars(None), "-");
        assert_eq!(dollars(Some(0.012_34)), "$0.0123");
    }

    #[test]
    fn what_came_from_outside_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\nc");
        assert_eq!(printable("\u{202e}txt"), "\\u{202e}txt");
        assert_eq!(shorten("one two\nthree", 20), "one two…");
        assert_eq!(shorten("abcdef", 3), "abc…");
        assert_eq!(shorten("abc", 3), "abc");
    }
}
