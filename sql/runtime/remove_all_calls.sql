-- Removes all calls, after all tasks have been removed.
delete from only queues.call;
