//! Medians, spread, table and JSON.

use std::fmt::Write;

use serde_json::{Value as Json, json};

/// What one lane process measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneResult {
    rows_per_s: f64,
    memory_mib: f64,
    stages: [f64; 3],
}

impl LaneResult {
    pub(crate) fn from_json(json: &Json) -> Option<LaneResult> {
        Some(LaneResult {
            rows_per_s: json["rows_per_s"].as_f64()?,
            memory_mib: json["memory_mib"].as_f64()?,
            stages: [
                json["consume_us_per_row"].as_f64()?,
                json["decode_map_reduce_us_per_row"].as_f64()?,
                json["write_us_per_row"].as_f64()?,
            ],
        })
    }
}

/// All runs of one workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) ceiling: Vec<f64>,
    tidelock: Vec<LaneResult>,
}

impl Measured {
    pub(crate) fn add(&mut self, result: LaneResult) {
        self.tidelock.push(result);
    }

    /// Rows/s of the last Tidelock run.
    pub(crate) fn last_rate(&self) -> f64 {
        self.tidelock.last().map_or(0.0, |result| result.rows_per_s)
    }
}

/// The results so far.
#[derive(Default)]
pub(crate) struct Report {
    results: Vec<Json>,
}

impl Report {
    pub(crate) fn add(&mut self, engine: &str, workload: &str, lanes: usize, measured: &Measured) {
        let rates: Vec<f64> = measured.tidelock.iter().map(|result| result.rows_per_s).collect();
        let (ceiling, tidelock) = (median(&measured.ceiling), median(&rates));
        let stage = |at: usize| median(&measured.tidelock.iter().map(|result| result.stages[at]).collect::<Vec<_>>());
        let memory = measured.tidelock.iter().map(|result| result.memory_mib).fold(0.0, f64::max);
        self.results.push(json!({
            "engine": engine,
            "workload": workload,
            "lanes": lanes,
            "runs": rates.len(),
            "ceiling_rows_per_s": ceiling.round(),
            "ceiling_spread": spread(&measured.ceiling),
            "tidelock_rows_per_s": tidelock.round(),
            "tidelock_spread": spread(&rates),
            "ratio": (tidelock / ceiling * 1000.0).round() / 1000.0,
            "cpu_us_per_row": { "consume": stage(0), "decode_map_reduce": stage(1), "write": stage(2) },
            "peak_memory_mib": memory.round(),
        }));
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.results).expect("plain values") + "\n"
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "engine    workload            lanes  bare rows/s  tidelock rows/s  ratio  cpu µs/row consume+decode+write  peak MiB\n",
        );
        for result in &self.results {
            let cpu = &result["cpu_us_per_row"];
            let number = |json: &Json| json.as_f64().unwrap_or(0.0);
            let _ = writeln!(
                out,
                "{:<9} {:<19} {:>5}  {:>11.0}  {:>15.0}  {:>5.2}  {:>15.2} + {:.2} + {:.2}  {:>14.0}",
                result["engine"].as_str().unwrap_or(""),
                result["workload"].as_str().unwrap_or(""),
                result["lanes"],
                number(&result["ceiling_rows_per_s"]),
                number(&result["tidelock_rows_per_s"]),
                number(&result["ratio"]),
                number(&cpu["consume"]),
                number(&cpu["decode_map_reduce"]),
                number(&cpu["write"]),
                number(&result["peak_memory_mib"]),
            );
        }
        out
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// (greatest − least) / median.
fn spread(values: &[f64]) -> f64 {
    let (least, greatest) =
        values.iter().fold((f64::MAX, 0.0_f64), |(least, greatest), value| (least.min(*value), greatest.max(*value)));
    let middle = median(values);
    if middle == 0.0 { 0.0 } else { ((greatest - least) / middle * 1000.0).round() / 1000.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spread_are_of_all_runs() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(spread(&[90.0, 100.0, 110.0]), 0.2);
    }
}
