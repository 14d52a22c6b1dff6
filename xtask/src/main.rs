//! Every task that a person runs twice.
fn main() {}
