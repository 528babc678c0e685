//! Desired state: which databases should be served, how, and what prevents that.

use crate::config;
use crate::error::PgError;
use crate::hindrance;
use crate::pg::catalog::{self, DatabaseRow};
use crate::pg::guc::{self, split_list};
use crate::pg::{bgworker, transaction};
use crate::shared::{Database, Hindrance, Service, SetFor, ToOid};
use pgrx::pg_sys::Oid;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What the catalogs say.
#[derive(Default)]
pub struct Catalogs {
    databases: Vec<DatabaseRow>,
    /// The names in `pg_errand.databases`; if empty, all databases are meant.
    listed: Vec<String>,
    /// The roles that workers connect as, by name; `None` for one that does not exist.
    roles: HashMap<String, Option<catalog::Role>>,
    /// Databases with the roles that may not connect to them.
    denied: Vec<(Oid, Oid)>,
    /// Databases that were known before the catalogs were read and are not in them. A database that has become known
    /// since may have been created since.
    lost: Vec<Oid>,
}

/// How a database should be served.
pub struct Desired {
    pub oid: Oid,
    pub concurrency: usize,
    pub role: Oid,
    /// A digest of the role and the stored settings. If it changes, workers have to be replaced.
    pub settings: u64,
    /// `Database::settings`, which is part of the digest.
    pub stored_settings: u64,
    /// Why no worker can run.
    pub hindrance: Option<Hindrance>,
}

impl Catalogs {
    /// Reads databases and roles in a transaction of its own. `known` are the entries in shared memory.
    pub fn read(known: &[Database]) -> Result<Catalogs, PgError> {
        transaction::commit_after(|| {
            let listed = split_list(&config::DATABASES.get()).unwrap_or_default();
            let mut catalogs = Catalogs { databases: catalog::databases(), listed, ..Default::default() };
            catalogs.lost =
                known.iter().map(|entry| entry.id.oid()).filter(|oid| !catalogs.exists(*oid)).collect();
            for entry in known {
                let name = config::role_of(entry.role.as_str());
                let role = catalog::role(&name);
                if let Some(oid) = role.as_ref().map(|role| role.oid)
                    && catalogs.find(entry.id.oid()).is_some()
                    && !catalog::may_connect(entry.id.oid(), oid)
                {
                    catalogs.denied.push((entry.id.oid(), oid));
                }
                catalogs.roles.insert(name, role);
            }
            catalogs
        })
    }

    pub fn exists(&self, oid: Oid) -> bool {
        self.find(oid).is_some()
    }

    /// True if the database of `entry` was dropped.
    pub fn has_lost(&self, entry: &Database) -> bool {
        self.lost.contains(&entry.id.oid())
    }

    /// True if the entry of a database is not needed, since the database exists but is not to be served. It gets a new
    /// entry when that changes.
    pub fn can_forget(&self, entry: &Database) -> bool {
        !entry.has_extension && self.find(entry.id.oid()).is_some_and(|row| !self.is_wanted(row))
    }

    pub fn allows_connections(&self, oid: Oid) -> bool {
        self.find(oid).is_some_and(|row| row.allows_connections)
    }

    /// Databases whose tasks should be processed if they have the extension.
    pub fn wanted(&self) -> impl Iterator<Item = Oid> {
        self.databases.iter().filter(|row| self.is_wanted(row)).map(|row| row.oid)
    }

    /// Names in `pg_errand.databases` of databases that do not exist.
    pub fn unknown_names(&self) -> Vec<String> {
        let exists = |name: &&String| self.databases.iter().any(|row| row.name == **name);
        self.listed.iter().filter(|name| !exists(name)).cloned().collect()
    }

    /// Databases in which stored settings can be read, without those in which a connection would disturb a command.
    pub fn readable(&self, known: &[Database]) -> Vec<Oid> {
        let is_quiesced = |oid| known.iter().any(|entry| entry.id.oid() == oid && entry.is_quiesced());
        let mut usable: Vec<&DatabaseRow> =
            self.databases.iter().filter(|row| row.allows_connections && !is_quiesced(row.oid)).collect();
        usable.sort_by_key(|row| (row.name != "postgres", row.is_template));
        usable.into_iter().map(|row| row.oid).collect()
    }

    /// How the database of `entry` should be served; `None` if it should not.
    pub fn desired(&self, entry: &Database) -> Option<Desired> {
        let row = self.find(entry.id.oid()).filter(|row| self.is_wanted(row))?;
        let name = config::role_of(entry.role.as_str());
        // A role that is not known yet is looked up by the next scan of the catalogs.
        let role = self.roles.get(&name)?;
        let role_oid = role.as_ref().map_or(Oid::INVALID, |role| role.oid);
        let mut hasher = DefaultHasher::new();
        (entry.settings, role_oid).hash(&mut hasher);
        Some(Desired {
            oid: entry.id.oid(),
            concurrency: entry.concurrency.unwrap_or(config::CONCURRENCY.get()) as usize,
            role: role_oid,
            settings: hasher.finish(),
            stored_settings: entry.settings,
            hindrance: self
                .hindrance(row, role.as_ref())
                .or_else(|| read_only(entry).map(Hindrance::ReadOnly)),
        })
    }

    /// How the database of `entry` is served, for other processes.
    pub fn service(&self, entry: &Database, desired: Option<&Desired>) -> Service {
        let is_wanted = self.find(entry.id.oid()).is_some_and(|row| self.is_wanted(row));
        match desired {
            _ if !is_wanted => Service::NotServed,
            None => Service::Undecided,
            Some(Desired { hindrance: Some(hindrance), .. }) => Service::Hindered(*hindrance),
            Some(_) if entry.settings_as_of == 0 => Service::Undecided,
            Some(desired) => Service::Workers(desired.concurrency as u32),
        }
    }

    /// A message about a hindrance in the database of `entry`, and a hint.
    pub fn describe(&self, entry: &Database, hindrance: Hindrance) -> (String, String) {
        let database = self.find(entry.id.oid()).map_or("", |row| &row.name);
        hindrance::describe(hindrance, database, &config::role_of(entry.role.as_str()))
    }

    fn find(&self, oid: Oid) -> Option<&DatabaseRow> {
        self.databases.iter().find(|row| row.oid == oid)
    }

    fn is_wanted(&self, row: &DatabaseRow) -> bool {
        if self.listed.is_empty() {
            return !row.is_template && row.allows_connections;
        }
        self.listed.contains(&row.name)
    }

    fn hindrance(&self, row: &DatabaseRow, role: Option<&catalog::Role>) -> Option<Hindrance> {
        let Some(role) = role else { return Some(Hindrance::NoRole) };
        let needs_login = !bgworker::IGNORES_LOGIN;
        if !row.allows_connections {
            Some(Hindrance::NoConnections)
        } else if needs_login && !role.can_login {
            Some(Hindrance::NoLogin)
        } else if self.denied.contains(&(row.oid, role.oid)) {
            Some(Hindrance::NoConnect)
        } else {
            None
        }
    }
}

/// Where it is set that transactions of the workers' role are read-only by default, so that no task is started; `None` if
/// they are not.
fn read_only(entry: &Database) -> Option<SetFor> {
    // Until the stored settings are known, the server's value says nothing about this database.
    if entry.settings_as_of == 0 {
        return None;
    }
    let (is_read_only, set_for) = entry.read_only.unwrap_or_else(|| (guc::is_read_only(), SetFor::Server));
    is_read_only.then_some(set_for)
}
