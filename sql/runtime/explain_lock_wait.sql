-- Returns the processes that have a lock for which process $1 waits, or wait for it before that process; none if it waits for
-- no lock. 0 stands for prepared transactions.
select distinct b.pid
from pg_catalog.pg_stat_get_activity($1) a
cross join lateral unnest(
    case when a.wait_event_type = 'Lock' then pg_catalog.pg_blocking_pids($1) end
) as b (pid);
