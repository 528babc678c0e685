select queues.enqueue('db_function', jsonb_build_object('db_function', 'bench.start', 'at', clock_timestamp()));
select pg_sleep(0.002);
