//! Evidence to grades, one file per grader.
