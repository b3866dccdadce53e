//! The program `tidelock`: command line, configuration, wiring, HTTP. No logic of the engine is here.

#![allow(dead_code, unused_imports)] // goes when every command is wired

mod cli;
mod commands;
mod config;
mod directions;
#[cfg(test)]
mod docs;
mod exit;
mod http;
mod metrics;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    exit::code_of(commands::run(cli::parse()))
}
