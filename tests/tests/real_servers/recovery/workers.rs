//! Workers that were thought dead, and connections that break at the worst moment (rules L3, L4, L10).

use std::sync::Arc;
use std::time::Duration;

use tidelock_tests::goods;
use tidelock_tests::group::Group;
use tidelock_tests::pair::Pair;
use tidelock_tests::proxy::Proxy;
use tidelock_tests::wait::eventually;

use super::goods::{CATCH_UP, STOP_LIMIT, counts, everything_arrived_once, history_has, prepare, publish, start};

const BURST: i64 = 4000;
/// How long a worker may take to come to where it freezes.
const START_LIMIT: Duration = Duration::from_secs(60);
const CUTS: usize = 20;
const LOST_REPLIES: u64 = 5;

#[tokio::test]
async fn workers_and_connections_that_fail_at_the_worst_moment_lose_and_double_nothing() {
    let mut group = Group::of(prepare("workers").await);
    group.show(a_zombie_with_a_batch_in_its_hands_is_refused).await;
    group.show(a_zombie_in_the_middle_of_a_transaction_does_not_stop_its_successor).await;
    group.show(a_batch_whose_commit_is_never_answered_counts_once).await;
    group.show(connections_that_are_cut_in_the_middle_are_made_anew).await;
    group.show(connections_that_the_network_forgets_are_given_up).await;
    group.end().await;
}

async fn a_zombie_with_a_batch_in_its_hands_is_refused(pair: Arc<Pair>) {
    // Given a worker that is frozen (SIGSTOP) with a batch that it is about to write: its transaction is open, and empty,
    publish(&pair, BURST).await;
    let mut zombie = start(&pair, "zombie", &[("TIDELOCK_FREEZE_AT", "after_begin:4")]);
    zombie.frozen(START_LIMIT).await;
    // when its session passes, and another one takes its partitions over and does its work,
    let mut other = start(&pair, "other", &[]);
    publish(&pair, BURST).await;
    everything_arrived_once(&pair).await;
    // then what it writes when it goes on is refused, and nothing is there twice: by the ledger, or, where another of its lanes was frozen
    // with locks that the other worker waited for, by the server, which has ended sessions that were idle in a transaction;
    zombie.signal("CONT");
    counts(&zombie, "tidelock_retries_total", &[]).await;
    publish(&pair, BURST).await;
    everything_arrived_once(&pair).await;
    // and it has become an equal member again.
    assert_eq!(other.terminate(STOP_LIMIT), 0, "{}", other.log_tail());
    publish(&pair, BURST).await;
    everything_arrived_once(&pair).await;
    assert_eq!(zombie.terminate(STOP_LIMIT), 0, "{}", zombie.log_tail());
}

async fn a_zombie_in_the_middle_of_a_transaction_does_not_stop_its_successor(pair: Arc<Pair>) {
    // Given a worker that is frozen before a COMMIT: it holds the locks of its ledger row and of what it wrote,
    publish(&pair, BURST).await;
    let mut zombie = start(&pair, "holder", &[("TIDELOCK_FREEZE_AT", "before_commit:6")]);
    zombie.frozen(START_LIMIT).await;
    // when another one takes over, then it ends that session and goes on;
    let mut other = start(&pair, "heir", &[]);
    publish(&pair, BURST).await;
    everything_arrived_once(&pair).await;
    // and the COMMIT that comes after all changes nothing.
    zombie.signal("CONT");
    publish(&pair, BURST).await;
    everything_arrived_once(&pair).await;
    for worker in [&mut zombie, &mut other] {
        assert_eq!(worker.terminate(STOP_LIMIT), 0, "{}", worker.log_tail());
    }
    everything_arrived_once(&pair).await;
}

async fn a_batch_whose_commit_is_never_answered_counts_once(pair: Arc<Pair>) {
    // Given a worker behind a network that swallows the reply to a COMMIT and then cuts the connection,
    let (proxy, url) = Proxy::of_url(&pair.running.variables["POSTGRES_URL"]).await;
    let mut worker = start(&pair, "unheard", &[("POSTGRES_URL", &url)]);
    publish(&pair, BURST).await;
    everything_arrived_once(&pair).await;
    // when that happens again and again,
    for lost in 1..=LOST_REPLIES {
        proxy.swallow_reply_to("COMMIT");
        publish(&pair, BURST / 10).await;
        eventually(CATCH_UP, "a reply is lost", || async {
            let swallowed = proxy.swallowed();
            if swallowed >= lost { Ok(()) } else { Err(format!("{swallowed} so far; {}", worker.log_tail())) }
        })
        .await;
    }
    // then each batch has taken effect once: the ledger told whether it had.
    everything_arrived_once(&pair).await;
    counts(&worker, "tidelock_retries_total", &[]).await;
    assert_eq!(worker.terminate(STOP_LIMIT), 0, "{}", worker.log_tail());
}

async fn connections_that_are_cut_in_the_middle_are_made_anew(pair: Arc<Pair>) {
    let (proxy, url) = Proxy::of_url(&pair.running.variables["POSTGRES_URL"]).await;
    let mut worker = start(&pair, "cut", &[("POSTGRES_URL", &url)]);
    let before = goods::published(&pair).await;
    publish(&pair, 3 * BURST).await;
    history_has(&pair, before + 1).await;
    for _ in 0..CUTS {
        proxy.cut();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    // Silent for longer than the lane's patience with a statement would be bad; for a while it is only late.
    proxy.silence();
    publish(&pair, BURST).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    proxy.heal();
    everything_arrived_once(&pair).await;
    assert!(proxy.carried() > 2, "connections were made anew");
    assert_eq!(worker.terminate(STOP_LIMIT), 0, "{}", worker.log_tail());
}

/// Rule L10: no packet says that such a connection is gone, as after a host lost its power or a firewall its table.
async fn connections_that_the_network_forgets_are_given_up(pair: Arc<Pair>) {
    // Given a worker whose connections work,
    let (proxy, url) = Proxy::of_url(&pair.running.variables["POSTGRES_URL"]).await;
    let mut worker = start(&pair, "forgotten", &[("POSTGRES_URL", &url), ("TIDELOCK_STATEMENT_SECONDS", "8")]);
    publish(&pair, BURST).await;
    everything_arrived_once(&pair).await;
    // when nothing passes on them any more, and both ends keep them,
    proxy.forget();
    publish(&pair, BURST).await;
    // then it says so while it waits,
    eventually(CATCH_UP, "a lane says that its target does not answer", || async {
        match worker.get("/ready").await {
            Some((503, reasons)) if reasons.contains("the target does not answer") => Ok(()),
            other => Err(format!("{other:?}; {}", worker.log_tail())),
        }
    })
    .await;
    // gives them up, and what it had begun on them takes effect once.
    everything_arrived_once(&pair).await;
    assert_eq!(worker.terminate(STOP_LIMIT), 0, "{}", worker.log_tail());
}
