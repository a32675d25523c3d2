//! What the wire can't show: which files a loop changed, call by call, and the state of its work tree before each call.
//!
//! Git does the work, with an index of our own in a folder that goes away. Neither the user's index nor refs, hooks or
//! configuration are touched. File contents go where git keeps contents, into the object database of the user's own
//! repository, and nowhere else: the trace gets tree ids, paths and sizes. Nothing refers to these objects, so git's own
//! clean-up takes them after a while (two weeks, unless `gc.pruneExpire` says otherwise). What `.gitignore` names is left out.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::child::{self, Env, Exit, Input, Output, Spec};
use super::proxy::Notes;
use crate::redact::Redactor;
use crate::trace::{CallId, Content, Note, Sink, TraceEvent, What};

/// A larger file is named but its content is not kept.
const LARGE: u64 = 32 << 20;
/// More than this in one step is no work tree to keep up with.
const MOST_FILES: usize = 20_000;
const MOST_BYTES: u64 = 512 << 20;
/// Paths that one note lists; the rest is counted.
const LISTED: usize = 500;
/// How long one git command may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the child's start waits for the first state. It goes on without us after that.
const FIRST: Duration = Duration::from_secs(1);
/// How long the end of the run waits for the last one.
const LAST: Duration = Duration::from_secs(10);
/// Calls that begin close together share a snapshot.
const TOGETHER: Duration = Duration::from_millis(20);

/// What the snapshots are told.
enum Tell {
    /// A call was asked: what the loop did since the last answer is done.
    Asked(CallId),
    Answered(CallId),
    /// The loop is over.
    Over(oneshot::Sender<()>),
}

/// A sink that lets the snapshots know of calls.
pub(super) struct Watched<S> {
    sink: S,
    tell: Option<Sender<Tell>>,
}

impl<S: Sink> Sink for Watched<S> {
    type Error = S::Error;

    fn accept(&mut self, event: &TraceEvent) -> Result<(), S::Error> {
        if let Some(tell) = &self.tell {
            // Nobody listens any more where there is no work tree.
            let _ = match &event.what {
                What::CallStarted(call, _) => tell.send(Tell::Asked(*call)),
                What::CallEnded(call, _) => tell.send(Tell::Answered(*call)),
                _ => Ok(()),
            };
        }
        self.sink.accept(event)
    }
}

/// The ends of the line between a sink and its snapshots.
pub(super) struct Line {
    tell: Sender<Tell>,
    told: Receiver<Tell>,
}

/// Puts an ear on a sink, if wanted.
pub(super) fn watch<S: Sink>(sink: S, wanted: bool) -> (Watched<S>, Option<Line>) {
    if !wanted {
        return (Watched { sink, tell: None }, None);
    }
    let (tell, told) = mpsc::channel();
    (Watched { sink, tell: Some(tell.clone()) }, Some(Line { tell, told }))
}

/// Snapshots under way, where they are wanted.
pub(super) struct Snapshots {
    tell: Option<Sender<Tell>>,
}

impl Snapshots {
    /// Begins to watch the work tree that `cwd` is in, and returns once its first state is known or took too long.
    /// Where there is no work tree nothing happens.
    pub(super) async fn begin(line: Option<Line>, what: Watch) -> Self {
        let Some(line) = line else { return Snapshots { tell: None } };
        let (ready, is_ready) = oneshot::channel();
        let told = line.told;
        // Without a thread there are no snapshots, and the run goes on.
        let _ = std::thread::Builder::new().name("workspace".to_owned()).spawn(move || follow(&told, what, ready));
        let _ = tokio::time::timeout(FIRST, is_ready).await;
        Snapshots { tell: Some(line.tell) }
    }

    /// Takes the last one.
    pub(super) async fn finish(self) {
        let (done, is_done) = oneshot::channel();
        if self.tell.is_some_and(|tell| tell.send(Tell::Over(done)).is_ok()) {
            let _ = tokio::time::timeout(LAST, is_done).await;
        }
    }
}

/// What to watch and whom to tell.
pub(super) struct Watch {
    pub(super) cwd: PathBuf,
    /// For the index.
    pub(super) scratch: PathBuf,
    /// Never part of a snapshot: the store, which may be inside the work tree.
    pub(super) leave_out: Option<PathBuf>,
    pub(super) content: Content,
    pub(super) redactor: Arc<Redactor>,
    pub(super) notes: Notes,
}

fn follow(told: &Receiver<Tell>, watch: Watch, ready: oneshot::Sender<()>) {
    let Some(mut tree) = WorkTree::find(&watch.cwd, &watch.scratch, watch.leave_out.as_deref()) else { return };
    let first = tree.step();
    let mut teller = Teller { watch, root: tree.root.clone(), before: None };
    let going = teller.tell(first, None, None);
    let _ = ready.send(());
    if !going {
        return;
    }
    let mut answered = None;
    while let Ok(news) = told.recv() {
        let (mut asked, mut blamed, mut over) = (None, None, None);
        // Whatever came while the last snapshot was taken, or comes with this, is one step.
        let mut next = Some(news);
        while let Some(news) = next.take() {
            match news {
                Tell::Asked(call) => {
                    if asked.is_none() {
                        std::thread::sleep(TOGETHER);
                    }
                    // What a loop does between an answer and its next question is that answer's doing.
                    (asked, blamed) = (Some(call), answered);
                }
                Tell::Answered(call) => answered = Some(call),
                Tell::Over(done) => (asked, blamed, over) = (None, answered, Some(done)),
            }
            next = told.try_recv().ok();
        }
        if asked.is_none() && over.is_none() {
            continue;
        }
        let going = teller.tell(tree.step(), blamed, asked);
        if let Some(done) = over {
            let _ = done.send(());
            return;
        }
        if !going {
            return;
        }
    }
}

