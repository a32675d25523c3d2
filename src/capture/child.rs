//! Children: the loop under test, graders' commands, git. The one place that starts a program.
//!
//! Two ways to hold a child. [`Spec::group`] off: it shares our terminal and process group, as if started from the shell, so
//! Ctrl-C and Ctrl-Z reach it by themselves (`holdback record`). On: it leads a group of its own, and when it has ended or its
//! time is up, the whole group goes, and whatever left the group but still carries our mark in its environment (`eval`).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The variable that marks the children of one [`Spec`] and all that descend from them.
pub const MARK: &str = "HOLDBACK_CHILD";

/// How long a process that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Why a child could not be held.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Nothing to run.
    #[error("no command was given")]
    Empty,
    /// The program could not be started.
    #[error("cannot start {program:?}: {source}")]
    Start { program: String, source: io::Error },
    /// A file for its output could not be made.
    #[error("cannot write its output to {path:?}: {source}")]
    Output { path: PathBuf, source: io::Error },
    /// The operating system would not say how it ended.
    #[error("cannot wait for it: {0}")]
    Wait(io::Error),
}

/// The environment of a child.
#[derive(Debug, Clone)]
pub enum Env {
    /// Exactly these variables.
    Exact(Vec<(OsString, OsString)>),
    /// Ours, with these set and those taken away.
    Inherit { set: Vec<(OsString, OsString)>, remove: Vec<OsString> },
}

/// What a child reads.
#[derive(Debug, Clone, Default)]
pub enum Input {
    /// Our own stdin.
    Inherit,
    /// Nothing.
    #[default]
    Null,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
}

/// Where a child's output goes.
#[derive(Debug, Clone, Default)]
pub enum Output {
    /// To our own.
    Inherit,
    /// To our stderr.
    Aside,
    /// Nowhere.
    #[default]
    Null,
    /// Into a file, up to so many bytes; the rest is read, counted and let go, so that the child never blocks on it.
    File(PathBuf, u64),
    /// Into memory, up to so many bytes.
    Memory(u64),
}

/// What to run and how to hold it.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Program first.
    pub command: Vec<String>,
    pub cwd: Option<PathBuf>,
    pub env: Env,
    pub stdin: Input,
    pub stdout: Output,
    pub stderr: Output,
    /// Whether it leads a process group of its own, which ends with it.
    pub group: bool,
}

impl Spec {
    /// A command held in a group of its own, in an environment of exactly these variables, silent.
    pub fn new(command: Vec<String>, env: Vec<(OsString, OsString)>) -> Self {
        Spec {
            command,
            cwd: None,
            env: Env::Exact(env),
            stdin: Input::Null,
            stdout: Output::Null,
            stderr: Output::Null,
            group: true,
        }
    }
}

/// What came out of one of a child's pipes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// What was kept, when it went to memory.
    pub bytes: Vec<u8>,
    /// How much it wrote in all.
    pub total: u64,
    /// Whether some of that was not kept.
    pub cut: bool,
}

/// How a child ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Whether its time was up and it was killed for that.
    pub timed_out: bool,
    /// Processes that had left its group and had to be killed one by one.
    pub strays: u32,
    pub stdout: Written,
    pub stderr: Written,
}

impl Exit {
    /// Whether it ended by itself and says that all is well.
    pub fn success(&self) -> bool {
        self.code == Some(0) && !self.timed_out
    }
}

/// Sends signals to a running child from anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Killer {
    pid: Option<Pid>,
    group: bool,
}

impl Killer {
    /// Sends a signal to the child, or to its whole group when it leads one. A child that is gone takes no harm.
    pub fn send(self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = if self.group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
        }
    }
}

/// A child that runs.
pub struct Running {
    killer: Killer,
    mark: String,
    ended: Receiver<io::Result<ExitStatus>>,
    stdout: Option<JoinHandle<Written>>,
    stderr: Option<JoinHandle<Written>>,
}

