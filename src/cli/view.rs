//! `holdback view`: the store in a browser.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Global, Misuse, judging, out};
use crate::capture::child::{self, Env, Spec};
use crate::capture::ids;
use crate::view::{self, Desk, View};

/// How long pages that are on their way may take after Ctrl-C.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(
    after_help = "It listens on this machine only and reads. With --write, whoever opens the address that is printed may leave \
                  labels and keep searches, which go into the log like everything else, and promote failed traces to cases.\n\nExamples:\n  holdback view --open\n  \
                  holdback view --write --listen 127.0.0.1:5000"
)]
pub struct ViewArgs {
    /// Where to listen; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4242")]
    listen: SocketAddr,
    /// Open it in the browser
    #[arg(long)]
    open: bool,
    /// Let whoever opens the printed address write: labels, kept searches, cases
    #[arg(long)]
    write: bool,
    /// Label by this rubric; any number of them [default: those in rubrics/ and in the suites of the runs]
    #[arg(long, value_name = "FILE")]
    rubric: Vec<PathBuf>,
    /// In whose name labels are kept
    #[arg(long, value_name = "NAME", env = "USER", default_value = "me")]
    by: String,
}

/// Serves pages until it is told to stop.
pub fn run(global: &Global, args: &ViewArgs) -> anyhow::Result<Exit> {
    if !args.listen.ip().is_loopback() {
        let address = args.listen;
        return Err(Misuse(format!(
            "--listen {address}: the view shows everything that was recorded, so it listens on this machine only; reach it \
             from elsewhere by ssh -L {}:{address}",
            address.port()
        ))
        .into());
    }
    let store = global.existing_store()?;
    for path in &args.rubric {
        judging::open_rubric(path)?;
    }
    let desk = Desk { rubrics: args.rubric.clone(), by: args.by.clone(), ..Desk::default() };
    let token = args.write.then(|| format!("{:016x}{:016x}", ids::random(), ids::random()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
        let address = listener.local_addr().context("asking where it listens")?;
        // Before the address is told: who reads it may stop us at once.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let place = match &token {
            Some(token) => format!("http://{address}/?token={token}"),
            None => format!("http://{address}/"),
        };
        out::text(format!("{place}\n"))?;
        eprintln!("holdback: the view is open at this address; Ctrl-C closes it");
        if args.open {
            open(&place);
        }
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let wait = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let _ = stop.send(());
        };
        let served = view::serve(View::new(store, address, token).used_by(desk), listener, wait);
        tokio::select! {
            done = served => done.context("serving pages"),
            () = async { let _ = stopped.await; tokio::time::sleep(GRACE).await } => Ok(()),
        }
    });
    // A page that still asks DuckDB is not waited for.
    runtime.shutdown_background();
    done.map(|()| Exit::Pass)
}

/// Asks the desktop for its browser. Nothing is lost when there is none: the address was printed.
fn open(place: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let spec = Spec {
        env: Env::Inherit { set: Vec::new(), remove: Vec::new() },
        group: false,
        ..Spec::new(vec![program.to_owned(), place.to_owned()], Vec::new())
    };
    if let Err(error) = child::spawn(&spec) {
        eprintln!("holdback: no browser was opened: {error}");
    }
}
