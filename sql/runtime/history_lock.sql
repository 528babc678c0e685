-- Locks the history so that no statement on it has to wait for a lock later, or raises an error. The lock ends with the transaction.
lock table only queues.stats_history in row exclusive mode nowait;
