//! Where a replay works: in the recorded state of the work tree, in a copy of a folder, or in place.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::capture::restore::{self, State};
use crate::cli::Misuse;
use crate::replay::Roots;

/// What is known when the place is chosen.
pub struct Placing<'a> {
    pub state: Option<State>,
    /// Where the command ran when it was recorded.
    pub recorded_cwd: Option<&'a str>,
    /// The user gave a command of their own, which belongs to the current folder.
    pub own_command: bool,
    pub in_place: bool,
    /// A folder to use.
    pub chosen: Option<PathBuf>,
    /// Never copied.
    pub store: &'a Path,
}

/// A folder to work in.
pub struct Place {
    pub dir: PathBuf,
    pub roots: Roots,
    /// In words, for the user.
    pub says: String,
    /// Goes away with this.
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    /// Makes the folder ready.
    pub fn find(placing: &Placing<'_>) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("finding the current folder")?;
        let recorded = placing.recorded_cwd;
        if placing.in_place {
            let roots = recorded.map_or_else(Roots::none, |then| Roots::moved(then, &text(&here)));
            let says = format!("replaying in {}, over what is there", here.display());
            return Ok(Place { dir: here, roots, says, _folder: None });
        }
        let (folder, base) = match &placing.chosen {
            Some(dir) => {
                if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
                    return Err(Misuse(format!("--worktree {}: the folder is not empty", dir.display())).into());
                }
                std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
                (None, dir.canonicalize()?)
            }
            None => {
                let folder =
                    tempfile::Builder::new().prefix("holdback-replay-").tempdir().context("making a folder")?;
                let base = folder.path().canonicalize()?;
                (Some(folder), base)
            }
        };
        let mut place = Place { dir: base.clone(), roots: Roots::none(), says: String::new(), _folder: folder };
        if let Some(state) = placing.state.as_ref().filter(|state| state.is_there()) {
            place.lay_out(state, placing, &here)?;
        } else {
            place.copy(placing, &here)?;
        }
        Ok(place)
    }

    /// The state that was recorded.
    fn lay_out(&mut self, state: &State, placing: &Placing<'_>, here: &Path) -> anyhow::Result<()> {
        let top = self.below(&state.root)?;
        state.lay_out(&top)?;
        let recorded = placing.recorded_cwd.map_or_else(|| state.root.clone(), PathBuf::from);
        let inside = recorded.strip_prefix(&state.root).unwrap_or(Path::new(""));
        self.dir = top.join(inside);
        std::fs::create_dir_all(&self.dir)?;
        self.roots = Roots::moved(&text(&recorded), &text(&self.dir));
        self.roots.add(&text(&state.root), &text(&top));
        if placing.own_command && here != recorded {
            self.roots.add(&text(here), &text(&self.dir));
        }
        self.says = format!("replaying in {}, in the work tree as it was recorded", self.dir.display());
        Ok(())
    }

    /// No state was recorded, or git has let go of it: the nearest thing is a copy.
    fn copy(&mut self, placing: &Placing<'_>, here: &Path) -> anyhow::Result<()> {
        let recorded = placing.recorded_cwd.map(PathBuf::from);
        let from = match (&recorded, placing.own_command) {
            (Some(recorded), false) => Some(recorded.clone()).filter(|dir| dir.is_dir()),
            _ => Some(here.to_owned()),
        };
        let named = from.clone().or_else(|| recorded.clone()).unwrap_or_else(|| here.to_owned());
        self.dir = self.below(&named)?;
        if let Some(recorded) = &recorded {
            self.roots = Roots::moved(&text(recorded), &text(&self.dir));
        }
        self.says = match &from {
            Some(from) => {
                restore::copy(from, &self.dir, Some(placing.store))?;
                if recorded.as_ref() != Some(from) {
                    self.roots.add(&text(from), &text(&self.dir));
                }
                format!("replaying in a copy of {} (no state of a git work tree was recorded)", from.display())
            }
            None => {
                format!("replaying in an empty folder: {} is gone, and no state of it was recorded", named.display())
            }
        };
        Ok(())
    }

    /// A folder of the same name inside of ours: a loop may say its name.
    fn below(&self, like: &Path) -> anyhow::Result<PathBuf> {
        let name = like.file_name().unwrap_or_else(|| std::ffi::OsStr::new("work"));
        let dir = if self._folder.is_some() { self.dir.join(name) } else { self.dir.clone() };
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(dir)
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
