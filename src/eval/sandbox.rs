//! Keeps a loop in its workspace. On Linux that needs nothing installed: Landlock rules hold for the thread that sets them and
//! for all it starts, so a thread of its own sets them and starts the loop.

use std::path::{Path, PathBuf};

use crate::capture::child::{self, ChildError, Running, Spec};
use crate::suite::Sandbox;

/// What a loop may do.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Folders it may write to; everything else it may only read.
    pub write: Vec<PathBuf>,
    /// A folder it may not even read, but for `write`: where the other trials work.
    pub hidden: PathBuf,
    /// The only port it may connect to; any, when `None`.
    pub only_port: Option<u16>,
    /// The image for docker and podman.
    pub image: Option<String>,
}

/// How loops are kept on this machine, decided once for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    No,
    /// The version of Landlock that the kernel has.
    Landlock(u32),
    Bubblewrap,
    Docker,
    Podman,
}

/// A sandbox that was asked for and can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSandbox {
    #[error("this system has no Landlock: use sandbox: bubblewrap, docker or none")]
    Landlock,
    #[error("the sandbox {0:?} needs the program {1}, which is not on the PATH")]
    Program(&'static str, &'static str),
    #[error("the sandbox {0:?} needs an image: write image: under loop:")]
    Image(&'static str),
}

/// Decides how loops are kept, and says in words what that does not cover.
///
/// # Errors
/// When a sandbox is asked for by name and isn't there.
pub fn decide(asked: Sandbox, network: bool, image: bool, path: &str) -> Result<(Kept, Vec<String>), NoSandbox> {
    let has = |program: &str| std::env::split_paths(path).any(|dir| dir.join(program).is_file());
    let need = |kept, name, program| if has(program) { Ok(kept) } else { Err(NoSandbox::Program(name, program)) };
    let kept = match asked {
        Sandbox::None => Kept::No,
        Sandbox::Auto => landlock_version().map_or(Kept::No, Kept::Landlock),
        Sandbox::Landlock => Kept::Landlock(landlock_version().ok_or(NoSandbox::Landlock)?),
        Sandbox::Bubblewrap => need(Kept::Bubblewrap, "bubblewrap", "bwrap")?,
        Sandbox::Docker | Sandbox::Podman if !image => {
            return Err(NoSandbox::Image(if asked == Sandbox::Docker { "docker" } else { "podman" }));
        }
        Sandbox::Docker => need(Kept::Docker, "docker", "docker")?,
        Sandbox::Podman => need(Kept::Podman, "podman", "podman")?,
    };
    let mut notes = Vec::new();
    match kept {
        Kept::No if asked == Sandbox::Auto => {
            notes.push("no sandbox: this system has no Landlock, so loops can write wherever you can".to_owned());
        }
        Kept::Landlock(version) if version < 4 && !network => {
            notes
                .push(format!("the kernel's Landlock (version {version}) can't close the network: loops can reach it"));
        }
        Kept::Bubblewrap | Kept::Docker | Kept::Podman if !network => {
            notes.push(
                "the network stays open in this sandbox, because the loop must reach the recording proxy".to_owned(),
            );
        }
        _ => {}
    }
    Ok((kept, notes))
}

/// Starts a child, kept.
///
/// # Errors
/// When it can't be started, or the rules can't be set: an unkept loop is never started in place of a kept one.
pub fn spawn(kept: Kept, rules: &Rules, spec: Spec) -> Result<Running, ChildError> {
    match kept {
        Kept::No => child::spawn(&spec),
        Kept::Landlock(version) => restricted(version, rules, spec),
        Kept::Bubblewrap => child::spawn(&wrapped(spec, rules, bubblewrap)),
        Kept::Docker => child::spawn(&wrapped(spec, rules, |spec, rules| container("docker", spec, rules))),
        Kept::Podman => child::spawn(&wrapped(spec, rules, |spec, rules| container("podman", spec, rules))),
    }
}

