//! Targets that fall silent without ending the connection (rules L4, L10).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidelock_connect::sql::patience::{Patience, PatientConnector};
use tidelock_connect::sql::writer::{HeldLimits, SqlWriter};
use topology::ErrorKind;
use topology::sink::{ApplyError, SinkWriter};

use crate::batches::{Builder, apply, claim};
use crate::conformance;
use crate::faulty::{CommitFault, Faults, Faulty};
use crate::target::{Target, n, options, t};

/// Far above what a statement of this test takes, and short enough to be waited for.
const STATEMENT_MAX: Duration = Duration::from_secs(2);

/// What is never answered.
#[derive(Default)]
struct Mute {
    write: AtomicBool,
    commit: AtomicBool,
    sessions: AtomicUsize,
}

impl Faults for Mute {
    fn opens(&self) {
        self.sessions.fetch_add(1, Ordering::SeqCst);
    }

    fn is_silent(&self) -> bool {
        self.write.swap(false, Ordering::SeqCst)
    }

    fn commit(&self) -> Option<CommitFault> {
        self.commit.swap(false, Ordering::SeqCst).then_some(CommitFault::Silent)
    }
}

async fn a_session_that_falls_silent_is_given_up_and_the_ledger_tells(target: &mut Target) {
    // given a writer that has a session,
    target.run(&["CREATE TABLE users (id bigint PRIMARY KEY, name varchar(100) NOT NULL)"]).await;
    let tables = vec![target.table(0, "users", &["id", "name"], &["id"]).await];
    // (its tables are made by another one, which takes the time it takes)
    claim(&mut target.writer(&tables), "t", 0, 1).await;
    let (mute, heard) = (Arc::new(Mute::default()), Arc::new(Mutex::new(Vec::new())));
    let listener = Arc::clone(&heard);
    let patience = Patience::new(STATEMENT_MAX, Some(Arc::new(move |answers| listener.lock().unwrap().push(answers))));
    let faulty = Faulty { inner: target.connector(), faults: Arc::clone(&mute) };
    let connector = PatientConnector::new(Box::new(faulty), patience);
    let mut writer = SqlWriter::new(Box::new(connector), options(&tables, HeldLimits::default()));
    let mut claims = [claim(&mut writer, "t", 0, 2).await];
    assert!(heard.lock().unwrap().is_empty());
    // when a write is never answered,
    mute.write.store(true, Ordering::SeqCst);
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(1), t("a")]).finish();
    let error = writer.apply(&batch).await.unwrap_err();
    // then that is told, nothing has taken effect, and the next try has a session of its own.
    assert!(matches!(&error, ApplyError::Failed(error) if error.kind == ErrorKind::Transient), "{error:?}");
    assert_eq!(*heard.lock().unwrap(), [false]);
    apply(&mut writer, &mut claims, &batch).await;
    assert_eq!(mute.sessions.load(Ordering::SeqCst), 2);
    // when a COMMIT is never answered, then it is unknown until the next claim tells.
    mute.commit.store(true, Ordering::SeqCst);
    let batch = Builder::new(&claims, &tables).upsert(0, &[n(2), t("b")]).finish();
    let error = writer.apply(&batch).await.unwrap_err();
    assert!(matches!(error, ApplyError::Unknown(_)), "{error:?}");
    let at = claims[0].next_offset;
    let claims = [claim(&mut writer, "t", 0, 3).await];
    assert_eq!(claims[0].next_offset, at + 1, "it was done");
    assert_eq!(target.value("SELECT COUNT(*) FROM users").await, "2");
    assert_eq!(mute.sessions.load(Ordering::SeqCst), 3);
}

conformance!(a_session_that_falls_silent_is_given_up_and_the_ledger_tells);
