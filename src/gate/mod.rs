//! Two runs and a policy to a verdict.
