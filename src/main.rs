//! The thin door: see `holdback::cli`.

fn main() {}
