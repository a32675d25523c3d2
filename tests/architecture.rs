//! Holds the house: which room may use which, where outside crates live, and that ARCHITECTURE.md lists exactly these
//! rooms. The table below is the law; ARCHITECTURE.md draws it for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Rooms by floor, lowest first. A room uses lower floors only, and what `SAME_FLOOR` adds.
const FLOORS: &[&[&str]] = &[
    &["trace", "suite", "trial"],
    &[
        "context", "redact", "price", "provider", "import", "replay", "signal", "grade", "stats", "gate", "promote",
        "report",
    ],
    &["capture", "store"],
    &["eval", "view"],
    &["cli"],
];

/// Arrows inside a floor: all of them.
const SAME_FLOOR: &[(&str, &[&str])] = &[
    ("trial", &["trace", "suite"]),
    ("import", &["provider"]),
    ("replay", &["provider"]),
    ("signal", &["provider"]),
    ("grade", &["signal", "replay"]),
    ("gate", &["stats"]),
    ("promote", &["signal", "replay", "grade", "provider"]),
    ("report", &["gate", "stats", "replay"]),
    ("view", &["eval"]),
];

/// Any room of floor 1 may use these, and these use none of each other.
const COMMON: &[&str] = &["context", "redact", "price"];

/// Outside crates that have a home, and the rooms they may be named in.
const HOMES: &[(&str, &[&str])] = &[
    ("duckdb", &["store"]),
    ("hyper", &["capture", "view"]),
    ("hyper_util", &["capture", "view"]),
    ("axum", &["capture", "view"]),
    ("reqwest", &["capture"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("anyhow", &["cli"]),
    ("miette", &["cli"]),
    ("indicatif", &["cli"]),
    ("tokio", &["capture", "store", "eval", "view", "cli"]),
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn may_use(from: &str, to: &str) -> bool {
    let same_floor = || SAME_FLOOR.iter().any(|(room, others)| *room == from && others.contains(&to));
    match (floor(from), floor(to)) {
        _ if from == to => true,
        (Some(above), Some(below)) if below < above => true,
        (Some(1), Some(1)) if COMMON.contains(&to) && !COMMON.contains(&from) => true,
        (Some(a), Some(b)) if a == b => same_floor(),
        _ => false,
    }
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Every source file with the room it is in (`None` for lib.rs and main.rs) and its tokens.
fn files() -> Vec<(PathBuf, Option<String>, TokenStream)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&src).expect("below src");
            let first = inside.components().next().expect("has a name").as_os_str().to_string_lossy().into_owned();
            let room = match first.strip_suffix(".rs") {
                Some("lib" | "main") => None,
                Some(name) => Some(name.to_owned()),
                None => Some(first),
            };
            let tokens = fs::read_to_string(&path).expect("readable").parse().expect("parses");
            (path, room, tokens)
        })
        .collect()
}

/// Calls `found(first, second)` for every path `first::second…` in the tokens, inside macros and attributes too.
/// A `use` group gives one call per member.
fn paths(tokens: TokenStream, found: &mut dyn FnMut(&str, &str)) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let colon = |index: usize| matches!(tokens.get(index), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => paths(group.stream(), found),
            TokenTree::Ident(first) if colon(index + 1) && colon(index + 2) => {
                let continues = index >= 2 && colon(index - 1) && colon(index - 2);
                if continues {
                    continue;
                }
                match tokens.get(index + 3) {
                    Some(TokenTree::Ident(second)) => found(&first.to_string(), &second.to_string()),
                    Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                        for member in members(group.stream()) {
                            found(&first.to_string(), &member);
                        }
                    }
                    _ => found(&first.to_string(), ""),
                }
            }
            _ => {}
        }
    }
}

/// The first names of a `use` group's members: `{a::b, c as d}` gives a, c.
fn members(group: TokenStream) -> Vec<String> {
    let mut at_start = true;
    let mut names = Vec::new();
    for token in group {
        match token {
            TokenTree::Punct(p) if p.as_char() == ',' => at_start = true,
            TokenTree::Ident(name) if at_start => {
                names.push(name.to_string());
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn rooms_use_only_what_the_house_allows() {
    let mut wrong = Vec::new();
    for (path, room, tokens) in files() {
        let Some(room) = room else { continue };
        assert!(floor(&room).is_some(), "{}: room {room:?} is on no floor: add it to the table", path.display());
        paths(tokens, &mut |first, second| {
            if first == "crate" && floor(second).is_some() && !may_use(&room, second) {
                wrong.push(format!("{}: {room} may not use {second}", path.display()));
            }
        });
    }
    assert!(wrong.is_empty(), "arrows against the house:\n{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_home() {
    let mut wrong = BTreeSet::new();
    for (path, room, tokens) in files() {
        let Some(room) = room else { continue };
        paths(tokens, &mut |first, _| {
            if let Some((name, homes)) = HOMES.iter().find(|(name, _)| *name == first)
                && !homes.contains(&room.as_str())
            {
                wrong.insert(format!("{}: {name} lives in {homes:?}", path.display()));
            }
        });
    }
    assert!(wrong.is_empty(), "outside crates away from home:\n{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn children_are_started_in_one_file() {
    let mut wrong = Vec::new();
    for (path, _, tokens) in files() {
        let home = path.ends_with("capture/child.rs");
        paths(tokens, &mut |first, second| {
            if !home && first == "Command" && second == "new" {
                wrong.push(path.display().to_string());
            }
        });
    }
    assert!(wrong.is_empty(), "std::process::Command outside capture/child.rs: {wrong:?}");
}

#[test]
fn architecture_md_lists_exactly_the_rooms_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rooms: BTreeSet<String> = files().into_iter().filter_map(|(_, room, _)| room).collect();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    // A room's line in the floor plan starts with two spaces, its name and a slash.
    let listed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("/ "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase()))
        .collect();
    assert_eq!(listed, rooms, "left: ARCHITECTURE.md's floor plan, right: src/");
    assert!(text.lines().count() <= 150, "ARCHITECTURE.md has more than 150 lines");
    let modules = fs::read_to_string(root.join("src/lib.rs")).expect("lib.rs is there");
    for room in &rooms {
        assert!(modules.contains(&format!("pub mod {room};")), "lib.rs doesn't open room {room}");
    }
}

#[test]
fn the_table_itself_has_no_circle() {
    let mut arrows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let rooms: Vec<&str> = FLOORS.iter().flat_map(|rooms| rooms.iter().copied()).collect();
    for from in &rooms {
        arrows.insert(from, rooms.iter().copied().filter(|to| to != from && may_use(from, to)).collect());
    }
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < rooms.len() {
        let free: Vec<&str> = rooms
            .iter()
            .copied()
            .filter(|room| !done.contains(room) && arrows[room].iter().all(|to| done.contains(to)))
            .collect();
        assert!(!free.is_empty(), "a circle among the rooms: {:?}", rooms.iter().filter(|r| !done.contains(*r)));
        done.extend(free);
    }
}
