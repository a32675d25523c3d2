//! The book in docs/: its table of contents has every page, its links lead somewhere, and the references are what the schemas
//! say. `HOLDBACK_WRITE_DOCS=1 cargo test --test docs` writes them anew.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn pages() -> BTreeSet<String> {
    let names = std::fs::read_dir(docs()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".md")).collect()
}

/// What Markdown links to, without what stands behind `#`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter_map(|link| link.split('#').next())
}

#[test]
fn every_page_is_in_the_table_of_contents_and_every_link_leads_somewhere() {
    let contents = std::fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<String> = links(&contents).map(str::to_owned).collect();
    let mut there = pages();
    there.remove("SUMMARY.md");
    assert_eq!(listed, there, "left: docs/SUMMARY.md, right: docs/");
    for page in pages() {
        let text = std::fs::read_to_string(docs().join(&page)).unwrap();
        for link in links(&text).filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(docs().join(link).exists(), "docs/{page} links to {link}, which is not there");
        }
    }
}

/// A schema's type in words.
fn kind(schema: &Value) -> String {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap_or("null")))
            .collect::<Vec<_>>()
            .join(", ");
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(all) = schema[several].as_array() {
            let kinds: BTreeSet<String> = all.iter().map(kind).filter(|kind| kind != "null").collect();
            return kinds.into_iter().collect::<Vec<_>>().join(" or ");
        }
    }
    let one = |name: &str| match name {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("names to {}", kind(&schema["additionalProperties"]))
        }
        "object" => "map".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "whole number".to_owned(),
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .map(one)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "anything".to_owned(),
    }
}

fn line(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// A table of an object's members.
fn members(out: &mut String, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    out.push_str("\n| Key | What it takes | |\n|---|---|---|\n");
    for (name, member) in properties {
        let mut about = line(member["description"].as_str().unwrap_or(""));
        let default = &member["default"];
        if !default.is_null()
            && !default.as_array().is_some_and(Vec::is_empty)
            && !default.as_object().is_some_and(serde_json::Map::is_empty)
        {
            let _ = write!(about, " Default: `{}`.", line(&default.to_string()));
        }
        if required.contains(name.as_str()) {
            about.push_str(" **Needed.**");
        }
        let _ = writeln!(out, "| `{name}` | {} | {} |", kind(member), about.trim());
    }
}

/// What is listed: its name in the files' names, its title, and the page that explains it.
const REFERENCES: [(&str, &str, &str); 4] = [
    ("suite", "Suite", "eval.md"),
    ("rubric", "Rubric", "rubrics.md"),
    ("policy", "Policy", "gate.md"),
    ("watch", "Watch", "rubrics.md"),
];

fn reference((file, title, page): (&str, &str, &str)) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{file}.schema.json"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let several = match title {
        "Policy" => "Policies of the gate".to_owned(),
        "Watch" => "Rules of a watch".to_owned(),
        title => format!("{title}s"),
    };
    let mut out = format!(
        "# {several}: every key\n\nMade from `schemas/{file}.schema.json` by a test; [{page}]({page}) explains, this page lists.\n\n## {title}\n",
    );
    members(&mut out, &schema);
    for (name, part) in schema["$defs"].as_object().into_iter().flatten() {
        let _ = write!(out, "\n## {name}\n");
        if let Some(about) = part["description"].as_str() {
            let _ = write!(out, "\n{}\n", line(about));
        }
        members(&mut out, part);
        for choice in part["oneOf"].as_array().into_iter().flatten() {
            if let Some(word) = choice["properties"]["type"]["const"].as_str() {
                let _ = write!(out, "\n### {word}\n\n{}\n", line(choice["description"].as_str().unwrap_or("")));
                members(&mut out, choice);
            } else if let Some(about) = choice["description"].as_str() {
                let _ = write!(out, "\n- {}: {}", kind(choice), line(about));
            } else {
                let _ = write!(out, "\n- {}", kind(choice));
            }
        }
        if part["oneOf"].is_array() && !out.ends_with('\n') {
            out.push('\n');
        } else if part["properties"].is_null() && part["oneOf"].is_null() {
            let _ = write!(out, "\n{}\n", kind(part));
        }
    }
    out
}

#[test]
fn the_references_are_what_the_schemas_say() {
    for one in REFERENCES {
        let (name, text) = (format!("{}-reference.md", one.0), reference(one));
        let path = docs().join(&name);
        if std::env::var_os("HOLDBACK_WRITE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == text,
            "docs/{name} is not what the schema says: HOLDBACK_WRITE_DOCS=1 cargo test --test docs"
        );
    }
}

/// Every command with what it says of itself, and its help.
fn commands() -> String {
    let help = |args: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_holdback"))
            .args(args)
            .env("COLUMNS", "110")
            .env_remove("HOLDBACK_STORE")
            .output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    let all = help(&["--help"]);
    let listed = all.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
    let mut out = String::from(
        "# Every command\n\nMade from `holdback --help` by a test; `holdback COMMAND --help` says more, with examples.\n\n| Command | |\n|---|---|\n",
    );
    let mut rows: Vec<(String, String)> = Vec::new();
    for text in listed.lines() {
        let name = text.trim_start().split(' ').next().unwrap().to_owned();
        // A long line goes on below, further to the right.
        if text.starts_with("    ") || name.is_empty() {
            if let Some(last) = rows.last_mut() {
                last.1 = format!("{} {}", last.1, text.trim());
            }
        } else if name != "help" {
            rows.push((name.clone(), text.trim_start()[name.len()..].trim().to_owned()));
        }
    }
    for (name, about) in rows {
        let _ = writeln!(out, "| `{name}` | {} |", line(&about));
    }
    out
}

#[test]
fn the_page_of_commands_has_them_all() {
    let (path, text) = (docs().join("commands.md"), commands());
    if std::env::var_os("HOLDBACK_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/commands.md is not what `holdback --help` says: HOLDBACK_WRITE_DOCS=1 cargo test --test docs"
    );
}
