//! Tasks that are scheduled for the next day must not slow down those that are due.

use super::history::rate_beside;
use crate::queue::NOTHING;
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(2000, 100_000, 100_000);
    let later = run.scale.of(10_000, 200_000, 1_000_000);
    let backlog = format!(
        "insert into queues.task (task_type, payload, scheduled_at)
         select 'db_function', {NOTHING}, now() + interval '1 day' from generate_series(1, {later})"
    );
    let with = rate_beside(&backlog, tasks)?;
    let without = rate_beside("", tasks)?;
    let reading = Reading::new(format!("{later} tasks scheduled for tomorrow"), with, "tasks/s");
    run.read(reading.beside("none", without).asked(Asked::RatioAtLeast(0.95)));
    Ok(())
}
