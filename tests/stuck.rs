//! One bad row stops nobody.

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{create_database, task};
use crate::harness::queue::wait_status;
use serde_json::json;

/// A trigger of the user's own that refuses what the worker writes of a certain task.
const REFUSAL: &str = "
    create function public.refuse_poison() returns trigger language plpgsql as $$
    begin
        if new.payload ? 'poison' then
            raise exception 'poison';
        end if;
        return new;
    end $$;
    create trigger refuse_poison before update on queues.task for each row
        execute function public.refuse_poison()";

#[test]
fn a_task_whose_end_cannot_be_written_holds_up_no_other() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = create_database(&cluster, "app");
    client.batch_execute(REFUSAL).unwrap();
    let poisoned = task(&mut client, "note", json!({"poison": true, "label": "poison"}));
    for n in 0..5 {
        let id = task(&mut client, "note", json!({"label": n.to_string()}));
        wait_status(&mut client, id, "succeeded");
    }
    client.batch_execute("drop trigger refuse_poison on queues.task").unwrap();
    wait_status(&mut client, poisoned, "succeeded");
    let effects: i64 =
        client.query_one("select count(*) from public.done where label = 'poison'", &[]).unwrap().get(0);
    assert_eq!(effects, 1);
}
