//! See Cargo.toml.

#[path = "../../src/context/mod.rs"]
pub mod context;
#[path = "../../src/import/mod.rs"]
pub mod import;
#[path = "../../src/price/mod.rs"]
pub mod price;
#[path = "../../src/provider/mod.rs"]
pub mod provider;
#[path = "../../src/redact/mod.rs"]
pub mod redact;
#[path = "../../src/suite/mod.rs"]
pub mod suite;
#[path = "../../src/trace/mod.rs"]
pub mod trace;
#[path = "../../src/trial/mod.rs"]
pub mod trial;
