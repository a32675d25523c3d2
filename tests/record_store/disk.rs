//! A disk that fills up in mid-run: the loop never notices, unless it was told to.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::fake::{Act, chat};

const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;

/// A small file system in memory, as only root may make one.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"])
            .arg(&at)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Small(at))
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A file system of its own on a loop device, which can be made to stand still: whoever writes waits.
struct Still {
    at: PathBuf,
    frozen: bool,
}

fn done(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Still {
    fn mount(folder: &Path) -> Option<Self> {
        let (image, at) = (folder.join("image"), folder.join("still"));
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(&at).unwrap();
        let (image, place) = (image.to_str().unwrap(), at.to_str().unwrap());
        let mounted = done("mkfs.ext4", &["-q", "-F", image]) && done("mount", &["-o", "loop", image, place]);
        let mut still = mounted.then_some(Still { at: at.clone(), frozen: false })?;
        // Not every kernel lets itself be asked.
        (still.freeze() && still.thaw()).then_some(still)
    }

    fn freeze(&mut self) -> bool {
        self.frozen = done("fsfreeze", &["-f", self.at.to_str().unwrap()]);
        self.frozen
    }

    fn thaw(&mut self) -> bool {
        self.frozen = !done("fsfreeze", &["-u", self.at.to_str().unwrap()]);
        !self.frozen
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        if self.frozen {
            self.thaw();
        }
        done("umount", &["-l", self.at.to_str().unwrap()]);
    }
}

/// A loop under `holdback record` whose calls the test makes itself.
struct Loop {
    child: Running,
    folder: PathBuf,
    base: String,
}

impl Loop {
    async fn start(folder: &Path, store: &Path, fake: &Fake, more: &[&str]) -> Self {
        fs::create_dir(folder).unwrap();
        let script = "echo $OPENAI_BASE_URL > url.part; mv url.part url; while [ ! -e done ]; do sleep 0.05; done";
        let child = holdback(folder)
            .env("OPENAI_BASE_URL", format!("http://{}/v1", fake.address))
            .arg("--store")
            .arg(store)
            .args(["record", "--name", "full"])
            .args(more)
            .args(["--", "sh", "-c", script])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let child = Running(child);
        until("the loop runs", || folder.join("url").exists()).await;
        let url = fs::read_to_string(folder.join("url")).unwrap();
        Loop { child, folder: folder.to_owned(), base: url.trim().to_owned() }
    }

    async fn call(&self, words: &str) -> u16 {
        let rest = self.base.strip_prefix("http://").unwrap();
        let (address, path) = rest.split_at(rest.find('/').unwrap());
        let mut client = Client { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() };
        let body = chat(&[words]);
        client.post(&format!("{path}/chat/completions"), "", body.as_bytes()).await.unwrap().status
    }

    /// Lets the loop end; what holdback said about it.
    fn end(mut self) -> String {
        fs::write(self.folder.join("done"), "").unwrap();
        let mut said = String::new();
        self.child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.child.0.wait().unwrap().success(), "{said}");
        said
    }
}

/// Text that no compression makes small.
fn noise(seed: u64) -> String {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
    })
    .take(20_000)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_goes_on_over_a_full_disk_and_the_loss_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(folder.path().join("small")) else {
        println!("skipped: making a small file system is not permitted here");
        return;
    };
    let store = small.0.join("store");
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let running = Loop::start(&folder.path().join("loop"), &store, &fake, &[]).await;
    for at in 0..5 {
        assert_eq!(running.call(&noise(at)).await, 200);
    }
    // The recorder works behind the calls: what is to be kept for certain is kept before the disk fills up.
    let looked = store.to_str().unwrap().to_owned();
    until("five calls are kept", || {
        let shown = json(folder.path(), &["--store", &looked, "traces", "show", "full", "--json"]);
        shown["calls"].as_array().unwrap().iter().filter(|call| call["end"] == "complete").count() == 5
    })
    .await;
    small.fill();
    for at in 10..20 {
        assert_eq!(running.call(&noise(at)).await, 200, "the loop never notices");
    }
    small.free();
    for at in 20..23 {
        assert_eq!(running.call(&noise(at)).await, 200);
    }
    let said = running.end();
    assert!(said.contains("calls were NOT recorded"), "{said}");
    let lost: u64 = said.split(" calls were NOT").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((5..=10).contains(&lost), "{said}");
    assert_eq!(fake.seen().len(), 18);

    let store = store.to_str().unwrap();
    let shown = json(folder.path(), &["--store", store, "traces", "show", "full", "--json"]);
    assert_eq!(shown["lost_calls"].as_u64(), Some(lost), "{shown}");
    let whole = shown["calls"].as_array().unwrap().iter().filter(|call| call["end"] == "complete").count();
    assert_eq!(whole as u64 + lost, 18, "{said}{shown}");
    let health = json(folder.path(), &["--store", store, "doctor", "--verify", "--json"]);
    assert_eq!((health["sound"].as_bool(), health["lost_calls"].as_u64()), (Some(true), Some(lost)), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_loop_stops_over_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(folder.path().join("small")) else {
        println!("skipped: making a small file system is not permitted here");
        return;
    };
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let running = Loop::start(&folder.path().join("loop"), &small.0.join("store"), &fake, &["--strict"]).await;
    assert_eq!(running.call("fits").await, 200);
    small.fill();
    let mut answers = Vec::new();
    for at in 0..10 {
        answers.push(running.call(&noise(at)).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(answers[9] >= 400, "{answers:?}");
    let passed = answers.iter().filter(|status| **status == 200).count();
    assert_eq!(fake.seen().len(), 1 + passed, "what is refused goes nowhere");
    let said = running.end();
    assert!(said.contains("NOT recorded"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_goes_on_while_the_disk_stands_still_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut still) = Still::mount(folder.path()) else {
        println!("skipped: making a file system that can stand still is not permitted here");
        return;
    };
    let store = still.at.join("store");
    let fake = Fake::start(vec![Act::json(ANSWER)]).await;
    let running = Loop::start(&folder.path().join("loop"), &store, &fake, &[]).await;
    assert_eq!(running.call("before").await, 200);
    assert!(still.freeze());
    for at in 0..20 {
        assert_eq!(running.call(&noise(at)).await, 200, "the loop never notices");
    }
    assert!(still.thaw());
    assert_eq!(running.call("after").await, 200);
    let said = running.end();
    assert!(!said.contains("NOT recorded"), "{said}");
    let shown = json(folder.path(), &["--store", store.to_str().unwrap(), "traces", "show", "full", "--json"]);
    let whole = shown["calls"].as_array().unwrap().iter().filter(|call| call["end"] == "complete").count();
    assert_eq!((whole, shown["lost_calls"].as_u64()), (22, Some(0)), "{said}");
}
