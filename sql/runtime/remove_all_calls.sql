-- After all tasks were removed: their calls are removed, too.
delete from only queues.call;
