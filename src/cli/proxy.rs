//! `holdback proxy`: the standing recorder.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::record::environment;
use super::recording::{Limits, Recording};
use super::{Exit, Global, Misuse, otlp, shadow};
use crate::capture::{Proxy, ProxyError};
use crate::eval::{ShadowRecord, Tapped};

/// How long calls in flight may take after Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "Point loops at it with `holdback attach`. /healthz says whether it is well, /metrics has numbers for \
                  Prometheus.\n\nExamples:\n  holdback proxy\n  \
                  holdback proxy --listen 127.0.0.1:4141 --upstream openai=http://127.0.0.1:8000\n  \
                  holdback proxy --shadow model=anthropic/claude-haiku-4-5,sample=0.05,budget=2\n  \
                  HOLDBACK_TOKEN=… holdback proxy --listen 0.0.0.0:4141"
)]
pub struct ProxyArgs {
    /// Where to listen; anything but loopback needs a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4141")]
    listen: SocketAddr,
    /// The token that clients have to show
    #[arg(long, env = "HOLDBACK_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Take OpenTelemetry too, at 127.0.0.1:4318 (HTTP) and 127.0.0.1:4317 (gRPC)
    #[arg(long)]
    otlp: bool,
    /// Let models named mock/… answer from here
    #[arg(long)]
    mock: bool,
    /// Ask a second model about a share of the calls, behind their back: model=M,sample=0.05[,budget=USD][,calls=N][,seed=N]
    /// [,jobs=2][,waiting=64][,timeout=SECONDS]. `holdback shadow` shows how its answers compare
    #[arg(long, value_name = "KEY=VALUE,...")]
    shadow: Option<String>,
    #[command(flatten)]
    recording: Recording,
}

/// Listens until it is told to stop.
pub fn run(global: &Global, args: &ProxyArgs) -> anyhow::Result<Exit> {
    let store = global.store()?;
    let mut settings = args.recording.settings(&store, Limits::default())?;
    settings.proxy.token = args.token.clone().filter(|token| !token.is_empty());
    settings.proxy.mock_models = args.mock;
    let wanted = args.shadow.as_deref().map(shadow::flag::Wanted::parse).transpose()?;
    let shadow =
        wanted.map(|wanted| shadow::flag::start(wanted, &store, &args.recording, &environment())).transpose()?;
    let (sink, shadow) = match shadow {
        None => (Tapped::plain(store.writer()?), None),
        Some(started) => {
            settings.proxy.figures = started.figures;
            (started.sink, Some((started.shadow, started.says)))
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
        let names: Vec<String> = settings.proxy.upstreams.names().map(str::to_owned).collect();
        let proxy = Proxy::start(settings.proxy, listener, sink).map_err(|error| match error {
            ProxyError::NoToken(_) => Misuse(format!("{error} (--token, or HOLDBACK_TOKEN)")).into(),
            other => anyhow::Error::from(other),
        })?;
        // Before the address is told: who reads it may stop us at once, and even then what is in flight is finished.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        eprintln!("holdback: recording at http://{} for {}; Ctrl-C stops", proxy.address(), names.join(", "));
        if let Some((_, says)) = &shadow {
            eprintln!("holdback: {says}; `holdback shadow` shows how it compares");
        }
        let telemetry = match args.otlp {
            true => Some(otlp::start(global, &otlp::Otlp::usual(args.token.clone())).await?),
            false => None,
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("holdback: finishing what is in flight");
        if let Some(telemetry) = telemetry {
            telemetry.stop().await?;
        }
        let lost = proxy.stop(GRACE).await;
        if lost > 0 {
            eprintln!("holdback: {lost} calls were made and NOT recorded");
        }
        if let Some((shadow, _)) = shadow {
            let came = tokio::task::spawn_blocking(|| shadow.finish()).await.ok().flatten();
            eprintln!("holdback: {}", came.map_or_else(|| "the shadow broke off".to_owned(), |came| account(&came)));
        }
        Ok(Exit::Pass)
    })
}

/// The one line that says what came of a shadow.
fn account(came: &ShadowRecord) -> String {
    let ShadowRecord { model, seen, sampled, answered, failed, dropped, withheld, cost_usd, .. } = came;
    format!(
        "{model} answered {answered} of {sampled} calls sampled out of {seen} ({failed} failed, {dropped} dropped, {withheld} \
         withheld), ${cost_usd:.4}"
    )
}
