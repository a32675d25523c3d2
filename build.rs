#![allow(clippy::disallowed_methods, clippy::disallowed_macros)] // build scripts talk to cargo by these
//! With the prebuilt DuckDB, writes its folder into the binary as rpath, so that it runs in place.

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rerun-if-changed=build.rs");
    let linked = std::env::var_os("CARGO_FEATURE_BUNDLED").is_none();
    let unix = std::env::var_os("CARGO_CFG_UNIX").is_some();
    if let (true, true, Ok(dir)) = (linked, unix, std::env::var("DUCKDB_LIB_DIR")) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}");
        // where `make install` puts the library
        let beside =
            if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "macos") { "@loader_path" } else { "$ORIGIN" };
        println!("cargo:rustc-link-arg=-Wl,-rpath,{beside}/../lib/holdback");
    }
}
