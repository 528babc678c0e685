//! The function of `sql/75_adopt.sql`.

use crate::worker::wake;
use pgrx::prelude::*;

/// `errand.announce_orphans()`.
#[pg_extern(sql = false)]
fn announce_orphans() {
    wake::note_orphans();
}
