-- Lets one worker at a time store the identity of this database.
lock table only errand.home in share row exclusive mode;
