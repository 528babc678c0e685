-- Takes over open calls whose worker is gone, those that went out together only together. $1 new owner, $2 live
-- owners, $3 owners from here on are newer than that list, $4 at most, $5 the origin of this database's tasks.
with first as (
    select o.task_id
    from queues.call o
    join queues.task t on t.task_id = o.task_id
    where o.request is not null
        and o.owner < $3
        and o.owner <> all ($2)
        and t.calling
        and t.finished_at is null
        and t.origin = $5
        and (
            o.batch is null
            or o.batch = o.task_id
            or not exists (
                select 1
                from queues.call l
                where l.task_id = o.batch
                    and l.request is not null
            )
        )
    order by o.task_id
    limit $4
    for no key update of o skip locked
),
orphan as (
    select f.task_id
    from first f
    union
    select o.task_id
    from first f
    join queues.call o on o.batch = f.task_id
    where o.request is not null
)
update queues.call c
set owner = $1
from orphan
where c.task_id = orphan.task_id
returning
    c.task_id,
    c.provider,
    c.idempotency_key::text,
    c.request,
    c.answered_at is not null,
    extract(epoch from clock_timestamp() - c.requested_at)::float8,
    c.batch,
    c.batch_size;
