//! The door: one file per subcommand.
