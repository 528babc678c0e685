-- Returns the pauses that have not ended. Both names are null for the pause of the database.
select
    p.task_type,
    p.provider,
    p.paused_until,
    p.reason,
    p.paused_by
from only queues.paused p
where p.paused_until is null
    or p.paused_until > clock_timestamp();
