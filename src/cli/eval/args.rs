//! The flags of `holdback eval` that choose what is asked.

use clap::Args;

use crate::cli::runs::stored::Asked;
use crate::suite::Sandbox;

/// Which part of a suite, how often, of whom.
#[derive(Debug, Clone, Default, Args)]
pub struct AskedArgs {
    /// Ask this model, as provider/model, instead of the suite's; any number of them
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// How often each task is asked of each model
    #[arg(short = 'k', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,
    /// Only tasks with this in their id or as a tag; any number of them
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Only this task; any number of them
    #[arg(long, value_name = "ID")]
    task: Vec<String>,
    /// Only the tasks that failed in this run
    #[arg(long, value_name = "RUN")]
    failing: Option<String>,
    /// At most so many tasks
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only this part of the trials, 2/4 say; `holdback runs merge` puts the parts together
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(u32, u32)>,
    /// Where the order of trials and their seeds come from
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How loops are kept in their workspace: auto, none, landlock, bubblewrap, docker, podman
    #[arg(long, value_name = "HOW", value_parser = sandbox)]
    sandbox: Option<Sandbox>,
}

impl AskedArgs {
    /// As it is kept with the run.
    pub fn asked(&self) -> Asked {
        Asked {
            models: self.model.clone(),
            trials: self.trials,
            filter: self.filter.clone(),
            tasks: self.task.clone(),
            failing: self.failing.clone(),
            limit: self.limit,
            shard: self.shard,
            seed: self.seed,
            sandbox: self.sandbox,
        }
    }
}

fn shard(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    match parts {
        Some((part, parts)) if part >= 1 && part <= parts => Ok((part, parts)),
        _ => Err("expected a part and how many there are, counted from 1: 1/4, 2/4, 3/4, 4/4".to_owned()),
    }
}

fn sandbox(text: &str) -> Result<Sandbox, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "expected auto, none, landlock, bubblewrap, docker or podman".to_owned())
}

/// `5%` or `0.05`.
pub fn share(text: &str) -> Result<f64, String> {
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    value.ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "expected a share, like 5% or 0.05".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_and_shares_are_read_as_people_write_them() {
        assert_eq!((shard("1/4"), shard("4/4")), (Ok((1, 4)), Ok((4, 4))));
        assert_eq!((share("5%"), share("0.05"), share("100 %")), (Ok(0.05), Ok(0.05), Ok(1.0)));
        for bad in ["", "0/4", "5/4", "x", "1/"] {
            assert!(shard(bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "-1%", "NaN", "101%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        assert_eq!(sandbox("none"), Ok(Sandbox::None));
        assert!(sandbox("jail").is_err());
    }
}
