-- Returns the queue keys that are paused now, with their task types.
select p.task_type, p.queue_key
from only queues.paused_key p
where p.paused_until is null
    or p.paused_until > clock_timestamp();
