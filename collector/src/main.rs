//! `vedetta-collector`.
fn main() {}
