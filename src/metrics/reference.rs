//! `docs/metrics.md`, made from the declarations. A test fails when the page is stale; `UPDATE_DOCS=1` rewrites it.

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use crate::metrics::CATALOGUE;

    fn page() -> String {
        let mut page = String::from(
            "# Metrics\n\n\
             <!-- Made from the code. Do not edit; `UPDATE_DOCS=1 cargo test -p tidelock` writes it. -->\n\n\
             `http.address` serves `/metrics` (Prometheus text), `/live`, `/ready` and `/api/status` (JSON). Each worker shows its own lanes and the partitions it owns;\n\
             sum over workers. Alert rules with the usual thresholds: [alerts/tidelock.rules.yml](alerts/tidelock.rules.yml).\n\n\
             | metric | type | labels | meaning |\n|---|---|---|---|\n",
        );
        for metric in CATALOGUE {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let doc = metric.doc.concat();
            let _ = writeln!(page, "| `{}` | {} | {} | {} |", metric.name, metric.kind, labels.join(" "), doc.trim());
        }
        page.push_str(include_str!("reading.md"));
        page
    }

    #[test]
    fn the_page_is_what_the_code_says() {
        crate::docs::expect_page("metrics.md", &page());
    }

    #[test]
    fn alert_rules_use_only_metrics_that_exist() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts/tidelock.rules.yml");
        let rules: serde_yaml_ng::Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut used = 0;
        for rule in
            rules["groups"].as_sequence().unwrap().iter().flat_map(|group| group["rules"].as_sequence().unwrap())
        {
            let expression = rule["expr"].as_str().unwrap();
            assert!(rule["alert"].is_string() && rule["annotations"]["summary"].is_string(), "{expression}");
            for word in expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
                if word.starts_with("tidelock_") {
                    let base = word.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
                    assert!(
                        CATALOGUE.iter().any(|metric| metric.name == base || metric.name == word),
                        "{word} does not exist"
                    );
                    used += 1;
                }
            }
        }
        assert!(used >= 8, "the rules look at {used} metrics");
    }
}
