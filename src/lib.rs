//! pg_errand: a task queue with workers and provider calls, inside the database.
//!
//! The modules follow the path of a task, each step in a file of `src/worker/`: wake → claim → dispatch → process →
//! record. Processors and interfaces are registries: a new one is a file and a line.

mod built_in;
mod commands;
mod config;
mod drain;
mod enqueue;
mod enqueue_many;
mod envelope;
mod error;
mod explain;
mod failures;
mod functions;
mod grantee;
mod handler;
mod hindrance;
mod home;
mod inject;
mod key_turn;
mod launcher;
mod line;
mod masking;
mod outside;
mod pauses;
mod payload;
mod pg;
mod plain_task;
mod problems;
mod processes;
mod processor;
mod provider;
mod purge;
mod queue_key;
mod removal;
mod replica;
mod secret;
mod shared;
mod slot;
mod start_limits;
mod stats;
mod steering;
mod task;
mod task_definition;
mod unique;
mod unwritten;
mod waiting;
mod walk;
mod worker;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/00_guard.sql", name = "guard", bootstrap);
extension_sql_file!("../sql/10_schemas.sql", name = "schemas", requires = ["guard"]);
extension_sql_file!("../sql/15_home.sql", name = "home", requires = ["schemas"]);
extension_sql_file!("../sql/20_task.sql", name = "task", requires = ["home"]);
extension_sql_file!("../sql/30_error.sql", name = "error", requires = ["task"]);
extension_sql_file!("../sql/40_call.sql", name = "call", requires = ["error"]);
extension_sql_file!("../sql/45_removal.sql", name = "removal", requires = ["call"]);
extension_sql_file!("../sql/48_provider.sql", name = "provider", requires = ["removal"]);
extension_sql_file!("../sql/49_built_in.sql", name = "built_in", requires = ["provider"]);
extension_sql_file!("../sql/50_enqueue.sql", name = "enqueue", requires = ["built_in"]);
extension_sql_file!("../sql/55_http.sql", name = "http", requires = ["enqueue"]);
extension_sql_file!("../sql/56_start_limits.sql", name = "start_limits", requires = ["http"]);
extension_sql_file!("../sql/57_ageing.sql", name = "ageing", requires = ["start_limits"]);
extension_sql_file!("../sql/58_queue_key.sql", name = "queue_key", requires = ["ageing"]);
extension_sql_file!("../sql/59_lock_key.sql", name = "lock_key", requires = ["queue_key"]);
extension_sql_file!("../sql/59_lock_next.sql", name = "lock_next", requires = ["lock_key"]);
extension_sql_file!("../sql/59_redaction.sql", name = "redaction", requires = ["lock_next"]);
extension_sql_file!("../sql/60_outside.sql", name = "outside", requires = ["redaction"]);
extension_sql_file!("../sql/65_pause.sql", name = "pause", requires = ["outside"]);
extension_sql_file!("../sql/66_drain.sql", name = "drain", requires = ["pause"]);
extension_sql_file!("../sql/70_cancel.sql", name = "cancel", requires = ["drain"]);
extension_sql_file!("../sql/71_bulk.sql", name = "bulk", requires = ["cancel"]);
extension_sql_file!("../sql/72_retry.sql", name = "retry", requires = ["bulk"]);
extension_sql_file!("../sql/73_purge.sql", name = "purge", requires = ["retry"]);
extension_sql_file!("../sql/74_reorder.sql", name = "reorder", requires = ["purge"]);
extension_sql_file!("../sql/75_adopt.sql", name = "adopt", requires = ["reorder"]);
extension_sql_file!("../sql/80_run_function.sql", name = "run_function", requires = ["adopt"]);
extension_sql_file!("../sql/84_stats.sql", name = "stats", requires = ["run_function"]);
extension_sql_file!("../sql/85_views.sql", name = "views", requires = ["stats"]);
extension_sql_file!("../sql/86_explain.sql", name = "explain", requires = ["views"]);
extension_sql_file!("../sql/87_checks_of_health.sql", name = "health_checks", requires = ["explain"]);
extension_sql_file!("../sql/87_grant_role.sql", name = "grant_role", requires = ["health_checks"]);
extension_sql_file!("../sql/87_health.sql", name = "health", requires = ["grant_role"]);
extension_sql_file!("../sql/87_provider_status.sql", name = "provider_status", requires = ["health"]);
extension_sql_file!("../sql/87_questions.sql", name = "questions", requires = ["provider_status"]);
extension_sql_file!("../sql/87_report_facts.sql", name = "report_facts", requires = ["questions"]);
extension_sql_file!("../sql/87_report_load.sql", name = "report_load", requires = ["report_facts"]);
extension_sql_file!("../sql/87_report_page.sql", name = "report_page", requires = ["report_load"]);
extension_sql_file!("../sql/87_top.sql", name = "top", requires = ["report_page"]);
extension_sql_file!("../sql/87_values_of_database.sql", name = "database_values", requires = ["top"]);
extension_sql_file!("../sql/87_values_of_tasks.sql", name = "task_values", requires = ["database_values"]);
extension_sql_file!("../sql/87_view_of_metrics.sql", name = "metrics", requires = ["task_values"]);
extension_sql_file!("../sql/88_comments.sql", name = "comments", requires = ["metrics"]);
extension_sql_file!("../sql/90_rights.sql", name = "rights", requires = ["comments"]);
extension_sql_file!("../sql/99_ready.sql", name = "ready", requires = ["rights"]);

#[pg_guard]
extern "C-unwind" fn _PG_init() {
    pg::abi::check();
    config::init();
    // While pg_upgrade runs the server, no worker may start.
    if pg::backend::preloading() && !pg::backend::upgrading() {
        pg::directory::init();
        pg::shmem::init();
        worker::wake::init();
        stats::init();
        outside::init();
        drain::init();
        launcher::quiesce::init();
        commands::init();
        masking::init();
        launcher::register();
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[path = "../pgrx-tests/mod.rs"]
mod pgrx_tests;

/// Where `cargo pgrx test` looks for its settings.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'pg_errand'", "pg_errand.concurrency = 0"]
    }
}
