-- Sets the triggers of the extension to ENABLE ALWAYS.
select count(*)
from errand.restore_triggers();
