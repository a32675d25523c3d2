//! A folder of its own for every trial, and what became of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::grade::{Change, FileSeen};
use crate::suite::hash_hex;

/// Files of a workspace that are looked at; more is a dependency folder nobody grades.
const MOST_FILES: usize = 20_000;
/// Text kept of one changed file, and of all of a trial.
const MOST_TEXT: u64 = 64 << 10;
const MOST_TEXTS: u64 = 1 << 20;

/// A folder that one trial works in.
#[derive(Debug)]
pub struct Workspace {
    /// The trial's own folder; everything below goes with it.
    pub home: PathBuf,
    /// Where the loop runs.
    pub dir: PathBuf,
    pub tmp: PathBuf,
    fixture: Option<PathBuf>,
    before: BTreeMap<String, Stamp>,
}

/// What tells cheaply whether a file has been written to since.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<std::time::SystemTime>,
    link: bool,
}

impl Workspace {
    /// Makes the folder of a trial under `root`, with a copy of the fixture in it. What a killed run left there goes first.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn make(root: &Path, trial: &str, fixture: Option<&Path>) -> io::Result<Workspace> {
        let home = root.join(trial);
        if home.exists() {
            std::fs::remove_dir_all(&home)?;
        }
        let (dir, tmp) = (home.join("workspace"), home.join("tmp"));
        std::fs::create_dir_all(&dir)?;
        std::fs::create_dir_all(&tmp)?;
        std::fs::create_dir_all(home.join("home"))?;
        if let Some(fixture) = fixture {
            copy(fixture, &dir)?;
        }
        let before = stamps(&dir)?;
        Ok(Workspace { home, dir, tmp, fixture: fixture.map(Path::to_owned), before })
    }

    /// A folder that someone works in already, held against the fixture it began with.
    ///
    /// # Errors
    /// When one of them can't be read.
    pub fn at(dir: &Path, fixture: Option<&Path>) -> io::Result<Workspace> {
        let mut before = fixture.map(stamps).transpose()?.unwrap_or_default();
        for stamp in before.values_mut() {
            // A copy is always younger than its fixture, so contents decide.
            stamp.modified = None;
        }
        let (home, tmp) = (dir.to_owned(), dir.to_owned());
        Ok(Workspace { home, dir: dir.to_owned(), tmp, fixture: fixture.map(Path::to_owned), before })
    }

    /// What the trial left, each file with what became of it; texts of changed files as far as they are small.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn look(&self) -> io::Result<Vec<FileSeen>> {
        let after = stamps(&self.dir)?;
        let mut files = Vec::new();
        let mut room = MOST_TEXTS;
        for (path, stamp) in &after {
            let change = match self.before.get(path) {
                None => Change::Added,
                Some(before) if before == stamp => Change::Same,
                Some(_) if self.same_as_fixture(path) => Change::Same,
                Some(_) => Change::Modified,
            };
            let mut text = None;
            if change != Change::Same && !stamp.link && stamp.len <= MOST_TEXT.min(room) {
                text = std::fs::read(self.dir.join(path)).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                room -= text.as_ref().map_or(0, |text| text.len() as u64).min(room);
            }
            let diff = if change == Change::Modified { self.diff(path, text.as_deref()) } else { None };
            files.push(FileSeen { path: path.clone(), len: stamp.len, change, text, diff });
        }
        let gone = self.before.keys().filter(|path| !after.contains_key(*path));
        let deleted =
            |path: &String| FileSeen { path: path.clone(), len: 0, change: Change::Deleted, text: None, diff: None };
        files.extend(gone.map(deleted));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// A modified file against the fixture's, as a patch.
    fn diff(&self, path: &str, after: Option<&str>) -> Option<String> {
        let before = std::fs::read(self.fixture.as_ref()?.join(path)).ok()?;
        let before = String::from_utf8(before).ok().filter(|text| text.len() as u64 <= MOST_TEXT)?;
        let diff = similar::TextDiff::from_lines(before.as_str(), after?);
        Some(diff.unified_diff().context_radius(3).to_string())
    }

    fn same_as_fixture(&self, path: &str) -> bool {
        let Some(fixture) = &self.fixture else { return false };
        let read = |path: PathBuf| std::fs::read(path).ok();
        match (read(fixture.join(path)), read(self.dir.join(path))) {
            (Some(before), Some(after)) => before == after,
            _ => false,
        }
    }

    /// Removes the folder. A file that can't be removed is no reason to fail a trial.
    pub fn remove(self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// A file's text inside a folder; `None` when there is none. Links that lead out of the folder lead nowhere.
///
/// # Errors
/// Why it can't be read as text.
pub fn read_inside(dir: &Path, path: &str) -> Result<Option<String>, String> {
    let Ok(root) = dir.canonicalize() else { return Ok(None) };
    let Ok(real) = dir.join(path).canonicalize() else { return Ok(None) };
    if !real.starts_with(&root) {
        return Err("it lies outside of its folder".to_owned());
    }
    if !real.is_file() {
        return Ok(None);
    }
    let len = real.metadata().map_err(|error| error.to_string())?.len();
    if len > 16 << 20 {
        return Err(format!("it is {len} bytes long"));
    }
    let bytes = std::fs::read(&real).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map(Some).map_err(|_| "it is not text".to_owned())
}

/// Copies a folder. The system shares the blocks where the file system can (reflinks); links stay links.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            std::fs::create_dir(&target)?;
            copy(&source, &target)?;
            std::fs::set_permissions(&target, entry.metadata()?.permissions())?;
        } else if kind.is_symlink() {
            link(&std::fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn link(to: &Path, at: &Path) -> io::Result<()> {
    std::fs::copy(to, at).map(drop)
}

fn stamps(dir: &Path) -> io::Result<BTreeMap<String, Stamp>> {
    let mut found = BTreeMap::new();
    walk(dir, "", &mut found)?;
    Ok(found)
}

fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Stamp>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = entry.metadata()?;
        if meta.is_dir() {
            // A folder the loop has locked is a folder nobody can grade.
            let _ = walk(&entry.path(), &format!("{name}/"), found);
        } else if found.len() < MOST_FILES {
            let link = meta.file_type().is_symlink();
            found.insert(name, Stamp { len: meta.len(), modified: meta.modified().ok(), link });
        }
    }
    Ok(())
}

