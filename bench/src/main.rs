//! Benchmarks: `bench/run <name> [options]`. Each reports ratios of one run, because absolute numbers move with the machine.

mod decode;
mod throughput;

/// As the program itself: decoding and encoding allocate in bursts.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("decode") => {
            decode::main();
            Ok(())
        }
        Some("throughput") => throughput::main(&arguments[1..]),
        other => Err(format!("unknown benchmark {}; there are: decode, throughput", other.unwrap_or("(none given)"))),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::from(2)
        }
    }
}
