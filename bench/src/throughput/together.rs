//! Lanes that begin to write together. What a group takes to share its partitions out is not what a lane writes in a second.

use async_trait::async_trait;
use connect::sql::connection::{Connector, SqlConnection};
use connect::sql::dialect::Dialect;
use connect::sql::error::SqlResult;
use tokio::sync::watch;

/// Opens no session before every lane has asked for one: a lane does so when it has been given a partition.
pub(crate) struct TogetherConnector {
    pub(crate) inner: Box<dyn Connector>,
    pub(crate) lane: usize,
    /// Which lanes have asked, shared by all of them.
    pub(crate) asked: watch::Sender<Vec<bool>>,
}

#[async_trait]
impl Connector for TogetherConnector {
    fn dialect(&self) -> &'static dyn Dialect {
        self.inner.dialect()
    }

    async fn connect(&self) -> SqlResult<Box<dyn SqlConnection>> {
        self.asked.send_modify(|asked| asked[self.lane] = true);
        // The sender is ours: the wait ends with an answer.
        let _ = self.asked.subscribe().wait_for(|asked| asked.iter().all(|asked| *asked)).await;
        self.inner.connect().await
    }
}