/// The hash of a folder's files, names and contents; of nothing when there is no folder.
///
/// # Errors
/// When it can't be read.
pub fn fingerprint(dir: &Path) -> io::Result<String> {
    let mut all = Vec::new();
    for (path, stamp) in stamps(dir)? {
        let content = match stamp.link {
            true => std::fs::read_link(dir.join(&path))?.to_string_lossy().into_owned().into_bytes(),
            false => std::fs::read(dir.join(&path))?,
        };
        all.push(format!("{path} {}", hash_hex(&content)));
    }
    Ok(hash_hex(all.join("\n").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_has_its_own_copy_and_changes_are_seen() {
        let root = tempfile::tempdir().unwrap();
        let fixture = root.path().join("fixture");
        std::fs::create_dir_all(fixture.join("src")).unwrap();
        for (name, text) in [("a.txt", "a"), ("src/b.txt", "b"), ("c.txt", "c"), ("d.txt", "d")] {
            std::fs::write(fixture.join(name), text).unwrap();
        }
        link(Path::new("a.txt"), &fixture.join("l")).unwrap();
        let print = fingerprint(&fixture).unwrap();
        let work = Workspace::make(&root.path().join("work"), "t1", Some(&fixture)).unwrap();
        std::fs::write(work.dir.join("a.txt"), "A!").unwrap();
        std::fs::write(work.dir.join("d.txt"), "d").unwrap();
        std::fs::write(work.dir.join("new.bin"), [0xff, 0xfe]).unwrap();
        std::fs::remove_file(work.dir.join("c.txt")).unwrap();
        let seen: Vec<(String, Change, Option<String>)> =
            work.look().unwrap().into_iter().map(|file| (file.path, file.change, file.text)).collect();
        let text = |text: &str| Some(text.to_owned());
        let want = [
            ("a.txt", Change::Modified, text("A!")),
            ("c.txt", Change::Deleted, None),
            ("d.txt", Change::Same, None),
            ("l", Change::Same, None),
            ("new.bin", Change::Added, None),
            ("src/b.txt", Change::Same, None),
        ];
        assert_eq!(seen, want.map(|(path, change, text)| (path.to_owned(), change, text)));
        assert_eq!(fingerprint(&fixture).unwrap(), print, "the fixture is as it was");
        let home = work.home.clone();
        work.remove();
        assert!(!home.exists());
    }

    #[test]
    fn what_a_killed_run_left_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let first = Workspace::make(root.path(), "t", None).unwrap();
        std::fs::write(first.dir.join("old"), "x").unwrap();
        let second = Workspace::make(root.path(), "t", None).unwrap();
        assert!(second.look().unwrap().is_empty());
    }

    #[test]
    fn files_are_read_inside_their_folder_only() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("in");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(root.path().join("secret"), "x").unwrap();
        std::fs::write(dir.join("f"), "text").unwrap();
        link(Path::new("../secret"), &dir.join("out")).unwrap();
        assert_eq!(read_inside(&dir, "f"), Ok(Some("text".to_owned())));
        assert_eq!(read_inside(&dir, "none"), Ok(None));
        assert!(read_inside(&dir, "../secret").is_err());
        assert!(read_inside(&dir, "out").is_err());
    }
}
