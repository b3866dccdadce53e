//! Benchmarks. `cargo run --release -p tidelock-bench -- <name>`; each reports ratios of one run, because absolute numbers move
//! with the machine.

mod decode;

/// As the program itself: decoding and encoding allocate in bursts.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("decode") => decode::main(),
        other => {
            eprintln!("unknown benchmark {}; there is: decode", other.unwrap_or("(none given)"));
            std::process::exit(2);
        }
    }
}
