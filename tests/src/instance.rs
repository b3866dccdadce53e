//! An instance of `services/stack` that a test owns: it may stop and kill its servers. `./test torture` starts one beside the shared servers
//! and says so in `TIDELOCK_TEST_OWN_SERVERS`; the shared servers never stop.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::servers::address;
use crate::wait::eventually;

/// The instance.
#[derive(Clone, Copy, Debug)]
pub struct Instance;

impl Instance {
    /// The instance that the environment names, if it is the test's own.
    ///
    /// # Panics
    /// When it is not: other tests use those servers.
    pub fn own() -> Instance {
        assert_eq!(
            address("TIDELOCK_TEST_OWN_SERVERS"),
            address("TIDELOCK_PORT_BASE"),
            "the servers of the environment are not this test's own; run ./test torture"
        );
        Instance
    }

    /// Starts a part, with its data, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn up(&self, part: &str) {
        self.stack("up", part).await;
    }

    /// `kill -9` of a part.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill(&self, part: &str) {
        self.stack("kill", part).await;
    }

    /// PostgreSQL's immediate shutdown: sessions end without a word, and the next start recovers from the log.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop_postgres_immediately(&self) {
        let pid = postgres_pid();
        let sent = Command::new("kill").args(["-QUIT", &pid]).status().await;
        assert!(sent.expect("kill runs").success(), "kill -QUIT {pid}");
        // It kills what does not end within five seconds; on a busy machine a session that waits for the disk outlives that, too.
        eventually(Duration::from_secs(120), "PostgreSQL has stopped", || async {
            // One that has ended stays there until its parent asks what became of it.
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) if !stat.contains(") Z ") => Err(stat),
                _ => Ok(()),
            }
        })
        .await;
    }

    /// From now on sessions of PostgreSQL can make no file longer than this: they meet a full disk there. `None`: as long as they like.
    ///
    /// # Panics
    /// When it cannot be set.
    pub async fn limit_files_of_postgres(&self, bytes: Option<u64>) {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        // The soft limit of the process that starts the sessions, which inherit it. As its user: root may lack that one right.
        let set = Command::new("setpriv")
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "prlimit"])
            .args(["--pid", &postgres_pid(), &format!("--fsize={limit}:")])
            .status()
            .await;
        assert!(set.expect("prlimit runs").success(), "prlimit --fsize={limit}");
    }

    async fn stack(&self, verb: &str, part: &str) {
        let output = Command::new(address("TIDELOCK_TEST_STACK"))
            .args([verb, part])
            .stdin(Stdio::null())
            .output()
            .await
            .expect("services/stack starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "services/stack {verb} {part}: {}\n{said}", output.status);
    }
}

/// The process that starts PostgreSQL's sessions.
fn postgres_pid() -> String {
    let file = PathBuf::from(address("TIDELOCK_STACK_DIR")).join("run/postgres.pid");
    std::fs::read_to_string(&file).expect("PostgreSQL runs").trim().to_owned()
}
