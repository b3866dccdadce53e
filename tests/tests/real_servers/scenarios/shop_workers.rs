//! Any number of workers ends in the same state, and changes of one row stay in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidelock_tests::pair::Pair;
use tidelock_tests::scenario::scenario;
use tidelock_tests::wait::{arrival, eventually};
use tidelock_tests::watch::never_back;

/// Rows that every change of the trial hits.
const HOT_ROWS: usize = 4;
const ROWS: usize = 40;
const ROUNDS: usize = 30;

pub(super) async fn one_four_and_sixteen_lanes_end_in_the_same_state_in_order(pair: Arc<Pair>) {
    let _scenario = scenario("F006", Some("equality and order only; throughput is measured by bench/"));
    let mut states = Vec::new();
    // Processes and lanes in each: 1, 4 and 16 lanes per direction.
    for (processes, lanes) in [(1, "1"), (4, "1"), (4, "4")] {
        pair.stop_workers(Duration::from_secs(40)).await;
        for _ in 0..processes {
            pair.start_worker_with(&[("TIDELOCK_LANES", lanes)]).await;
        }
        pair.ready().await;
        states.push(trial(&pair).await);
    }
    assert_eq!(states[0].len(), ROWS - ROWS / 4, "every fourth row was deleted");
    assert_eq!(states[0], states[1], "4 workers end where 1 does");
    assert_eq!(states[0], states[2], "16 lanes end where 1 does");
}

/// Makes the same changes on fresh rows and returns the state in which they end at the target.
async fn trial(pair: &Arc<Pair>) -> Vec<String> {
    pair.left.run("DELETE FROM products WHERE name LIKE 'trial %'").await;
    pair.right.shows("SELECT count(*) FROM products WHERE name LIKE 'trial %'", &["0"]).await;
    let values: Vec<String> = (0..ROWS).map(|row| format!("('trial {row}', 0)")).collect();
    pair.left.run(&format!("INSERT INTO products (name, price) VALUES {}", values.join(","))).await;

    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let rows = "SELECT name, price FROM products WHERE name LIKE 'trial %'";
        tokio::spawn(never_back(pair.right.clone(), rows.to_owned(), done.clone()))
    };
    for round in 1..=ROUNDS {
        // The hot rows in transactions of their own, the others in one.
        let hot: Vec<String> = (0..HOT_ROWS)
            .map(|row| format!("UPDATE products SET price = {round} WHERE name = 'trial {row}'"))
            .collect();
        let all = format!("UPDATE products SET description = 'round {round}' WHERE name LIKE 'trial %'");
        pair.left.run(&format!("{};{all}", hot.join(";"))).await;
    }
    let gone: Vec<String> = (0..ROWS).filter(|row| row % 4 == 3).map(|row| format!("'trial {row}'")).collect();
    pair.left.run(&format!("DELETE FROM products WHERE name IN ({})", gone.join(","))).await;

    let state = "SELECT name, price, description FROM products WHERE name LIKE 'trial %' ORDER BY name";
    eventually(arrival(), "the sides are equal", || async {
        let (left, right) = (pair.left.rows(state).await, pair.right.rows(state).await);
        if left == right { Ok(()) } else { Err(format!("{right:#?}")) }
    })
    .await;
    done.store(true, Ordering::Relaxed);
    reader.await.expect("no row went back in time");
    pair.right.rows(state).await
}