/// Turns steps into notes.
struct Teller {
    watch: Watch,
    root: PathBuf,
    before: Option<String>,
}

impl Teller {
    /// Tells of a step; false when there will be no more.
    fn tell(&mut self, step: Result<Option<Step>, String>, call: Option<CallId>, next: Option<CallId>) -> bool {
        let (data, going) = match step {
            Ok(None) => return true,
            Ok(Some(step)) => (self.data(step, next), true),
            Err(why) => (json!({ "off": self.shown(&why) }), false),
        };
        self.watch.notes.send(Note { kind: "files".to_owned(), call, data });
        going
    }

    fn data(&mut self, step: Step, next: Option<CallId>) -> Value {
        let before = self.before.replace(step.tree.clone());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        step.changed.iter().for_each(|change| *counts.entry(change.status).or_default() += 1);
        let mut data = json!({ "counts": counts });
        if let Some(next) = next {
            data["next"] = json!(next);
        }
        if self.watch.content == Content::None {
            return data;
        }
        data["tree"] = json!(step.tree);
        match before {
            Some(before) => data["before"] = json!(before),
            None => data["root"] = json!(self.shown(&self.root.to_string_lossy())),
        }
        let listed = step.changed.iter().take(LISTED).map(|change| {
            let mut shown = json!({ "path": self.shown(&change.path), "status": change.status });
            if let Some(size) = change.size {
                shown["size"] = json!(size);
            }
            if change.large {
                shown["kept"] = json!(false);
            }
            shown
        });
        data["changed"] = listed.collect();
        if step.changed.len() > LISTED {
            data["more"] = json!(step.changed.len() - LISTED);
        }
        data
    }

    fn shown(&self, text: &str) -> String {
        match self.watch.content {
            Content::Full => text.to_owned(),
            _ => self.watch.redactor.text(text).0.into_owned(),
        }
    }
}

/// A new state of the work tree.
#[derive(Debug)]
struct Step {
    tree: String,
    changed: Vec<Change>,
}

#[derive(Debug, PartialEq)]
struct Change {
    path: String,
    status: &'static str,
    size: Option<u64>,
    /// Too large to be kept.
    large: bool,
}

/// A work tree, and an index of it that is ours.
struct WorkTree {
    root: PathBuf,
    index: PathBuf,
    /// Inside the root.
    leave_out: Option<PathBuf>,
    tree: Option<String>,
    /// Large files as they were last seen, by size and time of change.
    large: HashMap<PathBuf, Option<(u64, std::time::SystemTime)>>,
}

impl WorkTree {
    /// The work tree that a folder is in, with a copy of its index: what git knows of unchanged files spares reading them.
    fn find(cwd: &Path, scratch: &Path, leave_out: Option<&Path>) -> Option<Self> {
        let index = scratch.join("workspace-index");
        let asked = git(cwd, &index, &["rev-parse", "--show-toplevel", "--absolute-git-dir"], Vec::new()).ok()?;
        let asked = String::from_utf8(asked).ok()?;
        let mut lines = asked.lines();
        let (root, git_dir) = (PathBuf::from(lines.next()?), PathBuf::from(lines.next()?));
        let leave_out = leave_out.and_then(|path| path.canonicalize().ok());
        let leave_out = leave_out.and_then(|path| Some(path.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned()));
        let copied = std::fs::copy(git_dir.join("index"), &index).is_ok();
        if !copied && std::fs::exists(git_dir.join("index")).unwrap_or(true) {
            return None;
        }
        Some(WorkTree { root, index, leave_out, tree: None, large: HashMap::new() })
    }

    fn git(&self, arguments: &[&str], input: Vec<u8>) -> Result<Vec<u8>, String> {
        git(&self.root, &self.index, arguments, input)
    }

