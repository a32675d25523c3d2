//! `holdback import suite`: a suite from another tool's tasks, with a list of what could not be carried over.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Exit, Global, Misuse, out, suite_file};
use crate::eval::{Translated, from_harbor, from_promptfoo};

#[derive(Debug, Args)]
#[command(
    after_help = "Reads promptfoo configurations (a YAML or JSON file) and Harbor tasks (a folder with task.toml, or a folder of such \
                  folders). What could not be carried over is listed on stderr and at the top of the suite.\n\nExamples:\n  \
                  holdback import suite promptfooconfig.yaml\n  \
                  holdback import suite harbor-tasks/ --loop 'my-agent \"{{prompt}}\"' -o suites/harbor.yaml"
)]
pub struct ImportSuite {
    /// A promptfoo configuration, or a folder of Harbor tasks
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,
    /// The suite to write [default: suites/NAME.yaml]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The command that runs the loop, for Harbor tasks
    #[arg(long = "loop", value_name = "COMMAND")]
    command: Option<String>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Translates and writes.
pub fn run(_: &Global, args: &ImportSuite) -> anyhow::Result<Exit> {
    let from = &args.from;
    let wrong = |why: String| Misuse(format!("{}: {why}", from.display()));
    let whole = from.canonicalize().map_err(|error| wrong(error.to_string()))?;
    let name = named(&whole);
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from("suites").join(format!("{name}.yaml")));
    if output.exists() && !args.force {
        return Err(Misuse(format!("{} is there already: name another file, or say --force", output.display())).into());
    }
    let Translated { suite, left } = match whole.is_dir() {
        true => {
            let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::create_dir_all(dir).map_err(|error| Misuse(format!("{}: {error}", dir.display())))?;
            let tasks = relative(&whole, &dir.canonicalize()?);
            from_harbor(&name, &tasks, args.command.as_deref(), &suite_file::Beside(dir)).map_err(wrong)?
        }
        false => from_promptfoo(&name, &super::arms::text_of(from)?).map_err(wrong)?,
    };
    let mut text = String::from("# yaml-language-server: $schema=./suite.schema.json\n");
    if !left.is_empty() {
        text.push_str("#\n# Not carried over:\n");
        left.iter().for_each(|what| text.push_str(&format!("# - {}\n", what.replace('\n', " "))));
    }
    text.push_str(&suite);
    out::publish(&output, |file| Ok(file.write_all(text.as_bytes())?))?;
    let schema = output.parent().unwrap_or(Path::new(".")).join("suite.schema.json");
    out::publish(&schema, |file| Ok(file.write_all(super::init::SCHEMA.as_bytes())?))?;
    // Whatever another tool's file says, what is written must be a suite.
    let opened = suite_file::open_quietly(&output)?;
    let tasks = opened.loaded.suite.tasks.len();
    if args.json {
        out::json(&json!({"suite": opened.loaded.suite.suite, "file": output, "tasks": tasks, "not_carried": left}))?;
        return Ok(Exit::Pass);
    }
    for what in &left {
        eprintln!("not carried over: {}", out::printable(what));
    }
    eprintln!(
        "wrote {} ({tasks} tasks; read it, then: holdback eval {} --dry-run)",
        output.display(),
        output.display()
    );
    Ok(Exit::Pass)
}

/// A name from a file's or folder's: promptfoo's usual file says nothing, its folder does.
fn named(from: &Path) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let own = stem(from).filter(|name| name != "promptfooconfig");
    let name = own.or_else(|| from.parent().and_then(stem)).unwrap_or_else(|| "imported".to_owned());
    name.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect()
}

/// The way from one folder to another, both of them whole.
fn relative(to: &Path, from: &Path) -> String {
    let shared = to.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..".to_owned());
    let down = to.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_and_names() {
        let way = |to: &str, from: &str| relative(Path::new(to), Path::new(from));
        assert_eq!(way("/a/tasks", "/a/suites"), "../tasks");
        assert_eq!(way("/a/b", "/a"), "b");
        assert_eq!(way("/a", "/a"), ".");
        assert_eq!(named(Path::new("/x/my shop/promptfooconfig.yaml")), "my-shop");
        assert_eq!(named(Path::new("/x/tasks")), "tasks");
    }
}
