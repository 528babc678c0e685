-- 0.3.0: tasks end on the page where they were enqueued.

set local search_path = pg_catalog, pg_temp;

-- For pages from now on.
alter table queues.task set (fillfactor = 45);
