//! Recovery: what must happen when something goes wrong that no retry heals. Frozen workers, lost replies, a target or offsets that went back,
//! records or schemas that are gone, parents that are gone, snapshots again.

mod binlog;
pub(super) mod goods;
mod growth;
mod progress;
mod snapshot;
mod source;
mod workers;
