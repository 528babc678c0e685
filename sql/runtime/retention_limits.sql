-- The shortest time for which finished tasks or errors are kept, in seconds (null: all are kept for ever), and a digest of
-- how long those of each type are kept. $1 for how many seconds those are kept whose definition does not say it (null: for
-- ever).
select
    (
        select extract(epoch from min(errand.kept_for(k.defined, make_interval(secs => $1))))::float8
        from (
            select null::interval
            union all
            select d.keep_succeeded_for
            from only queues.task_definition d
            union all
            select d.keep_failed_for
            from only queues.task_definition d
        ) as k (defined)
    ) as shortest,
    (
        select hashtextextended(
            concat_ws(
                ' ',
                $1,
                string_agg(
                    concat_ws(' ', d.task_type, d.keep_succeeded_for::text, '/', d.keep_failed_for::text),
                    ',' order by d.task_type
                )
            ),
            0
        )
        from only queues.task_definition d
        where d.keep_succeeded_for is not null
            or d.keep_failed_for is not null
    ) as digest;
