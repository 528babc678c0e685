use super::{error_of, text};
use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::*;

    #[pg_test]
    fn a_task_has_its_defaults() {
        let row = text(
            "with t as (select queues.enqueue('db_function', null, null) as id)
             select jsonb_build_object('known', id is not null)::text from t",
        );
        assert_eq!(row.unwrap(), r#"{"known": true}"#);
        let row = text(
            "select concat_ws(' ', task_type, payload, attempts, enqueued_at = now(), scheduled_at = now(),
                     dequeued_at is null, finished_at is null)
             from queues.task",
        );
        assert_eq!(row.unwrap(), "db_function {} 0 t t t t");
    }

    #[pg_test]
    fn unknown_task_types_are_refused_and_the_known_ones_named() {
        for sql in [
            "select queues.enqueue('pigeon', '{}')",
            "insert into queues.task (task_type, payload) values ('pigeon', '{}')",
        ] {
            let (sqlstate, message, hint) = error_of(sql);
            assert_eq!((sqlstate.as_str(), message.as_str()), ("22023", "unknown task type \"pigeon\""));
            for known in ["db_function", "email", "sms"] {
                assert!(hint.contains(known), "{hint}");
            }
        }
        assert_eq!(error_of("select queues.enqueue(null, '{}')").0, "22023");
    }

    #[pg_test]
    fn a_new_task_is_ready_or_scheduled() {
        Spi::run("select queues.enqueue('db_function', '{}')").unwrap();
        Spi::run("select queues.enqueue('sms', '{}', now() + interval '1 day')").unwrap();
        let found = text("select string_agg(status, ' ' order by task_id) from queues.task_status");
        assert_eq!(found.unwrap(), "ready scheduled");
    }

    #[pg_test]
    fn a_waiting_task_can_be_cancelled_once() {
        let cancelled = text(
            "select concat(queues.cancel(id), queues.cancel(id), queues.cancel(-1))
             from (select queues.enqueue('db_function', '{}') as id offset 0) t",
        );
        assert_eq!(cancelled.unwrap(), "tff");
        assert_eq!(text("select status from queues.task_status").unwrap(), "cancelled");
    }
}
