-- How many of these calls are open, and how many of those have no answer. $1 tasks, $2 owner.
select count(*), count(*) filter (where c.answered_at is null)
from queues.call c
where c.task_id = any ($1)
    and c.owner = $2
    and c.request is not null;
