//! What `/metrics` shows. Every metric is declared once, here, with its meaning; `docs/metrics.md` is made from it.
//!
//! Labels come from closed sets: directions, entities and topics of the configuration, partitions, words of enums. Handles are
//! resolved once per lane and partition ([`lane`]), never per record.

mod lane;
#[cfg(test)]
mod reference;
mod status;

pub(crate) use lane::LaneMetrics;
pub(crate) use status::{Status, StatusBoard};

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Seconds from source commit to target commit: 5 ms to an hour; 5 and 300 are the alert thresholds.
const DELAY_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
/// Seconds of a transaction.
const WRITE_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Records of a batch.
const ROWS_BUCKETS: &[f64] = &[1.0, 5.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0];

macro_rules! metrics {
    ($( $(#[doc = $doc:literal])* $field:ident : $kind:ident $name:literal [$($label:literal),*] $(buckets $buckets:expr)? ; )*) => {
        /// All metrics of a worker.
        #[derive(Clone, Debug)]
        #[cfg_attr(not(feature = "rest"), allow(dead_code))] // connectors are only asked with `rest`
        pub(crate) struct Metrics {
            registry: Registry,
            $( $(#[doc = $doc])* pub(crate) $field: metrics!(@type $kind), )*
        }

        impl Metrics {
            /// Registers all of them; values appear when they are first set.
            pub(crate) fn new() -> Metrics {
                let registry = Registry::new();
                $(
                    let options = Opts::new($name, first_sentence(&[$($doc),*].concat()));
                    let $field = metrics!(@make $kind options [$($label),*] $($buckets)?);
                    registry.register(Box::new($field.clone())).expect("every metric has a name of its own");
                )*
                Metrics { registry, $($field,)* }
            }
        }

        /// What the reference page says of each metric.
        #[cfg(test)]
        const CATALOGUE: &[Described] = &[
            $( Described { name: $name, kind: metrics!(@word $kind), labels: &[$($label),*], doc: &[$($doc),*] }, )*
        ];
    };
    (@type counter) => { IntCounterVec };
    (@type gauge) => { IntGaugeVec };
    (@type fraction) => { GaugeVec };
    (@type histogram) => { HistogramVec };
    (@word counter) => { "counter" };
    (@word gauge) => { "gauge" };
    (@word fraction) => { "gauge" };
    (@word histogram) => { "histogram" };
    (@make counter $options:ident [$($label:literal),*]) => {
        IntCounterVec::new($options, &[$($label),*]).expect("a valid metric")
    };
    (@make gauge $options:ident [$($label:literal),*]) => {
        IntGaugeVec::new($options, &[$($label),*]).expect("a valid metric")
    };
    (@make fraction $options:ident [$($label:literal),*]) => {
        GaugeVec::new($options, &[$($label),*]).expect("a valid metric")
    };
    (@make histogram $options:ident [$($label:literal),*] $buckets:expr) => {
        HistogramVec::new(prometheus::HistogramOpts::from($options).buckets($buckets.to_vec()), &[$($label),*])
            .expect("a valid metric")
    };
}

#[cfg(test)]
struct Described {
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    doc: &'static [&'static str],
}

metrics! {
    /// Records read from Kafka and decoded, whatever became of them.
    consumed: counter "tidelock_consumed_total" ["direction", "entity"];
    /// What became of records. `outcome`: applied, unchanged (the target had exactly that), echo (our own write coming back),
    /// duplicate (resent by the source), stale, filtered (left out by configuration), differs (a snapshot row of a two-way entity met
    /// a different row and left it alone), conflict, parked, dead.
    records: counter "tidelock_records_total" ["direction", "entity", "outcome"];
    /// Records between our progress in the ledger and the end of the partition.
    lag: gauge "tidelock_lag_records" ["direction", "topic", "partition"];
    /// First offset not yet applied, as committed in the target.
    next_offset: gauge "tidelock_next_offset" ["direction", "topic", "partition"];
    /// Epoch under which this worker owns the partition; it rises with every claim.
    epoch: gauge "tidelock_epoch" ["direction", "topic", "partition"];
    /// 1 while a partition is stopped for a reason of its own, such as a missing column; `/api/status` says which.
    partition_paused: gauge "tidelock_partition_paused" ["direction", "topic", "partition"];
    /// Seconds from the commit at the source to the commit at the target, for the oldest applied record of each batch.
    delay: histogram "tidelock_delay_seconds" ["direction"] buckets DELAY_BUCKETS;
    /// Seconds from BEGIN to the reply to COMMIT.
    batch_write_duration: histogram "tidelock_batch_write_duration_seconds" ["direction"] buckets WRITE_BUCKETS;
    /// Dead letters and other outputs that were published.
    published: counter "tidelock_published_total" ["direction"];
    /// 1 while outputs can be published; only with `kafka.dead_letters`.
    publishing_up: gauge "tidelock_publishing_up" ["direction", "lane"];
    /// Records per batch.
    batch_rows: histogram "tidelock_batch_rows" ["direction"] buckets ROWS_BUCKETS;
    /// Batches that had to be written row by row because one row was refused.
    slow_path: counter "tidelock_slow_path_total" ["direction"];
    /// Rows in `tidelock_held` of the partitions this worker owns. `state`: parked (waits for another row), queued (waits behind a
    /// parked row of its key), dead (can never be applied as it is).
    held_rows: gauge "tidelock_held_rows" ["direction", "state"];
    /// Changes of one row on both sides. In this version only `kind="insert_exists"`, `decision="target_kept"`: a snapshot row that met
    /// a different row.
    conflicts: counter "tidelock_conflicts_total" ["direction", "entity", "kind", "decision"];
    /// Whether the target answered the lane last time.
    target_up: gauge "tidelock_target_up" ["direction", "lane"];
    /// 1 for the state that the lane is in: starting, claiming, running, paused, draining, stopped.
    lane_state: gauge "tidelock_lane_state" ["direction", "lane", "state"];
    /// Seconds since 1970 when the lane last showed a sign of life.
    lane_alive: fraction "tidelock_lane_alive_timestamp_seconds" ["direction", "lane"];
    /// Tries again. `class`: transient, environment, dependency, schema, data, fenced, configuration, bug.
    retries: counter "tidelock_retries_total" ["direction", "class"];
    /// Cells that the source did not send (PostgreSQL's unchanged TOAST values); they are left alone at the target.
    unavailable_values: counter "tidelock_unavailable_values_total" ["direction", "entity"];
    /// Bytes read and not yet committed.
    buffered_bytes: gauge "tidelock_buffered_bytes" ["direction", "lane"];
    /// Times that the source's log began anew, or the target went back in time. Taken, and worth a look.
    log_resets: counter "tidelock_log_resets_total" ["direction"];
    /// Broken invariants; the lane stops. Any value above 0 is a defect to report.
    invariant_broken: counter "tidelock_invariant_broken_total" ["invariant"];
    /// 1 if the connector and all its tasks are RUNNING; 0 also while Kafka Connect does not answer. Only with `kafka.connect`.
    connector_running: gauge "tidelock_connector_running" ["connector"];
    /// 1, with the version of this worker.
    build_info: gauge "tidelock_build_info" ["version"];
}

impl Metrics {
    /// The page in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

fn first_sentence(doc: &str) -> String {
    let doc = doc.trim();
    doc.split_once(". ").map_or(doc, |(first, _)| first).trim_end_matches('.').to_owned()
}
