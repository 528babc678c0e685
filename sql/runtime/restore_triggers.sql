-- Enables the extension's triggers as they have to be.
select count(*)
from queues.restore_triggers();
