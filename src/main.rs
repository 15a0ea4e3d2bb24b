//! The binary: parse, run, print the chain of causes and a hint, exit code.

#![forbid(unsafe_code)]
#![warn(rust_2018_idioms, unreachable_pub, clippy::await_holding_lock)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
