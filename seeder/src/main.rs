//! The `seeder` command: glue, no rules.

fn main() {}
