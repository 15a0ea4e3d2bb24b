//! Build script: `sqlx::migrate!` embeds the migrations, and cargo must know that they are a source.

#![allow(clippy::disallowed_macros, reason = "cargo reads what a build script prints")]

fn main() {
    println!("cargo::rerun-if-changed=src/store/migrations");
}
