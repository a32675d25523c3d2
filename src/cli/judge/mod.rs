//! `holdback judge`: people's labels, and judges measured against them.

mod calibrate;
mod label;
mod noise;

use clap::{Args, Subcommand};

use super::{Exit, Global};

pub use crate::eval::samples::calibrations;

#[derive(Debug, Args)]
#[command(after_help = "Example: holdback judge label last --rubric rubrics/honesty.yaml")]
pub struct JudgeArgs {
    #[command(subcommand)]
    command: JudgeCommand,
}

#[derive(Debug, Subcommand)]
enum JudgeCommand {
    /// Label trials of a run by a rubric, without seeing what the judge said
    Label(label::Label),
    /// Write labels to a file, or read them from one
    Labels(label::Move),
    /// Measure a judge against labels: how often it is right, how well it agrees, what sways it
    Calibrate(calibrate::Calibrate),
    /// Tell the judge's noise from the loop's in a run, and say where the next dollar helps
    Noise(noise::Noise),
}

/// Does what was asked of judges.
pub fn run(global: &Global, args: &JudgeArgs) -> anyhow::Result<Exit> {
    match &args.command {
        JudgeCommand::Label(args) => label::run(global, args),
        JudgeCommand::Labels(args) => label::carry(global, args),
        JudgeCommand::Calibrate(args) => calibrate::run(global, args),
        JudgeCommand::Noise(args) => noise::run(global, args),
    }
}
