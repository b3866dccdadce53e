//! A worker that is asked to stop ends in order at any time, not only when its lanes run.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use tidelock_tests::worker::Worker;

#[test]
fn a_worker_whose_databases_do_not_answer_yet_ends_in_order() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let name = format!("stop-{}", std::process::id());
    let config = std::env::temp_dir().join(format!("tidelock-{name}.yaml"));
    let yaml = format!(
        "pipeline: stop\nkafka: {{ brokers: \"{address}\" }}\nsites:\n  left: {{ kind: mysql, url: \"mysql://a:b@{address}/c\", topics: \"left.{{table}}\" }}\n  \
         right: {{ kind: mysql, url: \"mysql://a:b@{address}/c\" }}\nlinks: [{{ from: left, to: right, entities: {{ t: {{}} }} }}]\n"
    );
    std::fs::write(&config, yaml).unwrap();
    let mut worker = Worker::start(&name, &config, &BTreeMap::new(), &[]);
    // It waits for the server's greeting.
    let _connection = silent.accept().unwrap();
    assert_eq!(worker.terminate(Duration::from_secs(20)), 0, "{}", worker.log_tail());
    assert!(worker.log().contains("asked to stop before any lane began"), "{}", worker.log_tail());
    std::fs::remove_file(&config).unwrap();
}
