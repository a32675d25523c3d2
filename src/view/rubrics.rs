//! Which rubrics there are to label by: those named at the start or lying in `rubrics/`, and those of a run's suite. They are read
//! when a page asks, so that a change of a word shows at once.

use std::path::{Path, PathBuf};

use super::View;
use crate::eval::cases::Beside;
use crate::store::log::Reader;
use crate::suite::{self, Rubric, load_rubric};

/// Rubrics that are looked at in one folder.
const MOST: usize = 100;

/// Those that were named, or lie where rubrics lie.
pub fn at_hand(view: &View) -> Vec<Rubric> {
    let named = &view.desk.rubrics;
    let lying = || {
        let entries = std::fs::read_dir(view.desk.folder.join("rubrics")).into_iter().flatten().filter_map(Result::ok);
        let yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(yaml).take(MOST).collect();
        files.sort();
        files
    };
    let files = if named.is_empty() { lying() } else { named.clone() };
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        load_rubric(&path.display().to_string(), &text).ok()
    };
    let mut found = Vec::new();
    files.iter().filter_map(read).for_each(|rubric| add(&mut found, rubric));
    found
}

/// Those that the suite of a run is judged by.
pub fn of_run(view: &View, reader: &Reader, run: &str) -> Vec<Rubric> {
    let request = reader.record("request", run).ok().flatten();
    let file = request.and_then(|request| Some(view.desk.folder.join(request.data["suite"].as_str()?)));
    let Some(file) = file.filter(|file| file.is_file()) else { return Vec::new() };
    let Ok(text) = std::fs::read_to_string(&file) else { return Vec::new() };
    let folder = file.parent().unwrap_or(Path::new("/"));
    let loaded = suite::load(&file.display().to_string(), &text, &Beside(folder));
    loaded.map(|loaded| loaded.rubrics.into_values().collect()).unwrap_or_default()
}

/// Both, one of each name; the suite's own go first.
pub fn for_run(view: &View, reader: &Reader, run: &str) -> Vec<Rubric> {
    let mut found = of_run(view, reader, run);
    at_hand(view).into_iter().for_each(|rubric| add(&mut found, rubric));
    found
}

/// Adds a rubric whose name is not there yet.
pub fn add(found: &mut Vec<Rubric>, rubric: Rubric) {
    if !found.iter().any(|known| known.rubric == rubric.rubric) {
        found.push(rubric);
    }
}