    /// What has changed since the last step; nothing when nothing has. An error is the end of it.
    fn step(&mut self) -> Result<Option<Step>, String> {
        let found = self.git(&["ls-files", "-z", "--modified", "--others", "--exclude-standard"], Vec::new())?;
        let mut paths: Vec<&[u8]> = found.split(|byte| *byte == 0).filter(|path| self.concerns(path)).collect();
        paths.sort_unstable();
        paths.dedup();
        if paths.len() > MOST_FILES {
            return Err(format!("{} files changed at once; say in .gitignore which are none of the work", paths.len()));
        }
        let mut changed = Vec::new();
        let mut input = Vec::new();
        let mut bytes = 0;
        for path in paths {
            match self.look(path) {
                Look::Take(size) => {
                    bytes += size;
                    input.extend_from_slice(path);
                    input.push(0);
                }
                Look::Large(change) => changed.push(change),
                Look::Leave => {}
            }
        }
        if bytes > MOST_BYTES {
            return Err(format!("{} MB changed at once; say in .gitignore what is none of the work", bytes >> 20));
        }
        if self.tree.is_some() && input.is_empty() && changed.is_empty() {
            return Ok(None);
        }
        if !input.is_empty() {
            self.git(&["update-index", "-z", "--add", "--remove", "--replace", "--stdin"], input)?;
        }
        let tree = String::from_utf8_lossy(&self.git(&["write-tree"], Vec::new())?).trim().to_owned();
        let before = self.tree.replace(tree.clone());
        match before {
            None => changed.clear(),
            Some(before) if before == tree && changed.is_empty() => return Ok(None),
            Some(before) => {
                let raw =
                    self.git(&["diff-tree", "-r", "-z", "--name-status", "--no-renames", &before, &tree], Vec::new())?;
                changed.extend(self.changes(&raw));
                changed.sort_by(|one, other| one.path.cmp(&other.path));
            }
        }
        Ok(Some(Step { tree, changed }))
    }

    fn concerns(&self, path: &[u8]) -> bool {
        !path.is_empty() && !self.leave_out.as_ref().is_some_and(|out| as_path(path).starts_with(out))
    }

    /// What is to be done with a path that git says has changed.
    fn look(&mut self, path: &[u8]) -> Look {
        // A slash at the end: another repository inside this one, whose business is its own.
        if path.ends_with(b"/") {
            return Look::Leave;
        }
        let full = self.root.join(as_path(path));
        let Ok(found) = full.symlink_metadata() else { return Look::Take(0) };
        if found.is_symlink() || found.is_dir() {
            return Look::Take(0);
        }
        if !found.is_file() {
            return Look::Leave;
        }
        if found.len() > LARGE {
            let state = found.modified().ok().map(|time| (found.len(), time));
            let known = self.large.insert(full, state);
            if known == Some(state) {
                return Look::Leave;
            }
            let status = if known.is_some() { "M" } else { "A" };
            let path = String::from_utf8_lossy(path).into_owned();
            return Look::Large(Change { path, status, size: Some(found.len()), large: true });
        }
        // One file that can't be read would keep git from taking the others.
        if std::fs::File::open(&full).is_err() { Look::Leave } else { Look::Take(found.len()) }
    }

    /// `M\0path\0A\0path\0`, with the sizes that the files have now.
    fn changes(&self, raw: &[u8]) -> Vec<Change> {
        let mut fields = raw.split(|byte| *byte == 0);
        let mut changes = Vec::new();
        while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
            let status = match status {
                b"A" => "A",
                b"D" => "D",
                b"T" => "T",
                _ => "M",
            };
            let found = self.root.join(as_path(path)).symlink_metadata().ok().filter(|_| status != "D");
            let size = found.map(|found| found.len());
            changes.push(Change { path: String::from_utf8_lossy(path).into_owned(), status, size, large: false });
        }
        changes
    }
}

enum Look {
    Take(u64),
    Large(Change),
    Leave,
}

fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Runs git on our index, with everything off that could run programs of the user's or write beside it.
fn git(cwd: &Path, index: &Path, arguments: &[&str], input: Vec<u8>) -> Result<Vec<u8>, String> {
    let settings = ["core.hooksPath=/dev/null", "core.fsmonitor=false", "core.splitIndex=false", "gc.auto=0"];
    let mut command = vec!["git".to_owned(), "--no-optional-locks".to_owned()];
    settings.iter().for_each(|setting| command.extend(["-c".to_owned(), (*setting).to_owned()]));
    command.extend(arguments.iter().map(|word| (*word).to_owned()));
    let set = vec![("GIT_INDEX_FILE".into(), index.into()), ("LC_ALL".into(), "C".into())];
    let spec = Spec {
        command,
        cwd: Some(cwd.to_owned()),
        env: Env::Inherit { set, remove: vec!["GIT_OBJECT_DIRECTORY".into(), "GIT_LITERAL_PATHSPECS".into()] },
        stdin: if input.is_empty() { Input::Null } else { Input::Bytes(input) },
        stdout: Output::Memory(16 << 20),
        stderr: Output::Memory(4 << 10),
        group: true,
    };
    let ended = child::spawn(&spec).and_then(|running| running.wait(Some(PATIENCE)));
    read(ended.map_err(|error| error.to_string())?, arguments[0])
}

fn read(exit: Exit, what: &str) -> Result<Vec<u8>, String> {
    if exit.timed_out {
        return Err(format!("git {what} took longer than {} s", PATIENCE.as_secs()));
    }
    if !exit.success() {
        return Err(format!("git {what}: {}", String::from_utf8_lossy(&exit.stderr.bytes).trim()));
    }
    if exit.stdout.cut {
        return Err(format!("git {what} has too much to say"));
    }
    Ok(exit.stdout.bytes)
}
