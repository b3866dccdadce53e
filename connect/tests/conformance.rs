//! One suite that every sink passes on its real server. SQLite always runs; the others run where `services/stack env` says they are.

#[path = "conformance/batches.rs"]
mod batches;
#[path = "conformance/blog.rs"]
mod blog;
#[path = "conformance/claims.rs"]
mod claims;
#[path = "conformance/dlq.rs"]
mod dlq;
#[path = "conformance/faults.rs"]
mod faults;
#[path = "conformance/faulty.rs"]
mod faulty;
#[path = "conformance/held.rs"]
mod held;
#[path = "conformance/held_limits.rs"]
mod held_limits;
#[path = "conformance/isolation.rs"]
mod isolation;
#[path = "conformance/moves.rs"]
mod moves;
#[path = "conformance/moves_held.rs"]
mod moves_held;
#[path = "conformance/outbox.rs"]
mod outbox;
#[path = "conformance/rows.rs"]
mod rows;
#[path = "conformance/silence.rs"]
mod silence;
#[path = "conformance/target.rs"]
mod target;
#[path = "conformance/types.rs"]
mod types;
#[path = "conformance/wake.rs"]
mod wake;

/// Runs one scenario on every engine: `conformance!(module::scenario);` makes a module of tests named by engine.
#[macro_export]
macro_rules! conformance {
    ($($scenario:ident),+ $(,)?) => {
        $(mod $scenario {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$scenario(&mut $crate::target::Target::sqlite(stringify!($scenario)).await).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres15() {
                use $crate::target::{Engine, Target};
                let name = stringify!($scenario);
                if let Some(mut target) = Target::server(Engine::Postgres, "TIDELOCK_TEST_POSTGRES", name).await {
                    super::$scenario(&mut target).await;
                    target.drop_database().await;
                }
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres18() {
                use $crate::target::{Engine, Target};
                let name = stringify!($scenario);
                if let Some(mut target) = Target::server(Engine::Postgres, "TIDELOCK_TEST_POSTGRES18", name).await {
                    super::$scenario(&mut target).await;
                    target.drop_database().await;
                }
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mysql() {
                use $crate::target::{Engine, Target};
                let name = stringify!($scenario);
                if let Some(mut target) = Target::server(Engine::MySql, "TIDELOCK_TEST_MYSQL", name).await {
                    super::$scenario(&mut target).await;
                    target.drop_database().await;
                }
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                use $crate::target::{Engine, Target};
                let name = stringify!($scenario);
                if let Some(mut target) = Target::server(Engine::MariaDb, "TIDELOCK_TEST_MARIADB", name).await {
                    super::$scenario(&mut target).await;
                    target.drop_database().await;
                }
            }
        })+
    };
}
