//! `proxy --shadow model=M,sample=0.05,…`: the flag, read and checked before anything listens.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::{Figure, Mocks, Upstream};
use crate::cli::Misuse;
use crate::cli::models::{Change, Changed};
use crate::cli::recording::{Limits, Recording};
use crate::cli::runs::stored::InLog;
use crate::eval::{Figures, Limit, Reask, Sampling, Shadow, ShadowSettings, Tapped};
use crate::provider::mock;
use crate::store::log::{Store, Writer};
use crate::trace::Content;

/// US dollars, where a model has a price and nobody said how much it may cost.
const BUDGET: f64 = 1.0;
const KEYS: &str = "model, sample, budget, calls, seed, jobs, waiting, timeout";

/// The flag, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    model: String,
    sampling: Sampling,
    limit: Limit,
    jobs: usize,
    waiting: usize,
    timeout: u64,
}

impl Wanted {
    /// Reads `key=value,…`.
    pub fn parse(text: &str) -> Result<Self, Misuse> {
        let wrong = |what: String| Misuse(format!("--shadow {text:?}: {what}"));
        let mut wanted = Wanted {
            model: String::new(),
            sampling: Sampling { sample: 0.05, seed: 0 },
            limit: Limit::default(),
            jobs: 2,
            waiting: 64,
            timeout: 120,
        };
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(wrong(format!("{part:?} is no KEY=VALUE; keys are {KEYS}")));
            };
            let bad = |expected: &str| wrong(format!("{key}={value}: expected {expected}"));
            let whole = |most: u64| {
                value.parse::<u64>().ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| bad(&format!("1 to {most}")))
            };
            let count = |most: u64| whole(most).map(|n| usize::try_from(n).unwrap_or(1));
            match key {
                "model" => value.clone_into(&mut wanted.model),
                "sample" => {
                    let share = value.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
                    wanted.sampling.sample = share.ok_or_else(|| bad("a share above 0 and up to 1, like 0.05"))?;
                }
                "budget" => {
                    let dollars = value.parse::<f64>().ok().filter(|dollars| *dollars > 0.0 && dollars.is_finite());
                    wanted.limit.budget_usd = Some(dollars.ok_or_else(|| bad("US dollars above 0, like 2.50"))?);
                }
                "calls" => wanted.limit.calls = Some(whole(1 << 40)?),
                "seed" => wanted.sampling.seed = value.parse().map_err(|_| bad("a whole number"))?,
                "jobs" => wanted.jobs = count(256)?,
                "waiting" => wanted.waiting = count(10_000)?,
                "timeout" => wanted.timeout = whole(86_400)?,
                _ => return Err(wrong(format!("there is no {key:?}; keys are {KEYS}"))),
            }
        }
        if wanted.model.is_empty() {
            return Err(wrong("model= is missing: PROVIDER/MODEL, like anthropic/claude-haiku-4-5".to_owned()));
        }
        Ok(wanted)
    }

    /// A word on what it will do.
    fn says(&self) -> String {
        let most = [
            self.limit.budget_usd.map(|dollars| format!("${dollars}")),
            self.limit.calls.map(|calls| format!("{calls} calls")),
        ];
        let most: Vec<String> = most.into_iter().flatten().collect();
        let until = if most.is_empty() { String::new() } else { format!(", until {} are spent", most.join(" or ")) };
        format!("asking {} about {} % of calls{until}", self.model, 100.0 * self.sampling.sample)
    }
}

/// What the standing proxy gets of it.
pub struct Started {
    pub sink: Tapped<Writer>,
    pub shadow: Shadow,
    /// What its metrics show besides.
    pub figures: Vec<Figure>,
    pub says: String,
}

/// Starts the shadow of a proxy that records into this store.
pub fn start(
    wanted: Wanted,
    store: &Store,
    recording: &Recording,
    environment: &[(String, String)],
) -> anyhow::Result<Started> {
    let misuse = |what: String| Misuse(format!("--shadow: {what}"));
    let mut proxy = recording.settings(store, Limits::default())?.proxy;
    if proxy.content == Content::None {
        return Err(misuse("with --content none nothing is kept that a second model could be asked".to_owned()).into());
    }
    let Changed { edits, upstream, keys } = Change::of_model(&wanted.model).read(environment)?;
    let mocks = mock::is_mock(&wanted.model);
    let (mut wanted, mut keyless) = (wanted, String::new());
    if mocks {
        proxy.upstreams.set("mock", Upstream::Local(Arc::new(Mocks)));
    } else {
        let name = upstream.as_deref().unwrap_or_default();
        if proxy.upstreams.get(name).is_none() {
            let known: Vec<&str> = proxy.upstreams.names().collect();
            return Err(misuse(format!(
                "no upstream is called {name:?}; there are {} (--upstream {name}=URL adds it)",
                known.join(", ")
            ))
            .into());
        }
        if keys.is_empty() {
            keyless = format!(" (no key of {name} in the environment: it is asked without one)");
        }
        let model = edits.model.as_ref().map_or("", |(model, _)| model.as_str());
        wanted.limit = limit(&wanted, proxy.prices.price(model).is_some()).map_err(misuse)?;
    }
    (proxy.queue_bytes, proxy.spill, proxy.mock_models, proxy.strict) = (64 << 20, None, false, false);
    let says = wanted.says() + &keyless;
    let figures = Arc::new(Figures::default());
    let settings = ShadowSettings {
        model: wanted.model,
        sampling: wanted.sampling,
        limit: wanted.limit,
        waiting: wanted.waiting,
        how: Reask {
            edits,
            upstream,
            keys: Box::new(move |_| keys.clone()),
            prices: recording.table()?,
            jobs: wanted.jobs,
            patience: Duration::from_secs(wanted.timeout),
            redactor: proxy.redactor.clone(),
        },
        proxy,
        figures: figures.clone(),
    };
    let say = |what: &str| eprintln!("holdback: {}", crate::cli::out::printable(what));
    let keeper = Box::new(InLog(store.writer()?));
    let (sink, shadow) = Shadow::start(settings, store.writer()?, store.writer()?, keeper, Box::new(say))?;
    Ok(Started { sink, shadow, figures: shown(&figures), says })
}

