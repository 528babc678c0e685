//! A worker outside the database: it takes tasks from those inside, and is no more reliable.

use fastrand::Rng;
use postgres::{Client, Error};

use super::session::connected;
use super::world::{World, linger};

/// The error of a task that a worker outside has failed.
pub const REFUSAL: &str = "refused outside";

/// Ends a task with its effect, if it is still this worker's.
const COMPLETE: &str = "
    with mine as materialized (
        select t.task_id, t.payload ->> 'label' as label
        from queues.task t
        where t.task_id = $1 and t.dequeued_at = $2::text::timestamptz and t.finished_at is null and t.leased
        for update
    ), effect as (
        insert into app.effect (label, outside) select label, true from mine returning label
    )
    select queues.complete_task(mine.task_id) from mine, effect";

/// Goes on until the world stops.
pub fn run(world: &World, mut rng: Rng) {
    let mut connection = None;
    while !world.is_stopping() {
        linger(&mut rng, 250);
        if world.is_kept_away() {
            connection = None;
            continue;
        }
        let Some(client) = connected(world, &mut connection) else { continue };
        if let Err(error) = take_one(client, &mut rng) {
            world.explain("a worker outside", &error);
            connection = None;
        }
    }
}

fn take_one(client: &mut Client, rng: &mut Rng) -> Result<(), Error> {
    let sql = "select task_id, dequeued_at::text from queues.dequeue_next_available_task()";
    let row = client.query_one(sql, &[])?;
    let (Some(task_id), Some(dequeued_at)) = (row.get::<_, Option<i64>>(0), row.get::<_, Option<String>>(1))
    else {
        return Ok(());
    };
    // Sometimes longer than the lease.
    let pause = if rng.u32(0..5) == 0 { 2500 } else { 200 };
    linger(rng, pause);
    match rng.u32(0..10) {
        // Forgotten: it is handed out again when its lease has expired.
        0 | 1 => Ok(()),
        2 | 3 => fail(client, task_id, &dequeued_at),
        _ => client.query(COMPLETE, &[&task_id, &dequeued_at]).map(drop),
    }
}

/// Fails a task, if it is still this worker's.
fn fail(client: &mut Client, task_id: i64, dequeued_at: &str) -> Result<(), Error> {
    let sql = "
        with mine as materialized (
            select t.task_id
            from queues.task t
            where t.task_id = $1 and t.dequeued_at = $2::text::timestamptz and t.finished_at is null and t.leased
            for update
        )
        select queues.fail_task(task_id, $3) from mine";
    client.query(sql, &[&task_id, &dequeued_at, &REFUSAL]).map(drop)
}
