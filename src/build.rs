//! Build script: `sqlx::migrate!` embeds the migrations, and cargo must know that they are a source.

fn main() {
    println!("cargo::rerun-if-changed=src/store/migrations");
}
