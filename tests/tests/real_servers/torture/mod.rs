//! The torture: the load of `scenarios::load`, on servers of its own, while workers are killed, frozen and replaced, servers are killed and
//! started again, and the network between workers and targets is cut or falls silent. `./test torture` runs it.
//!
//! It ends only when both sides, both histories and the load's shadow of every committed transaction agree. `TIDELOCK_TORTURE_MINUTES` is
//! how long the load lasts, `TIDELOCK_TORTURE_SEED` replays its choices and the faults (not their timing).

mod disk;
mod faults;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidelock_tests::database::Database;
use tidelock_tests::pair::Pair;
use tidelock_tests::scenario;
use tidelock_tests::wait::eventually;

use self::faults::Faults;
use super::scenarios::load::{CONFIG, from_environment, named, never_back};
use super::scenarios::load_judge::agreed;
use super::scenarios::load_side::{Journal, Side};

/// A full run; then there are 200 000 changes.
const MINUTES: u64 = 10;
/// Changes of both sides together.
const CHANGES_PER_MINUTE: u64 = 20_000;
/// How long everything may take to arrive after the last fault: held rows are tried every 30 s, one after the other where they depend on
/// each other, and the machine may do other things as well.
const CATCH_UP: Duration = Duration::from_secs(900);

pub(super) fn say(text: &str) {
    use std::io::Write;
    // Not print!: it is to be seen while it runs.
    let _ = writeln!(std::io::stderr(), "torture: {text}");
}

/// A connector that is killed before it has stored a place in the log begins with a snapshot again: then the changes before it are on no
/// topic, and the snapshot's rows are newer than the changes after them. Nobody but Debezium could do better.
async fn both_connectors_follow_their_logs(pair: &Pair) {
    for database in [&pair.left, &pair.right] {
        eventually(CATCH_UP, "changes arrive", || async {
            let lines = database.try_rows("SELECT count(*) FROM history").await.map_err(|error| error.to_string())?;
            if lines.first().is_some_and(|lines| lines.len() >= 3) { Ok(()) } else { Err(format!("{lines:?}")) }
        })
        .await;
    }
    for side in &pair.running.example.sides {
        eventually(CATCH_UP, "Connect stores how far the connector has come", || async {
            match pair.running.stored_place(side).await {
                Some(place) if place["snapshot"].is_null() => Ok(()),
                place => Err(format!("{place:?}")),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs servers of its own, which it kills; ./test torture starts them"]
async fn nothing_is_lost_or_doubled_under_torture() {
    scenario::entered("real_servers::torture::nothing_is_lost_or_doubled_under_torture");
    let _scenario = scenario::scenario("F008", Some("one broker, which is its own controller, killed again and again"));
    let minutes = from_environment("TIDELOCK_TORTURE_MINUTES", MINUTES).max(1);
    let seed = from_environment("TIDELOCK_TORTURE_SEED", rand::random::<u32>().into());
    say(&format!("{minutes} minutes, seed {seed}"));
    let mut running = named("torture");
    for side in running.example.sides {
        // At-least-once, as most have it: what a killed Connect had sent comes again.
        running.set_connector(&side, "exactly.once.support", "requested");
        running.set_connector(&side, "retriable.restart.connector.wait.ms", "1000");
    }
    let pair = Arc::new(Pair::prepare(running, Some(CONFIG)).await);
    let mut faults = Faults::prepare(pair.clone(), StdRng::seed_from_u64(seed)).await;

    let done = Arc::new(AtomicBool::new(false));
    let readers = [
        tokio::spawn(never_back(pair.right.clone(), 1, done.clone())),
        tokio::spawn(never_back(pair.left.clone(), 0, done.clone())),
    ];
    let started = Instant::now();
    let changes = minutes * CHANGES_PER_MINUTE;
    let load = |database: &Database, class: i64, seed: u64| {
        let side = Side::new(database.clone(), class, StdRng::seed_from_u64(seed));
        tokio::spawn(side.run(changes as usize / 2, CHANGES_PER_MINUTE as f64 / 120.0))
    };
    let (left, right) = (load(&pair.left, 1, seed), load(&pair.right, 0, seed ^ 1));
    both_connectors_follow_their_logs(&pair).await;
    faults.rage(|| left.is_finished() && right.is_finished()).await;
    let journals: [Journal; 2] = [left.await.expect("the left load"), right.await.expect("the right load")];
    let changes: usize = journals.iter().map(Journal::changes).sum();
    say(&format!("{changes} changes in {:.0} s; no more faults from now on", started.elapsed().as_secs_f64()));

    let judging = tokio::spawn({
        let pair = pair.clone();
        async move { agreed(&pair, &journals, CATCH_UP).await }
    });
    faults.keep_up(|| judging.is_finished()).await;
    let verdict = judging.await.expect("the judge judges");
    say(&format!("judged {:.0} s after the start", started.elapsed().as_secs_f64()));
    if verdict.lost_at_source > 0 {
        say(&format!(
            "{} create halves of key changes are on no topic: their connector stopped between both halves",
            verdict.lost_at_source
        ));
    }
    done.store(true, Ordering::Relaxed);
    let mut regressions = 0;
    for reader in readers {
        regressions += reader.await.expect("a reader reads to the end");
    }
    let is_good = verdict.is_clean() && regressions == 0;
    if !is_good {
        say(&format!("{verdict:#?}\n{}", pair.diagnosis().await));
    }
    let counts = faults.end(!is_good).await;
    if is_good {
        pair.remove().await;
    }
    println!(
        "torture: changes={changes} kills={} restarts={} rebalances={} cuts={} zombies_refused={} duplicates_dropped={} \
         dead_letters={} lost={} doubled={} regressions={regressions} seed={seed}",
        counts.kills,
        counts.restarts,
        counts.rebalances,
        counts.cuts,
        counts.zombies_refused,
        counts.duplicates_dropped,
        counts.dead_letters.max(verdict.dead),
        verdict.lost,
        verdict.doubled,
    );
    assert!(is_good, "not everything agrees: {} rows wait, {} are dead; see above", verdict.waiting, verdict.dead);
}
