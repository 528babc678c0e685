-- All tasks were removed: the calls go.
delete from queues.call;
