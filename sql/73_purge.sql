-- Removes tasks that ended at least _older_than ago (with this final status), and their errors, in the order of their ids;
-- returns their number. A task that a foreign key of a user keeps is left, with a warning in the log. Each call removes at
-- most _limit tasks: it is repeated until it returns 0.
--
-- Not SECURITY DEFINER: tasks are removed with the privileges of their owner, but triggers that follow in users' tables run
-- with those of the caller, see src/removal.rs.
create function queues.purge(
    _older_than interval,
    _status text default null,
    _limit integer default 10000
)
returns bigint
language c
as 'MODULE_PATHNAME', 'purge_wrapper';
