//! One client's connection: each statement waits once, meets the fault script, waits for locks, then works. A connection that is
//! dropped leaves its transaction to the server.

use std::future::poll_fn;
use std::task::Poll;

use super::database::{Database, Stop, TransactionId, connection_lost};
use super::{Fault, MemoryTarget, Statement};
use crate::error::{Error, ErrorKind, Stage};

pub(super) struct Connection {
    target: MemoryTarget,
    transaction: Option<TransactionId>,
}

fn down() -> Error {
    Error::new(ErrorKind::Environment, Stage::Write, "target is down", "memory target")
}

/// Waits once, so that the driver of the future gets a turn.
async fn turn() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Connection {
    pub(super) async fn open(target: &MemoryTarget) -> Result<Connection, Error> {
        let mut connection = Connection { target: target.clone(), transaction: None };
        connection.statement(Statement::Begin, |_, _| Ok(())).await?;
        Ok(connection)
    }

    /// BEGIN; a client sends it with its first statement, so it does not wait.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.rollback();
        let mut shared = self.target.lock();
        if !shared.is_up {
            return Err(down());
        }
        self.transaction = Some(shared.database.begin());
        Ok(())
    }

    pub(super) fn rollback(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.target.lock().database.rollback(transaction);
        }
    }

    /// Runs a statement. `work` is called again from its start when it was blocked, so it takes its locks before it writes.
    /// After an error the transaction is of no use: roll back or drop the connection.
    pub(super) async fn statement<R>(
        &mut self,
        statement: Statement,
        mut work: impl FnMut(&mut Database, TransactionId) -> Result<R, Stop>,
    ) -> Result<R, Error> {
        let fault = {
            let mut shared = self.target.lock();
            if !shared.is_up {
                return Err(down());
            }
            let fault = (shared.faults)(statement);
            if let (Statement::Commit, Some(transaction)) = (statement, self.transaction)
                && !matches!(fault, Some(Fault::Cut | Fault::Reject(_)))
                && let Some(open) = shared.database.transactions.get_mut(&transaction)
            {
                open.commit_sent = true;
            }
            fault
        };
        match fault {
            Some(Fault::Reject(kind)) => {
                return Err(Error::new(kind, Stage::Write, "statement is refused", "scripted fault"));
            }
            Some(Fault::Cut) => {
                self.give_up();
                return Err(connection_lost());
            }
            _ => {}
        }
        turn().await;
        let (target, transaction) = (self.target.clone(), self.transaction.unwrap_or_default());
        let result = poll_fn(|context| {
            let mut shared = target.lock();
            let is_open = shared.database.transactions.contains_key(&transaction);
            if !shared.is_up || (transaction != 0 && !is_open) {
                return Poll::Ready(Err(connection_lost()));
            }
            match work(&mut shared.database, transaction) {
                Ok(done) => Poll::Ready(Ok(done)),
                Err(Stop::Failed(error)) => Poll::Ready(Err(error)),
                Err(Stop::Blocked) => {
                    shared.database.wait(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await?;
        match fault {
            Some(Fault::LoseReply) => {
                self.give_up();
                return Err(connection_lost());
            }
            Some(Fault::WithholdReply) => {
                let releases = target.lock().releases;
                poll_fn(|context| {
                    let mut shared = target.lock();
                    if shared.releases > releases {
                        return Poll::Ready(());
                    }
                    shared.database.wait(context.waker().clone());
                    Poll::Pending
                })
                .await;
            }
            _ => {}
        }
        Ok(result)
    }

    /// COMMIT. Any error means: unknown (rule L4).
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        let now_us = self.target.clock.now_us();
        self.statement(Statement::Commit, |database, id| Ok(database.commit(id, now_us)?)).await?;
        self.transaction = None;
        // The reply is on its way.
        turn().await;
        Ok(())
    }

    fn give_up(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.target.lock().database.abandon(transaction);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.give_up();
    }
}
