//! What the program's exit code says. One table for all commands, because CI scripts are written against it.

use std::process::ExitCode;

/// How a command came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Pass,
    /// A regression, or a check that failed.
    Regression,
    /// The command line or a file it names is wrong.
    Usage,
    /// Could not be decided; nothing was evaluated.
    Undecided,
    /// Infrastructure broke, or the run is not valid.
    Infrastructure,
    /// Nothing can be said of this commit: `git bisect run` goes on to another.
    Skip,
    /// A recorded command's own exit code, passed on untouched.
    Child(u8),
}

impl Exit {
    /// The number a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Pass => 0,
            Exit::Regression => 1,
            Exit::Usage => 2,
            Exit::Undecided => 3,
            Exit::Infrastructure => 4,
            Exit::Skip => 125,
            Exit::Child(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// A command line that can't be carried out, as opposed to work that failed: exits with 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_the_ones_the_readme_promises() {
        let codes = [Exit::Pass, Exit::Regression, Exit::Usage, Exit::Undecided, Exit::Infrastructure];
        assert_eq!(codes.map(Exit::code), [0, 1, 2, 3, 4]);
        assert_eq!(Exit::Child(77).code(), 77);
    }
}
