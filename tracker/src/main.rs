//! The `tracker` command: glue, no rules.

fn main() {}
