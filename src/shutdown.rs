//! The operator's wish to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Takes SIGTERM and SIGINT (Ctrl-C) over from now on, and resolves at the first of them. A second one ends the process at once, with code 3:
/// the drain did not finish.
pub(crate) fn requested() -> impl Future<Output = ()> {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = handlers else {
            // Without handlers the signals end the process by themselves; progress is in the target.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(3);
        });
    }
}
