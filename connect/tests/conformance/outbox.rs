//! Rules O: what dies is stored as an output in the same transaction, under a number of its own, until it is published.

use tidelock_connect::sql::writer::HeldLimits;
use topology::output::Output;
use topology::raw::headers;
use topology::sink::SinkWriter;

use crate::batches::{Builder, apply, claim, refused, task};
use crate::blog::{bad_user, blog, user};
use crate::conformance;
use crate::target::Target;

const OUTBOX: &str = "SELECT seq FROM tidelock_outbox ORDER BY seq";

fn header(output: &Output, wanted: &str) -> String {
    let found = headers(&output.headers).find(|(name, _)| *name == wanted);
    String::from_utf8(found.unwrap_or_else(|| panic!("no header {wanted}")).1.unwrap().to_vec()).unwrap()
}

async fn a_record_that_dies_becomes_an_output_once(target: &mut Target) {
    // given a record that could not be decoded, one that the table refuses, and a good one
    let tables = blog(target).await;
    let mut writer = target.writer_publishing(&tables, HeldLimits::default());
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    // when
    let batch = Builder::new(&claims, &tables)
        .dead(0, "broken bytes")
        .upsert(0, &bad_user(1, "a"))
        .upsert(0, &user(2, "b"))
        .finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    // then both are outputs, in order, with their bytes and reasons
    assert!(applied.has_outputs);
    let outputs = writer.outputs(&[(task("t", 0), 0)], 10).await.unwrap();
    assert_eq!(outputs.iter().map(|output| output.seq).collect::<Vec<_>>(), [1, 2]);
    let broken = outputs.iter().find(|output| output.value.as_deref() == Some(b"broken bytes")).unwrap();
    assert_eq!(broken.target, "dead.letters");
    assert_eq!(header(broken, "__connect.errors.topic"), "t");
    assert_eq!(header(broken, "tidelock.class"), "data");
    let refused = outputs.iter().find(|output| output.value != broken.value).unwrap();
    assert_eq!(header(refused, "tidelock.entity"), "users");
    assert_eq!(header(refused, "tidelock.attempts"), "1");
    assert!(!header(refused, "tidelock.code").is_empty());
    // when the first is published, another claim finds the second only, and new ones get greater numbers
    writer.forget_outputs(&[(task("t", 0), 1)]).await.unwrap();
    assert_eq!(target.rows(OUTBOX).await, ["2"]);
    let mut other = target.writer_publishing(&tables, HeldLimits::default());
    let mut claims = [claim(&mut other, "t", 0, 2).await];
    let batch = Builder::new(&claims, &tables).dead(0, "more").finish();
    apply(&mut other, &mut claims, &batch).await;
    let outputs = other.outputs(&[(task("t", 0), 1)], 10).await.unwrap();
    assert_eq!(outputs.iter().map(|output| output.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(other.outputs(&[(task("t", 0), 2)], 10).await.unwrap().len(), 1);
    assert_eq!(other.outputs(&[(task("t", 0), 1)], 1).await.unwrap().len(), 1, "no more than asked for");
}

async fn a_batch_that_is_refused_leaves_no_output(target: &mut Target) {
    // given a batch of a task that somebody else has claimed meanwhile
    let tables = blog(target).await;
    let mut writer = target.writer_publishing(&tables, HeldLimits::default());
    let claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).dead(0, "broken bytes").finish();
    let mut other = target.writer_publishing(&tables, HeldLimits::default());
    claim(&mut other, "t", 0, 2).await;
    // when
    refused(&mut writer, &batch).await;
    // then
    assert!(target.rows(OUTBOX).await.is_empty());
}

async fn a_row_that_waited_too_long_becomes_an_output_when_it_dies(target: &mut Target) {
    // given a row that waits for another one to give its e-mail address up, and may fail twice
    let tables = blog(target).await;
    let limits = HeldLimits { retry_first_ms: 0, attempts_max: Some(2), ..HeldLimits::default() };
    let mut writer = target.writer_publishing(&tables, limits);
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).upsert(0, &user(1, "a")).finish();
    apply(&mut writer, &mut claims, &batch).await;
    let late = user(2, "a");
    let batch = Builder::new(&claims, &tables).upsert(0, &late).finish();
    let applied = apply(&mut writer, &mut claims, &batch).await;
    assert!(!applied.has_outputs, "what waits is no dead letter");
    // when it fails for the second time
    target.run(&["UPDATE tidelock_held SET retry_at_ms = 0"]).await;
    let due = writer.due_held(&claims, 10).await.unwrap();
    let batch = Builder::new(&claims, &tables).upsert(0, &late).finish_release(&[due[0].id]);
    let applied = writer.apply(&batch).await.unwrap();
    // then
    assert!(applied.has_outputs);
    let outputs = writer.outputs(&[(task("t", 0), 0)], 10).await.unwrap();
    assert_eq!(outputs.len(), 1);
    assert_eq!(header(&outputs[0], "tidelock.attempts"), "2");
    assert_eq!(header(&outputs[0], "tidelock.class"), "dependency");
    assert_eq!(header(&outputs[0], "__connect.errors.offset"), due[0].id.offset.to_string());
}

async fn numbers_go_on_behind_what_is_published_though_the_target_was_restored(target: &mut Target) {
    // given a ledger row that knows of one output, and a group offset that says that seven are published
    let tables = blog(target).await;
    let mut writer = target.writer_publishing(&tables, HeldLimits::default());
    let mut claims = [claim(&mut writer, "t", 0, 1).await];
    let batch = Builder::new(&claims, &tables).dead(0, "first").finish();
    apply(&mut writer, &mut claims, &batch).await;
    writer.forget_outputs(&[(task("t", 0), 7)]).await.unwrap();
    assert!(target.rows(OUTBOX).await.is_empty());
    // when
    let batch = Builder::new(&claims, &tables).dead(0, "second").finish();
    apply(&mut writer, &mut claims, &batch).await;
    // then
    assert_eq!(target.rows(OUTBOX).await, ["8"]);
}

conformance!(
    a_record_that_dies_becomes_an_output_once,
    a_batch_that_is_refused_leaves_no_output,
    a_row_that_waited_too_long_becomes_an_output_when_it_dies,
    numbers_go_on_behind_what_is_published_though_the_target_was_restored,
);
