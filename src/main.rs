//! The binary: parse, run, print the chain of causes and a hint, exit code.

fn main() {}
