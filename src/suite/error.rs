//! What can be wrong with a suite, told with its place.

use std::fmt;

/// One thing that is wrong with a suite, where it stands and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteError {
    pub message: String,
    pub file: String,
    /// Line and column from 1; 0 when the place is not known.
    pub line: u64,
    pub column: u64,
    /// Where it stands in the text, in bytes: what an editor or a report underlines.
    pub offset: usize,
    pub len: usize,
    pub help: Option<String>,
}

impl fmt::Display for SuiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SuiteError {}

/// Everything that is wrong with a suite, in the order it stands in the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteErrors(pub Vec<SuiteError>);

impl fmt::Display for SuiteErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SuiteErrors {}

impl From<SuiteError> for SuiteErrors {
    fn from(error: SuiteError) -> Self {
        SuiteErrors(vec![error])
    }
}
