-- Removes old rows of the history, some at a time. $1 the current time.
delete from only queues.stats_history
where ctid = any (
    array(
        select s.ctid
        from only queues.stats_history s
        where (s.resolution = 'minute' and s.at < $1 - interval '1 day')
            or (s.resolution = 'hour' and s.at < $1 - interval '90 days')
        limit 500
        for update skip locked
    )
);
