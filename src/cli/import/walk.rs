//! The files below what was named, in jobs: files that belong together go one after the other, everything else at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// Whether the user named this very file.
    pub named: bool,
}

/// Folders nobody keeps traces in.
const NOT_HERE: &[&str] = &[".git", "node_modules", "target", "__pycache__", ".venv"];
/// Folders in folders, at most.
const DEEPEST: usize = 64;

/// Jobs, and what was named but isn't there.
pub fn jobs(paths: &[PathBuf], store: &Path) -> (Vec<Vec<Found>>, Vec<(String, String)>) {
    let mut missing = Vec::new();
    let mut found = Vec::new();
    let store = store.canonicalize().unwrap_or_else(|_| store.to_owned());
    for path in paths {
        match path.metadata() {
            Ok(about) if about.is_dir() => below(path, &store, 0, &mut found),
            Ok(_) => found.push(Found { path: path.clone(), named: true }),
            Err(error) => missing.push((path.display().to_string(), error.to_string())),
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    let mut jobs: BTreeMap<PathBuf, Vec<Found>> = BTreeMap::new();
    for file in found {
        jobs.entry(together(&file.path)).or_default().push(file);
    }
    let mut jobs: Vec<Vec<Found>> = jobs.into_values().collect();
    // A session's own file before those of its sub-agents: they lie deeper, or have a longer ending.
    let order = |file: &Found| {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (begin, ending) = name.split_once('.').unwrap_or((&name, ""));
        (file.path.components().count(), begin.to_owned(), ending.len(), file.path.clone())
    };
    jobs.iter_mut().for_each(|job| job.sort_by_cached_key(order));
    (jobs, missing)
}

/// What files that belong together have in common.
fn together(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if parent.file_name().is_some_and(|folder| folder == "subagents") {
        return parent.parent().unwrap_or(parent).to_owned();
    }
    if ["v1_traces", "v1_logs", "v1_metrics"].iter().any(|word| name.contains(word)) {
        return parent.to_owned();
    }
    parent.join(name.split('.').next().unwrap_or(&name))
}

/// Files below a folder. Links are not followed: they lead out of it, or round in a circle.
fn below(folder: &Path, store: &Path, depth: usize, found: &mut Vec<Found>) {
    let is_store = folder.canonicalize().is_ok_and(|folder| folder == store);
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if is_store || depth > DEEPEST || (depth > 0 && NOT_HERE.contains(&name.as_str())) {
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            below(&entry.path(), store, depth + 1, found);
        } else if kind.is_file() {
            found.push(Found { path: entry.path(), named: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_belong_together_are_one_job_and_links_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        for name in
            ["s1/subagents/agent-b.jsonl", "s1.jsonl", "s2.jsonl", ".git/x", "o/1-v1_traces.json", "o/2-v1_logs.pb"]
        {
            put(name);
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("round")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out.jsonl")).unwrap();
        let (jobs, missing) = jobs(&[dir.path().to_owned(), "/nowhere/x".into()], Path::new("/store"));
        let names: Vec<Vec<String>> = jobs
            .iter()
            .map(|job| {
                job.iter().map(|file| file.path.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
            })
            .collect();
        assert_eq!(
            names,
            [
                vec!["o/1-v1_traces.json", "o/2-v1_logs.pb"],
                vec!["s1.jsonl", "s1/subagents/agent-b.jsonl"],
                vec!["s2.jsonl"]
            ]
        );
        assert_eq!(missing.len(), 1);
    }
}
