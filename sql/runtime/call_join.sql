-- Forms a batch of calls, or dissolves one. $1 tasks, $2 owner, $3 whether to form it.
with member as (
    select c.task_id
    from only queues.call c
    where c.task_id = any ($1)
        and c.owner = $2
        and c.request is not null
    order by c.task_id
    for no key update
),
batch as (
    select min(m.task_id) as first, count(*)::integer as size
    from member m
)
update only queues.call c
set batch = case when $3 and b.size > 1 then b.first end,
    batch_size = case when $3 and b.size > 1 then b.size end
from member m
cross join batch b
where c.task_id = m.task_id
returning c.task_id, c.batch, c.idempotency_key;
