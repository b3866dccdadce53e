//! The program `tidelock`: command line, configuration, wiring, HTTP. No logic of the engine is here.

mod check;
mod cli;
mod commands;
mod config;
mod connectors;
#[cfg(feature = "demo")]
mod demo;
mod directions;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod errors_page;
mod exit;
mod http;
mod logging;
mod mapping;
mod metrics;
mod registry;
mod run;
mod shutdown;
mod sites;
mod worker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    exit::code_of(commands::run(cli::parse()))
}