fn wrapped(mut spec: Spec, rules: &Rules, with: impl Fn(&Spec, &Rules) -> Vec<String>) -> Spec {
    let mut command = with(&spec, rules);
    command.append(&mut spec.command);
    spec.command = command;
    spec
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Everything read-only, the hidden folder empty, and what may be written to on top.
fn bubblewrap(spec: &Spec, rules: &Rules) -> Vec<String> {
    let mut words: Vec<String> = [
        "bwrap",
        "--die-with-parent",
        "--unshare-pid",
        "--unshare-ipc",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    words.extend(["--tmpfs".to_owned(), text(&rules.hidden)]);
    for dir in &rules.write {
        words.extend(["--bind".to_owned(), text(dir), text(dir)]);
    }
    if let Some(cwd) = &spec.cwd {
        words.extend(["--chdir".to_owned(), text(cwd)]);
    }
    words.push("--".to_owned());
    words
}

fn container(program: &str, spec: &Spec, rules: &Rules) -> Vec<String> {
    let mut words: Vec<String> = [program, "run", "--rm", "-i", "--network", "host"].map(ToOwned::to_owned).to_vec();
    for dir in &rules.write {
        words.extend(["-v".to_owned(), format!("{0}:{0}", text(dir))]);
    }
    if let Some(cwd) = &spec.cwd {
        words.extend(["-w".to_owned(), text(cwd)]);
    }
    if let child::Env::Exact(variables) = &spec.env {
        // The container has a PATH and a HOME of its own.
        let own = ["PATH", "HOME", "SHELL", "USER"];
        let passed = variables.iter().filter(|(name, _)| !own.iter().any(|own| name == own));
        words.extend(passed.flat_map(|(name, value)| {
            ["-e".to_owned(), format!("{}={}", name.to_string_lossy(), value.to_string_lossy())]
        }));
    }
    words.extend(rules.image.clone());
    words
}

#[cfg(not(target_os = "linux"))]
fn landlock_version() -> Option<u32> {
    None
}

#[cfg(not(target_os = "linux"))]
fn restricted(_: u32, _: &Rules, spec: Spec) -> Result<Running, ChildError> {
    child::spawn(&spec)
}

#[cfg(target_os = "linux")]
fn landlock_version() -> Option<u32> {
    use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr};
    // The crate does not tell the version, so it is asked which rules can be had.
    let file_rules = |abi| {
        let hard = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        hard.handle_access(AccessFs::from_all(abi)).is_ok_and(|ruleset| ruleset.create().is_ok())
    };
    let network = || {
        let hard = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        hard.handle_access(AccessNet::ConnectTcp).is_ok_and(|ruleset| ruleset.create().is_ok())
    };
    match () {
        () if network() => Some(4),
        () if file_rules(ABI::V3) => Some(3),
        () if file_rules(ABI::V2) => Some(2),
        () if file_rules(ABI::V1) => Some(1),
        () => None,
    }
}

#[cfg(target_os = "linux")]
fn restricted(version: u32, rules: &Rules, spec: Spec) -> Result<Running, ChildError> {
    let program = spec.command.first().cloned().unwrap_or_default();
    let refused = |why: String| ChildError::Start { program: program.clone(), source: std::io::Error::other(why) };
    let spawned = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                restrict(version, rules).map_err(|why| refused(format!("the sandbox could not be closed: {why}")))?;
                child::spawn(&spec)
            })
            .join()
    });
    spawned.unwrap_or_else(|_| Err(refused("the thread that closes the sandbox failed".to_owned())))
}

