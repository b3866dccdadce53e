//! The simulator: a fake source, broker and target around the real lanes, driven by seeded schedules of everything that can happen, judged by
//! a naive model. It needs no service. `SIM_SCHEDULES=n` runs n schedules, from seed `SIM_FIRST` on; `SIM_SEED=s` replays one with its trace.
//! The last line says how many failed. A seed that fails is printed at once: nothing may get lost when the run is cut off.

mod arguments;
mod calm;
mod judge;
mod processors;
mod schedule;
mod source;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Schedules without `SIM_SCHEDULES`: about half a minute on two cores.
const SCHEDULES_DEFAULT: u64 = 10_000;
/// Of so many schedules one is run again, to compare.
const REPLAYED_EACH: u64 = 100;
/// Failures that are shown with their traces.
const FAILURES_SHOWN_MAX: usize = 3;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Replays a seed with its trace; false when it fails.
fn replay(seed: u64) -> bool {
    match schedule::run(seed, true) {
        Ok(_) => {
            println!("seed {seed}: no failure");
            true
        }
        Err(failure) => {
            println!("\nseed {seed}:");
            failure.trace.iter().for_each(|line| println!("  {line}"));
            println!("seed {seed} FAILED: {}\nSIM_SEED={seed} ./test simulator replays it", failure.reason);
            false
        }
    }
}

/// A seed decides everything, or a failure could not be replayed: two runs must leave the same trace.
fn is_replayable(seed: u64) -> bool {
    schedule::trace(seed) == schedule::trace(seed)
}

fn main() -> ExitCode {
    if !arguments::is_wanted("simulator") {
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = variable("SIM_SEED") {
        let failures = u8::from(!replay(seed));
        println!("simulator: 1 schedules, {failures} failures");
        return ExitCode::from(failures);
    }
    let schedules = variable("SIM_SCHEDULES").unwrap_or(SCHEDULES_DEFAULT);
    let first = variable("SIM_FIRST").unwrap_or(0);
    let (next, commits, failed) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= schedules {
                        break;
                    }
                    let seed = first + number;
                    let reason = match schedule::run(seed, false) {
                        Err(failure) => failure.reason,
                        Ok(_) if number % REPLAYED_EACH == 0 && !is_replayable(seed) => {
                            "two runs of the seed differ: something besides the seed decides".to_owned()
                        }
                        Ok(done) => {
                            commits.fetch_add(done.commits, Ordering::Relaxed);
                            continue;
                        }
                    };
                    println!("seed {seed}: {reason}");
                    failed.lock().expect("no panic while locked").push((seed, reason));
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let mut failed = failed.into_inner().expect("no panic while locked");
    failed.sort();
    for (seed, _) in failed.iter().take(FAILURES_SHOWN_MAX) {
        replay(*seed);
    }
    for (seed, reason) in failed.iter().take(40) {
        println!("seed {seed}: {reason}");
    }
    println!("{} commits judged", commits.into_inner());
    println!("simulator: {schedules} schedules, {} failures", failed.len());
    ExitCode::from(u8::from(!failed.is_empty()))
}
