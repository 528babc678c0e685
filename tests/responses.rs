//! What becomes of responses: what their status says was done counts, and what they say is kept.

use serde_json::json;

use crate::calling::{Calling, at, register};
use crate::harness::queue;

const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");

#[test]
fn a_task_that_fails_before_its_call_takes_no_place_in_the_rate() {
    let mut calling = Calling::friendly(&[ONE_WORKER]);
    // One request in a day, and one call at a time.
    calling.register("rare", json!({"requests_per_second": 0.00002, "burst": 1, "max_in_flight": 1}));
    for _ in 0..3 {
        let broken = json!({"before_handler": "app.raises"});
        let task_id = queue::enqueue(&mut calling.client, "rare", broken);
        let message = calling.error(task_id);
        assert!(message.contains("this handler always raises"), "{message}");
        calling.fail("rare", json!({"uri": "/x"}));
    }
    calling.succeed("rare", json!({"path": "/x"}));
    // That one counts.
    let task_id = calling.call("rare", json!({"path": "/x"}));
    let state = queue::status(&mut calling.client, task_id);
    assert_eq!((state.as_str(), calling.web.requests().len()), ("ready", 1));
}
