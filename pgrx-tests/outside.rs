use super::text;
use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::*;

    #[pg_test]
    fn nothing_ready_is_one_row_of_nulls() {
        let row = text(
            "select concat(count(*), bool_and(task_id is null)) from queues.dequeue_next_available_task()",
        );
        assert_eq!(row.unwrap(), "1t");
    }

    #[pg_test]
    fn a_leased_task_is_running_until_it_is_completed() {
        Spi::run("select queues.enqueue('db_function', '{}')").unwrap();
        Spi::run("select queues.dequeue_next_available_task()").unwrap();
        assert_eq!(text("select concat(status, attempts) from queues.task_status").unwrap(), "running1");
        Spi::run("select queues.complete_task(task_id) from queues.task").unwrap();
        Spi::run("select queues.fail_task(task_id, 'late') from queues.task").unwrap();
        assert_eq!(text("select status || last_error from queues.task_status").unwrap(), "succeededlate");
    }

    #[pg_test]
    fn without_leases_a_task_ends_when_it_is_handed_out() {
        Spi::run("set local pg_errand.lease_duration = 0").unwrap();
        Spi::run("select queues.enqueue('db_function', '{}')").unwrap();
        Spi::run("select queues.dequeue_next_available_task()").unwrap();
        assert_eq!(text("select status from queues.task_status").unwrap(), "succeeded");
        Spi::run("select queues.append_error(task_id, 'oh') from queues.task").unwrap();
        assert_eq!(text("select status || last_error from queues.task_status").unwrap(), "failedoh");
    }
}
