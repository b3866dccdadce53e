//! The server that a test may stop: [`Server::Spare`], alone in an instance of its own of `services/stack`.
//! The shared servers never stop here. One test at a time has it, also among several runs on one machine.

use std::fs::File;

use tokio::process::Command;

use crate::servers::{Server, address, spare_port_base};

/// The turn of one test with the spare server. When it is dropped, the server is stopped and its data thrown away.
#[derive(Debug)]
pub struct Spare {
    /// Locked as long as the file is open.
    _turn: File,
}

impl Spare {
    /// Waits for its turn, and starts the server without data of earlier turns.
    ///
    /// # Panics
    /// When the server does not start.
    pub async fn start() -> Spare {
        let lock = move || {
            let path = std::env::temp_dir().join(format!("tidelock-test-spare-{}.lock", spare_port_base()));
            let turn = File::create(path).expect("a lock file");
            turn.lock().expect("the turn comes");
            turn
        };
        let turn = tokio::task::spawn_blocking(lock).await.expect("waiting does not panic");
        stack("reset").await;
        stack("up").await;
        Spare { _turn: turn }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // Also after a panic; what cannot be stopped is found by the next turn.
        let _ = command("reset").into_std().status();
    }
}

/// Starts the server again, with its data, and waits until it answers.
///
/// # Panics
/// When it does not start.
pub async fn up() {
    stack("up").await;
}

/// Stops the server as an administrator would.
///
/// # Panics
/// When it cannot be stopped.
pub async fn down() {
    stack("down").await;
}

/// `kill -9`: sessions end without a word.
///
/// # Panics
/// When it cannot be killed.
pub async fn kill() {
    stack("kill").await;
}

async fn stack(verb: &str) {
    let status = command(verb).status().await.expect("services/stack starts");
    assert!(status.success(), "services/stack {verb} of the spare server: {status}");
}

fn command(verb: &str) -> Command {
    let mut command = Command::new(address("TIDELOCK_TEST_STACK"));
    command.args([verb, Server::Spare.part()]).stdin(std::process::Stdio::null());
    // Its own folder, too: `services/stack env` names that of the shared instance.
    command.env("TIDELOCK_PORT_BASE", spare_port_base().to_string()).env_remove("TIDELOCK_STACK_DIR");
    command
}