/// A budget can only be held where there is a price.
fn limit(wanted: &Wanted, priced: bool) -> Result<Limit, String> {
    let limit = wanted.limit;
    match (priced, limit.budget_usd, limit.calls) {
        (true, None, None) => Ok(Limit { budget_usd: Some(BUDGET), calls: None }),
        (true, ..) | (false, None, Some(_)) => Ok(limit),
        (false, Some(_), _) => Err(format!(
            "no price is known for {}, so a budget can't be held: give calls=N, or its price with --prices",
            wanted.model
        )),
        (false, None, None) => Err(format!(
            "no price is known for {}, so nobody could say what it spends: give calls=N as the most it may be asked, or its \
             price with --prices",
            wanted.model
        )),
    }
}

fn shown(figures: &Arc<Figures>) -> Vec<Figure> {
    type Of = fn(&Figures) -> &std::sync::atomic::AtomicU64;
    let all: [(&'static str, &'static str, Of); 6] = [
        ("shadow_seen_total", "Calls that a shadow could have been asked.", |f| &f.seen),
        ("shadow_sampled_total", "Calls chosen for the shadow.", |f| &f.sampled),
        ("shadow_answered_total", "Calls that the shadow answered.", |f| &f.answered),
        ("shadow_failed_total", "Calls that the shadow did not answer.", |f| &f.failed),
        ("shadow_dropped_total", "Chosen calls that there was no room for.", |f| &f.dropped),
        ("shadow_withheld_total", "Chosen calls after the shadow's limit.", |f| &f.withheld),
    ];
    let figure = |(name, help, of): (_, _, Of)| {
        let figures = figures.clone();
        Figure { name, help, value: Box::new(move || of(&figures).load(std::sync::atomic::Ordering::Relaxed)) }
    };
    all.into_iter().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_read_and_what_is_wrong_with_it_is_told() {
        let wanted = Wanted::parse("model=openai/gpt-5-mini,sample=0.2,budget=2.5,seed=9,jobs=3").unwrap();
        assert_eq!((wanted.model.as_str(), wanted.sampling), ("openai/gpt-5-mini", Sampling { sample: 0.2, seed: 9 }));
        assert_eq!((wanted.limit.budget_usd, wanted.jobs, wanted.waiting), (Some(2.5), 3, 64));
        assert_eq!(wanted.says(), "asking openai/gpt-5-mini about 20 % of calls, until $2.5 are spent");
        assert!((Wanted::parse("model=mock/echo").unwrap().sampling.sample - 0.05).abs() < 1e-12);
        for (text, word) in [
            ("", "model= is missing"),
            ("sample=0.1", "model= is missing"),
            ("model=a/b,sample=5", "sample=5: expected a share"),
            ("model=a/b,sample=0", "above 0"),
            ("model=a/b,sample=NaN", "expected a share"),
            ("model=a/b,budget=-1", "US dollars above 0"),
            ("model=a/b,budget=inf", "US dollars above 0"),
            ("model=a/b,calls=0", "calls=0: expected 1 to"),
            ("model=a/b,bugdet=1", "there is no \"bugdet\"; keys are model"),
            ("model=a/b,x", "\"x\" is no KEY=VALUE"),
        ] {
            let Misuse(said) = Wanted::parse(text).unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    #[test]
    fn a_limit_is_always_one_that_can_be_held() {
        let of = |text: &str, priced| limit(&Wanted::parse(text).unwrap(), priced);
        assert_eq!(of("model=a/b", true), Ok(Limit { budget_usd: Some(BUDGET), calls: None }));
        assert_eq!(of("model=a/b,calls=5", true), Ok(Limit { budget_usd: None, calls: Some(5) }));
        assert_eq!(of("model=a/b,calls=5", false), Ok(Limit { budget_usd: None, calls: Some(5) }));
        assert!(of("model=a/b", false).unwrap_err().contains("calls=N"));
        assert!(of("model=a/b,budget=5", false).unwrap_err().contains("can't be held"));
    }
}
