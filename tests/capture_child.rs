//! Children: how they end, what they write, and that nothing of theirs is left behind.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test reads its environment and says what it skips"
)]

use std::time::Duration;

use holdback::capture::child::{ChildError, Input, Output, Spec, Written, spawn};

fn sh(script: &str) -> Spec {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Spec::new(["sh", "-c", script].map(str::to_owned).to_vec(), vec![("PATH".into(), path)])
}

fn with_output(script: &str) -> Spec {
    Spec { stdout: Output::Memory(1000), stderr: Output::Memory(1000), ..sh(script) }
}

#[test]
fn the_end_is_told_as_it_was() {
    for (script, code, signal) in [("exit 0", Some(0), None), ("exit 7", Some(7), None), ("kill -9 $$", None, Some(9))]
    {
        let exit = spawn(&sh(script)).unwrap().wait(None).unwrap();
        assert_eq!((exit.code, exit.signal, exit.timed_out), (code, signal, false), "{script}");
    }
    let missing = Spec::new(vec!["no-such-program-anywhere".to_owned()], Vec::new());
    assert!(matches!(spawn(&missing), Err(ChildError::Start { .. })));
    assert!(matches!(spawn(&Spec::new(Vec::new(), Vec::new())), Err(ChildError::Empty)));
}

#[test]
fn output_is_kept_up_to_its_limit_and_read_beyond_it() {
    let spec = Spec { stdin: Input::Bytes(b"given".to_vec()), ..with_output("cat; echo err >&2") };
    let exit = spawn(&spec).unwrap().wait(None).unwrap();
    assert_eq!(exit.stdout, Written { bytes: b"given".to_vec(), total: 5, cut: false });
    assert_eq!(exit.stderr.bytes, b"err\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    let spec = Spec { stdout: Output::File(file.clone(), 10), ..sh("head -c 300000 /dev/zero") };
    let exit = spawn(&spec).unwrap().wait(None).unwrap();
    assert_eq!((exit.code, exit.stdout.total, exit.stdout.cut), (Some(0), 300_000, true));
    assert_eq!(std::fs::metadata(file).unwrap().len(), 10);
}

#[test]
fn the_environment_is_exactly_what_was_given() {
    let mut spec = with_output("echo $ONLY; env | grep -c CARGO");
    let holdback::capture::child::Env::Exact(variables) = &mut spec.env else { panic!("exact") };
    variables.push(("ONLY".into(), "this".into()));
    let exit = spawn(&spec).unwrap().wait(None).unwrap();
    assert_eq!(exit.stdout.bytes, b"this\n0\n");
}

#[test]
fn when_its_time_is_up_the_whole_group_goes_even_what_ignores_being_asked() {
    let exit = spawn(&with_output("trap '' TERM; (trap '' TERM; sleep 60) & echo $!; sleep 60"))
        .unwrap()
        .wait(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(exit.timed_out && !exit.success());
    assert_gone(&exit.stdout.bytes);
}

#[test]
fn what_left_the_group_is_found_by_its_mark() {
    if !std::path::Path::new("/proc/self/environ").exists() {
        println!("skipped: this system does not show environments");
        return;
    }
    let exit =
        spawn(&with_output("setsid sh -c 'echo $$; exec sleep 60' & sleep 0.5; exit 3")).unwrap().wait(None).unwrap();
    assert_eq!((exit.code, exit.strays > 0), (Some(3), true));
    assert_gone(&exit.stdout.bytes);
}

/// The process whose number was printed runs no more.
fn assert_gone(printed: &[u8]) {
    let pid = String::from_utf8_lossy(printed).trim().to_owned();
    assert!(!pid.is_empty());
    for _ in 0..200 {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{pid} still runs");
}
