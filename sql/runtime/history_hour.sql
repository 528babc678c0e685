-- Returns the minutes of the first hour that is over and has no row of its own. $1 the beginning of the current hour.
select
    first.at,
    m.busy_workers,
    m.details::text as details
from (
    select date_bin('1 hour', s.at, 'epoch') as at
    from only queues.stats_history s
    where s.resolution = 'minute'
        and s.at < $1
        and not exists (
            select 1
            from only queues.stats_history h
            where h.resolution = 'hour'
                and h.at = date_bin('1 hour', s.at, 'epoch')
        )
    order by s.at
    limit 1
) first
join only queues.stats_history m on m.resolution = 'minute'
    and m.at >= first.at
    and m.at < first.at + interval '1 hour';
