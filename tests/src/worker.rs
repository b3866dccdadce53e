//! `tidelock run` as a process of its own, as a user runs it: started, stopped, killed, and asked for its metrics.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::wait::eventually;

/// Tells apart the logs of workers of one name.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// The program, built by `./test` beside the test binary.
///
/// # Panics
/// When it was not built.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    let program = test.ancestors().nth(2).expect("target/debug/deps").join("tidelock");
    assert!(program.exists(), "{} is not there: run `cargo build --bins`", program.display());
    program
}

/// One worker process. Killed when dropped.
pub struct Worker {
    child: Child,
    /// Port of its HTTP server, once its log has told it.
    http: OnceLock<String>,
    log: PathBuf,
}

impl Worker {
    /// Starts `tidelock run` on this configuration with these variables and more arguments.
    pub fn start(name: &str, config: &Path, variables: &BTreeMap<String, String>, arguments: &[&str]) -> Worker {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("tidelock-test-{name}-{}-{number}.log", std::process::id()));
        let file = std::fs::File::create(&log).expect("a log file");
        let mut command = Command::new(program());
        // Those of services/stack are for tests; the program would say that it doesn't know them.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("TIDELOCK_") {
                command.env_remove(variable);
            }
        }
        let child = command
            .args(["run", "--config"])
            .arg(config)
            .args(arguments)
            .envs(variables)
            // A port that is free now may be taken by an outgoing connection before the worker listens on it.
            .env("TIDELOCK_HTTP__ADDRESS", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the same file"))
            .stderr(file)
            .spawn()
            .expect("the program starts");
        Worker { child, http: OnceLock::new(), log }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    /// SIGTERM, as soon as it means more to the process than a plain end; waits for the end and returns the exit code.
    pub fn terminate(&mut self, limit: Duration) -> i32 {
        let deadline = Instant::now() + limit;
        while !self.handles_term() && self.is_running() {
            assert!(Instant::now() < deadline, "it took SIGTERM over at no time within {limit:?}; {}", self.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.signal("TERM");
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it did not end within {limit:?}; {}", self.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// True once the process has its own handler of SIGTERM, signal 15.
    fn handles_term(&self) -> bool {
        let caught = self.status_line("SigCgt:");
        caught.and_then(|mask| u64::from_str_radix(&mask, 16).ok()).is_some_and(|mask| mask & (1 << 14) != 0)
    }

    /// First word after this label in what the kernel says of the process.
    fn status_line(&self, label: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(label))?;
        line.split_whitespace().next().map(str::to_owned)
    }

    /// Sends a signal by name: TERM, STOP, CONT.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is ours")
    }

    /// Number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is frozen (SIGSTOP).
    ///
    /// # Panics
    /// When it is not within `limit`.
    pub async fn frozen(&self, limit: Duration) {
        let file = format!("/proc/{}/stat", self.pid());
        eventually(limit, "the worker is frozen", || async {
            let stat = std::fs::read_to_string(&file).unwrap_or_default();
            // The name before the state is in parentheses and may hold anything.
            let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest.get(..1).unwrap_or_default());
            if state == "T" { Ok(()) } else { Err(format!("{state:?}; {}", self.log_tail())) }
        })
        .await;
    }

    /// Bytes of memory that it has now.
    pub fn resident_bytes(&self) -> u64 {
        let kib = self.status_line("VmRSS:").and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Body of a path of its HTTP server; `None` while it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let reply = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port()?)).await.ok()?;
        let status = reply.status().as_u16();
        Some((status, reply.text().await.ok()?))
    }

    /// Port of its HTTP server; `None` until it listens.
    fn port(&self) -> Option<&str> {
        if self.http.get().is_none() {
            let _ = self.http.set(listens_on(&self.log())?);
        }
        self.http.get().map(String::as_str)
    }

    /// Sum of all samples of a metric whose labels hold all of `labels` (`outcome="echo"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let Some((200, text)) = self.get("/metrics").await else { return 0.0 };
        sum(&text, name, labels)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log, for failure messages.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        format!("log {}:\n{}", self.log.display(), lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        } else {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}

/// Sum of all samples of a metric in Prometheus text whose labels hold all of `labels`.
pub fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or("#");
            rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// The port that a worker's log names.
fn listens_on(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("serving /metrics"))?;
    let (_, port) = line.split_once("address=127.0.0.1:")?;
    Some(port.trim_end().to_owned())
}

/// Runs a command of the program to its end.
pub fn command(arguments: &[&str], variables: &BTreeMap<String, String>) -> (i32, String, String) {
    let output = Command::new(program()).args(arguments).envs(variables).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_port_is_the_one_of_the_log() {
        let line = "2026-11-22T06:27:17Z  INFO tidelock::run: serving /metrics, /live, /ready and /api/status address=127.0.0.1:41511\n";
        assert_eq!(super::listens_on(line).as_deref(), Some("41511"));
        assert_eq!(super::listens_on("starting address=127.0.0.1:1\n"), None);
    }

    #[test]
    fn samples_are_summed_by_labels() {
        let text = "# HELP a_total x\na_total{d=\"l\",outcome=\"echo\"} 2\na_total{d=\"r\",outcome=\"echo\"} 3\na_total{outcome=\"applied\"} 9\nab_total 7\n";
        assert_eq!(super::sum(text, "a_total", &["outcome=\"echo\""]), 5.0);
        assert_eq!(super::sum(text, "a_total", &[]), 14.0);
        assert_eq!(super::sum(text, "ab_total", &[]), 7.0);
    }
}
