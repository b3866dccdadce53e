//! The demo in small, as a test: everything in it is the same but the number of changes.

use std::time::Duration;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_end_equal_with_every_change_applied_once_and_every_echo_stopped() {
    let mut stage = Stage::build(Screen::silent()).await.unwrap();
    let summary = stage.play(12, Duration::from_millis(5)).await.unwrap();
    stage.stop().await.unwrap();
    assert!(summary.is_good(), "{summary:#?}");
    assert!(summary.changes > 80, "{summary}");
    assert!(summary.to_string().ends_with(" echoes stopped, sides equal"), "{summary}");
}