/// Sets the rules for this thread and all it starts.
#[cfg(target_os = "linux")]
fn restrict(version: u32, rules: &Rules) -> Result<(), landlock::RulesetError> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules,
    };
    let abi = match version {
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        _ => ABI::V5,
    };
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(abi))?;
    if rules.only_port.is_some() && version >= 4 {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut created = ruleset
        .create()?
        .add_rules(path_beneath_rules(["/"], AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(readable(&rules.hidden), AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(&rules.write, AccessFs::from_all(abi)))?
        .add_rules(path_beneath_rules(["/dev"], AccessFs::from_file(abi)))?
        .add_rules(path_beneath_rules(["/dev/shm"], AccessFs::from_all(abi)))?;
    if let Some(port) = rules.only_port.filter(|_| version >= 4) {
        created = created.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    created.restrict_self().map(drop)
}

/// Landlock only knows what is allowed, so hiding a folder means allowing everything beside the way to it.
#[cfg(target_os = "linux")]
fn readable(hidden: &Path) -> Vec<PathBuf> {
    const MOST: usize = 4000;
    let mut allowed = Vec::new();
    let hidden = hidden.canonicalize().unwrap_or_else(|_| hidden.to_owned());
    let mut way = PathBuf::new();
    for part in hidden.components() {
        if !way.as_os_str().is_empty() {
            let Ok(entries) = std::fs::read_dir(&way) else { break };
            let next = way.join(part);
            allowed.extend(entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| *path != next));
        }
        way.push(part);
    }
    // Too many neighbours to name them all: then everything may be read.
    if allowed.len() > MOST { vec![PathBuf::from("/")] } else { allowed }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::child::Output;

    fn run(kept: Kept, rules: &Rules, script: &str, dir: &Path) -> (Option<i32>, String) {
        let command = ["sh", "-c", script].map(ToOwned::to_owned).to_vec();
        let mut spec = Spec::new(command, vec![("PATH".into(), "/usr/bin:/bin".into())]);
        spec.cwd = Some(dir.to_owned());
        spec.stdout = Output::Memory(10_000);
        spec.stderr = Output::Memory(10_000);
        let running = spawn(kept, rules, spec).expect("sh is everywhere");
        let exit = running.wait(Some(Duration::from_secs(20))).expect("it can be waited for");
        let text = String::from_utf8_lossy(&[exit.stdout.bytes, exit.stderr.bytes].concat()).into_owned();
        (exit.code, text)
    }

    #[test]
    fn a_loop_writes_and_reads_only_where_it_may() {
        let Some(version) = landlock_version() else {
            eprintln!("skipped: no Landlock here");
            return;
        };
        let root = tempfile::tempdir().unwrap();
        let (mine, other) = (root.path().join("work/mine"), root.path().join("work/other"));
        std::fs::create_dir_all(&mine).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(other.join("secret"), "x").unwrap();
        std::fs::write(root.path().join("beside"), "readable").unwrap();
        let rules =
            Rules { write: vec![mine.clone()], hidden: root.path().join("work"), only_port: Some(1), image: None };
        let kept = Kept::Landlock(version);
        let at = |name: &str| root.path().join(name).display().to_string();
        for (script, works) in [
            ("echo hi > file && cat file && ls / > /dev/null".to_owned(), true),
            (format!("cat {}", at("beside")), true),
            (format!("echo x > {}", at("beside")), false),
            (format!("cat {}", at("work/other/secret")), false),
            (format!("rm {}", at("work/other/secret")), false),
            ("sh -c 'echo x > ../other/new'".to_owned(), false),
        ] {
            let (code, text) = run(kept, &rules, &script, &mine);
            assert_eq!(code == Some(0), works, "{script}: {text}");
        }
        assert!(other.join("secret").exists());
        // This thread itself has stayed free.
        std::fs::write(other.join("free"), "x").unwrap();
    }

    #[test]
    fn sandboxes_that_are_not_there_are_named() {
        assert_eq!(decide(Sandbox::None, false, false, ""), Ok((Kept::No, Vec::new())));
        let error = decide(Sandbox::Bubblewrap, false, false, "").unwrap_err().to_string();
        assert!(error.contains("bwrap"), "{error}");
        assert_eq!(decide(Sandbox::Podman, false, false, ""), Err(NoSandbox::Image("podman")));
    }

    #[test]
    fn other_sandboxes_are_commands_before_the_command() {
        let mut spec =
            Spec::new(vec!["agent".to_owned()], vec![("X".into(), "1".into()), ("HOME".into(), "/h".into())]);
        spec.cwd = Some("/w/t".into());
        let rules =
            Rules { write: vec!["/w/t".into()], hidden: "/w".into(), only_port: None, image: Some("img".to_owned()) };
        let line = wrapped(spec.clone(), &rules, bubblewrap).command.join(" ");
        assert!(line.contains("--tmpfs /w --bind /w/t /w/t --chdir /w/t -- agent"), "{line}");
        let line = wrapped(spec, &rules, |spec, rules| container("podman", spec, rules)).command.join(" ");
        assert_eq!(line, "podman run --rm -i --network host -v /w/t:/w/t -w /w/t -e X=1 img agent");
    }
}
