//! Changing settings of a running server.

use super::{Cluster, SUPERUSER};
use crate::harness::builder::quote;
use crate::harness::wait::eventually;

impl Cluster {
    /// Makes the server reload its configuration, and waits until the postmaster has done so. Its children may follow
    /// later.
    ///
    /// # Panics
    /// The postmaster does not reload within the deadline.
    #[track_caller]
    pub fn reload(&self) {
        let before = self.config_load_time();
        self.kill(self.postmaster_pid(), libc::SIGHUP);
        eventually("the postmaster reads its configuration", || self.config_load_time() != before);
    }

    /// Runs `ALTER SYSTEM SET` for each setting, then [`Cluster::reload`].
    ///
    /// # Panics
    /// A setting is refused.
    #[track_caller]
    pub fn set(&self, settings: &[(&str, &str)]) {
        let mut client = self.connect(SUPERUSER);
        for (name, value) in settings {
            let sql = format!("alter system set {name} = {}", quote(value));
            client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
        self.reload();
    }

    /// Returns when the postmaster last loaded its configuration, which new sessions inherit.
    fn config_load_time(&self) -> String {
        let row = self.connect(SUPERUSER).query_one("select pg_conf_load_time()::text", &[]);
        row.expect("pg_conf_load_time").get(0)
    }
}
