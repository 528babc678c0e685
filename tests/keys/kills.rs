//! Keys keep their order, and no task is lost or runs twice, whoever dies.

use std::time::{SystemTime, UNIX_EPOCH};

use postgres::Client;
use serde_json::json;

use super::{FOUR_WORKERS, assert_all_ran, assert_in_order, enqueue, enqueue_many, gated, start, wait_ended};
use crate::harness::cluster::StopMode;
use crate::harness::handlers::{Gate, one, runner};
use crate::harness::process::kill;
use crate::harness::queue::wait_status;
use crate::harness::wait::eventually;

#[test]
fn the_task_of_a_killed_worker_is_still_the_first_of_its_key() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    let gate = Gate::close(&cluster, "postgres", 1);
    let first = gated(&mut client, "a", "first", 1);
    let pid = runner(&mut client, first);
    let second = enqueue(&mut client, "a", "second");
    one::<bool>(&mut client, &format!("select pg_terminate_backend({pid})"));
    eventually("another worker runs it", || runner(&mut client, first) != pid);
    gate.open();
    wait_status(&mut client, second, "succeeded");
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
}

#[test]
fn keys_survive_crashes_of_the_server() {
    let (cluster, mut client) = start(&FOUR_WORKERS);
    enqueue_many(&mut client, "keyed", 5, 60, &json!({"seconds": 0.005}));
    let ended = "select count(*) from queues.task where finished_at is not null";
    for goal in [40, 100] {
        let mut client = cluster.connect("postgres");
        eventually(&format!("{goal} tasks have ended"), || one::<i64>(&mut client, ended) >= goal);
        cluster.restart(StopMode::Kill);
    }
    let mut client = cluster.connect("postgres");
    wait_ended(&mut client);
    assert_all_ran(&mut client);
    assert_in_order(&mut client);
}

/// A generator of random numbers (Weyl sequence with a multiplication), from a seed that a failure shows.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed >> 33) as usize) % limit
    }
}

/// Ends workers that run tasks, one after some tasks have ended: a task whose workers end again and again is given up.
fn kill_workers(client: &mut Client, kills: usize, random: &mut Random) {
    for n in 0..kills {
        let goal = (n * 14 + random.below(8)) as i64;
        let busy = eventually(&format!("{goal} tasks have ended, and a worker is busy"), || {
            let ended: i64 = one(client, "select count(*) from queues.task where finished_at is not null");
            let busy = "select coalesce(array_agg(pid), '{}') from queues.worker where task_id is not null";
            let pids: Vec<i32> = one(client, busy);
            if ended >= goal && !pids.is_empty() { Ok(pids) } else { Err((ended, pids)) }
        });
        kill(busy[random.below(busy.len())], libc::SIGTERM);
    }
}

#[test]
fn random_kills_of_workers_neither_lose_nor_double_a_task() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    eprintln!("seed {seed}");
    let mut random = Random(seed.into());
    for limit in [1, 2] {
        let (_cluster, mut client) = start(&FOUR_WORKERS);
        let set = format!(
            "update queues.task_definition set max_running_per_key = {limit} where task_type = 'db_function'"
        );
        client.batch_execute(&set).unwrap();
        enqueue_many(&mut client, "keyed", 6, 60, &json!({"places": limit, "seconds": 0.005}));
        kill_workers(&mut client, 20, &mut random);
        wait_ended(&mut client);
        assert_all_ran(&mut client);
        if limit == 1 {
            assert_in_order(&mut client);
        }
    }
}
