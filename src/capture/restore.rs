//! A folder to replay a loop in: the state of the work tree that was recorded, or a copy of a folder. Never the user's own
//! files, and never the user's repository: what git needs is copied, its objects are borrowed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::child::{self, Env, Input, Output, Spec};

/// How long one git command may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A folder with more than this is not copied unasked.
const MOST_FILES: u64 = 100_000;
const MOST_BYTES: u64 = 1 << 30;

/// Why a folder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot make a folder to work in: {0}")]
    Folder(io::Error),
    #[error("cannot copy {path:?}: {source}")]
    Copy { path: PathBuf, source: io::Error },
    #[error(
        "{0:?} has more than {MOST_FILES} files or 1 GiB in it, which is not copied unasked: use --in-place, or --worktree with a folder of your own"
    )]
    Large(PathBuf),
    #[error("git cannot bring the recorded state back: {0}")]
    Git(String),
}

/// A state of a work tree, as the trace names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The top of the work tree.
    pub root: PathBuf,
    /// The tree's id in git.
    pub tree: String,
    pub commit: Option<String>,
}

impl State {
    /// Whether git still has it.
    pub fn is_there(&self) -> bool {
        self.root.is_dir() && git(&self.root, None, &["cat-file", "-e", &format!("{}^{{tree}}", self.tree)]).is_ok()
    }

    /// Lays the state out in an empty folder, with a repository of its own that has the same branches and history.
    ///
    /// # Errors
    /// When git or the disk refuses.
    pub fn lay_out(&self, into: &Path) -> Result<(), RestoreError> {
        let found = git(&self.root, None, &["rev-parse", "--absolute-git-dir", "--git-common-dir"])?;
        let mut lines = found.lines();
        let own = PathBuf::from(lines.next().unwrap_or_default());
        let common = self.root.join(lines.next().unwrap_or_default());
        borrow(&own, &common, &into.join(".git")).map_err(|source| RestoreError::Copy { path: common, source })?;
        // A repository that was made anew may have the files and not the history.
        let known = |commit: &&String| git(into, None, &["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok();
        let commit = self.commit.as_ref().filter(known);
        if let Some(commit) = commit {
            git(into, None, &["update-ref", "HEAD", commit])?;
        }
        let index = into.join(".git/holdback-index");
        git(into, Some(&index), &["read-tree", &self.tree])?;
        git(into, Some(&index), &["checkout-index", "--all", "--force"])?;
        let _ = fs::remove_file(&index);
        if git(into, None, &["rev-parse", "--verify", "--quiet", "HEAD"]).is_ok() {
            git(into, None, &["reset", "--quiet"])?;
        }
        Ok(())
    }
}

/// A repository that has the branches and settings of another and borrows its objects.
fn borrow(own: &Path, common: &Path, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into.join("objects/info"))?;
    // A listing shows how many folders there are: as many as in the real one.
    for entry in fs::read_dir(common)?.flatten() {
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(into.join(entry.file_name()))?;
        }
    }
    fs::write(into.join("objects/info/alternates"), format!("{}\n", common.join("objects").display()))?;
    fs::copy(own.join("HEAD"), into.join("HEAD"))?;
    for name in ["config", "packed-refs", "info/exclude"] {
        if common.join(name).is_file() {
            fs::create_dir_all(into.join(name).parent().unwrap_or(into))?;
            fs::copy(common.join(name), into.join(name))?;
        }
    }
    copy_tree(&common.join("refs"), &into.join("refs"), &mut Room::default(), None).map_err(io::Error::other)
}

/// How much may still be copied.
struct Room {
    files: u64,
    bytes: u64,
}

impl Default for Room {
    fn default() -> Self {
        Room { files: MOST_FILES, bytes: MOST_BYTES }
    }
}

/// Copies a folder with all that is in it; the folder `but` is left out.
///
/// # Errors
/// When something can't be copied, or it is too much.
pub fn copy(from: &Path, into: &Path, but: Option<&Path>) -> Result<(), RestoreError> {
    let but = but.and_then(|but| but.canonicalize().ok());
    copy_tree(from, into, &mut Room::default(), but.as_deref())
}

fn copy_tree(from: &Path, into: &Path, room: &mut Room, but: Option<&Path>) -> Result<(), RestoreError> {
    let doing = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Copy { path, source }
    };
    fs::create_dir_all(into).map_err(RestoreError::Folder)?;
    for entry in fs::read_dir(from).map_err(doing(from))? {
        let entry = entry.map_err(doing(from))?;
        let (path, target) = (entry.path(), into.join(entry.file_name()));
        let kind = entry.file_type().map_err(doing(&path))?;
        if kind.is_dir() {
            if but.is_some_and(|but| path.canonicalize().is_ok_and(|path| path == but)) {
                continue;
            }
            copy_tree(&path, &target, room, but)?;
        } else if kind.is_symlink() {
            let to = fs::read_link(&path).map_err(doing(&path))?;
            std::os::unix::fs::symlink(to, &target).map_err(doing(&path))?;
        } else if kind.is_file() {
            let len = entry.metadata().map_err(doing(&path))?.len();
            let left = room.files.checked_sub(1).zip(room.bytes.checked_sub(len));
            (room.files, room.bytes) = left.ok_or_else(|| RestoreError::Large(from.to_owned()))?;
            fs::copy(&path, &target).map_err(doing(&path))?;
        }
    }
    Ok(())
}

fn git(cwd: &Path, index: Option<&Path>, arguments: &[&str]) -> Result<String, RestoreError> {
    let mut command = vec!["git".to_owned(), "--no-optional-locks".to_owned()];
    command.extend(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"].map(str::to_owned));
    command.extend(arguments.iter().map(|word| (*word).to_owned()));
    let set = index.map(|index| ("GIT_INDEX_FILE".into(), index.as_os_str().to_owned())).into_iter().collect();
    let remove = ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"].map(Into::into).to_vec();
    let spec = Spec {
        command,
        cwd: Some(cwd.to_owned()),
        env: Env::Inherit { set, remove },
        stdin: Input::Null,
        stdout: Output::Memory(1 << 20),
        stderr: Output::Memory(1 << 16),
        group: true,
    };
    let refused = |why: String| RestoreError::Git(format!("git {}: {why}", arguments.join(" ")));
    let exit =
        child::spawn(&spec).and_then(|git| git.wait(Some(PATIENCE))).map_err(|error| refused(error.to_string()))?;
    if !exit.success() {
        return Err(refused(String::from_utf8_lossy(&exit.stderr.bytes).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&exit.stdout.bytes).into_owned())
}
