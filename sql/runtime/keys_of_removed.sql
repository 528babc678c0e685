-- Returns the queue keys of removed tasks that were unfinished. "gone" is the transition table of the trigger.
select distinct g.task_type, g.queue_key
from gone g
where g.finished_at is null
    and g.queue_key is not null;
