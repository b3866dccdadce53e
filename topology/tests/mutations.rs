//! Proves that the simulator can fail: every deliberate fault of `topology::mutation` is switched on, and schedules run until one fails. A schedule
//! counts only if it succeeds without the fault: each is run again, unmutated. `SIM_FAULT=name` tries one fault alone.

#[path = "simulator/arguments.rs"]
mod arguments;
#[path = "simulator/calm.rs"]
mod calm;
#[path = "simulator/judge.rs"]
mod judge;
#[path = "simulator/processors.rs"]
mod processors;
#[path = "simulator/schedule.rs"]
mod schedule;
#[path = "simulator/source.rs"]
mod source;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use topology::mutation;

/// Schedules after which a fault counts as not found.
const SCHEDULES_MAX: u64 = 10_000;

/// Why a schedule fails, if it does.
fn fails(seed: u64) -> Option<String> {
    schedule::run(seed, false).err().map(|failure| failure.reason)
}

/// Runs schedules under a fault; the number of the first that fails with the fault and not without, and why.
fn hunt(fault: u32) -> Option<(u64, String)> {
    let found = (0..SCHEDULES_MAX).find_map(|seed| {
        mutation::activate(fault);
        let reason = fails(seed)?;
        mutation::activate(0);
        fails(seed).is_none().then_some((seed, reason))
    });
    mutation::activate(0);
    found
}

fn main() -> ExitCode {
    if !arguments::is_wanted("mutations") {
        return ExitCode::SUCCESS;
    }
    std::panic::set_hook(Box::new(|_| {}));
    let wanted = std::env::var("SIM_FAULT").ok();
    let is_wanted = |(_, name): &&(u32, &str)| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let faults: Vec<(u32, &str)> = mutation::ALL.iter().filter(is_wanted).copied().collect();
    let (next, found) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((fault, name)) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match hunt(*fault) {
                        Some((seed, reason)) => {
                            found.fetch_add(1, Ordering::Relaxed);
                            let reason =
                                reason.lines().next().unwrap_or_default().split("; ").next().unwrap_or_default();
                            println!("{name}: found by seed {seed}, which succeeds without it: {reason}");
                        }
                        None => println!("{name}: NOT FOUND in {SCHEDULES_MAX} schedules"),
                    }
                }
            });
        }
    });
    let (found, all) = (found.into_inner(), faults.len());
    println!("mutations: {found} of {all} found");
    ExitCode::from(u8::from(found != all || all == 0))
}