/// Starts a child.
///
/// # Errors
/// When the program cannot be started or a file for its output cannot be made.
pub fn spawn(spec: &Spec) -> Result<Running, ChildError> {
    let mark = mark();
    let mut command = build(spec, &mark)?;
    let stdout_to = output_file(&spec.stdout)?;
    let stderr_to = output_file(&spec.stderr)?;
    let mut child = command.spawn().map_err(|source| ChildError::Start { program: spec.command[0].clone(), source })?;
    if let (Input::Bytes(bytes), Some(mut pipe)) = (&spec.stdin, child.stdin.take()) {
        let bytes = bytes.clone();
        // A child that does not read its input is no error of ours.
        std::thread::spawn(move || pipe.write_all(&bytes));
    }
    let stdout = child.stdout.take().map(|pipe| copier(pipe, &spec.stdout, stdout_to));
    let stderr = child.stderr.take().map(|pipe| copier(pipe, &spec.stderr, stderr_to));
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (tell, ended) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait()));
    Ok(Running { killer: Killer { pid, group: spec.group }, mark, ended, stdout, stderr })
}

impl Running {
    /// What sends it signals; it may outlive this.
    pub fn killer(&self) -> Killer {
        self.killer
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.killer.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    /// Waits until it has ended, at most `timeout`; then asks it to end, and kills it when it doesn't. A group is gone
    /// entirely when this returns. It blocks: in async code call it inside `spawn_blocking`.
    ///
    /// # Errors
    /// When the operating system will not say how it ended.
    pub fn wait(self, timeout: Option<Duration>) -> Result<Exit, ChildError> {
        let mut exit = Exit::default();
        let status = match self.recv(timeout)? {
            Some(status) => status,
            None => {
                exit.timed_out = true;
                self.killer.send(Signal::TERM);
                match self.recv(Some(GRACE))? {
                    Some(status) => status,
                    None => {
                        self.killer.send(Signal::KILL);
                        self.recv(None)?.unwrap_or_default()
                    }
                }
            }
        };
        exit.code = status.code();
        exit.signal = status.signal();
        if self.killer.group {
            self.killer.send(Signal::KILL);
            exit.strays = kill_marked(&self.mark);
        }
        exit.stdout = self.stdout.map(collect).unwrap_or_default();
        exit.stderr = self.stderr.map(collect).unwrap_or_default();
        Ok(exit)
    }

    fn recv(&self, timeout: Option<Duration>) -> Result<Option<ExitStatus>, ChildError> {
        let gone = || ChildError::Wait(io::Error::other("the thread that waited for it is gone"));
        let status = match timeout {
            None => self.ended.recv().map_err(|_| gone())?,
            Some(timeout) => match self.ended.recv_timeout(timeout) {
                Ok(status) => status,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            },
        };
        status.map(Some).map_err(ChildError::Wait)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts programs")]
fn build(spec: &Spec, mark: &str) -> Result<Command, ChildError> {
    let (program, args) = spec.command.split_first().ok_or(ChildError::Empty)?;
    let mut command = Command::new(program);
    command.args(args);
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    match &spec.env {
        Env::Exact(variables) => {
            command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
        }
        Env::Inherit { set, remove } => {
            for name in remove {
                command.env_remove(name);
            }
            command.envs(set.iter().map(|(name, value)| (name, value)));
        }
    }
    if spec.group {
        command.env(MARK, mark).process_group(0);
    }
    command.stdin(match spec.stdin {
        Input::Inherit => Stdio::inherit(),
        Input::Null => Stdio::null(),
        Input::Bytes(_) => Stdio::piped(),
    });
    command.stdout(stdio(&spec.stdout));
    command.stderr(stdio(&spec.stderr));
    Ok(command)
}

fn stdio(output: &Output) -> Stdio {
    match output {
        Output::Inherit => Stdio::inherit(),
        Output::Aside => io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from),
        Output::Null => Stdio::null(),
        Output::File(..) | Output::Memory(_) => Stdio::piped(),
    }
}

fn output_file(output: &Output) -> Result<Option<File>, ChildError> {
    let Output::File(path, _) = output else { return Ok(None) };
    File::create(path).map(Some).map_err(|source| ChildError::Output { path: path.clone(), source })
}

/// Reads a pipe to its end and keeps what the limit allows.
fn copier(mut pipe: impl Read + Send + 'static, output: &Output, mut file: Option<File>) -> JoinHandle<Written> {
    let limit = match output {
        Output::File(_, limit) | Output::Memory(limit) => *limit,
        Output::Inherit | Output::Aside | Output::Null => 0,
    };
    std::thread::spawn(move || {
        let mut written = Written::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let room = usize::try_from(limit.saturating_sub(written.total)).unwrap_or(usize::MAX).min(read);
            let kept = match &mut file {
                Some(file) => file.write_all(&buffer[..room]).is_ok(),
                None => {
                    written.bytes.extend_from_slice(&buffer[..room]);
                    true
                }
            };
            written.total += read as u64;
            written.cut |= room < read || !kept;
        }
        written
    })
}

/// What a copier has, once its pipe is closed. Someone outside the group may still hold the pipe open; nobody waits for them.
fn collect(copier: JoinHandle<Written>) -> Written {
    // A pipe that nobody holds closes in microseconds, and thousands of trials would feel a pause of milliseconds.
    let (mut pause, mut waited) = (Duration::from_micros(50), Duration::ZERO);
    while waited < Duration::from_secs(1) {
        if copier.is_finished() {
            return copier.join().unwrap_or_default();
        }
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    Written { cut: true, ..Written::default() }
}

fn mark() -> String {
    format!("{:016x}", super::ids::random())
}

/// Kills every process whose environment carries the mark, until none is left. Only Linux shows other processes'
/// environments; elsewhere the group is all there is.
fn kill_marked(mark: &str) -> u32 {
    let needle = format!("{MARK}={mark}");
    let mut killed = 0;
    for _ in 0..5 {
        let found = marked(Path::new("/proc"), needle.as_bytes());
        if found.is_empty() {
            break;
        }
        for pid in found {
            if kill_process(pid, Signal::KILL).is_ok() {
                killed += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    killed
}

fn marked(proc: &Path, needle: &[u8]) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir(proc) else { return Vec::new() };
    let own = std::process::id();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid) != Ok(own))
        .filter(|pid| {
            std::fs::read(proc.join(pid.to_string()).join("environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == needle))
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// A child that we speak with, line by line; what it says on stderr goes where ours goes.
pub struct Piped {
    child: std::process::Child,
    stdin: Option<std::process::ChildStdin>,
}

/// What such a child says.
pub type Piping = io::BufReader<std::process::ChildStdout>;

/// Starts a child to speak with.
///
/// # Errors
/// When the program cannot be started.
#[expect(clippy::disallowed_methods, reason = "the one place that starts programs")]
pub fn piped(command: &[String]) -> Result<(Piped, Piping), ChildError> {
    let (program, args) = command.split_first().ok_or(ChildError::Empty)?;
    let started = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = started.map_err(|source| ChildError::Start { program: program.clone(), source })?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or_else(|| ChildError::Wait(io::Error::other("it has no output")))?;
    Ok((Piped { child, stdin }, io::BufReader::new(stdout)))
}

impl Piped {
    /// Says something to it.
    ///
    /// # Errors
    /// When it listens no more.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        stdin.write_all(bytes)?;
        stdin.flush()
    }

    /// Says no more, waits until it has ended, and kills it when it does not. Gives its exit code.
    pub fn close(mut self, patience: Duration) -> u8 {
        drop(self.stdin.take());
        let mut waited = Duration::ZERO;
        const PAUSE: Duration = Duration::from_millis(5);
        loop {
            match self.child.try_wait() {
                Ok(None) if waited < patience => {
                    std::thread::sleep(PAUSE);
                    waited += PAUSE;
                }
                Ok(Some(status)) => return status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
                _ => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return 0;
                }
            }
        }
    }
}

/// Lets another program take the place of this one. Returns only when it could not be started.
#[expect(clippy::disallowed_methods, reason = "the one place that starts programs")]
pub fn become_it(command: &[String]) -> io::Error {
    match command.split_first() {
        Some((program, args)) => Command::new(program).args(args).exec(),
        None => io::Error::other("no command was given"),
    }
}
