//! Measurements: what a message costs.
//!
//! `bench one-way COUNT` and `bench batched COUNT` are run under callgrind, twice, by `cargo xtask bench`; the
//! difference of two counts is free of start-up costs and repeats to the instruction.

mod one_way;
mod pair;

fn main() {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let count = args.next().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    match mode.as_str() {
        "one-way" => println!("{}", one_way::single(count)),
        "batched" => println!("{}", one_way::batched(count)),
        _ => eprintln!("bench one-way|batched COUNT"),
    }
}
