//! Describes how a cluster is set up.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::cluster::Cluster;
use super::permit::Permit;
use super::programs::{output, server};
use super::run_dir::{copy_template, injection_dir, new_directory};

/// Settings that every cluster starts with. Settings of a builder override them.
const DEFAULTS: [(&str, &str); 6] = [
    ("shared_preload_libraries", "pg_errand"),
    ("listen_addresses", ""),
    ("fsync", "off"),
    ("log_min_messages", "info"),
    ("log_line_prefix", "%m [%p] %b %q%a "),
    ("max_worker_processes", "16"),
];

/// The origin of a new cluster's data directory.
enum Source {
    /// A fresh `initdb`.
    Template,
    /// A base backup of the server whose socket is in this directory.
    Backup { socket: PathBuf, standby: bool },
}

/// The description of a cluster that is about to be started.
pub struct Builder {
    source: Source,
    tried_before: bool,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    memory: Option<u64>,
}

impl Builder {
    /// Describes a cluster made by `initdb`.
    pub fn new() -> Self {
        Self::from_source(Source::Template)
    }

    /// Describes a streaming standby of a running cluster.
    pub fn standby_of(primary: &Cluster) -> Self {
        Self::from_source(Source::Backup { socket: primary.socket_dir().to_owned(), standby: true })
    }

    /// Describes a cluster that is started from a base backup of a running one, and is no standby.
    pub fn backup_of(original: &Cluster) -> Self {
        Self::from_source(Source::Backup { socket: original.socket_dir().to_owned(), standby: false })
    }

    /// Adds a setting to `postgresql.conf`. The value is given without quotes.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Loads the library with injection points, see `points`.
    pub fn with_points(self) -> Self {
        let path = format!("{}:$libdir", injection_dir().display());
        self.set("dynamic_library_path", &path)
    }

    /// Runs `postgres -C`, which loads libraries, before the data directory is marked as that of a standby.
    pub fn tried_before(self) -> Self {
        Self { tried_before: true, ..self }
    }

    /// Sets a variable in the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Limits the address space of each server process, in bytes.
    pub fn memory(self, bytes: u64) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    /// Creates the cluster, starts it and waits until it accepts connections. At most three tests have clusters at the
    /// same time; the fourth waits here.
    ///
    /// # Panics
    /// The cluster cannot be made, or does not start; the message holds the end of its log.
    #[track_caller]
    pub fn start(self) -> Cluster {
        let permit = Permit::take();
        let home = new_directory();
        let data_dir = home.join("data");
        match &self.source {
            Source::Template => copy_template(&data_dir),
            Source::Backup { socket, standby } => base_backup(socket, &data_dir, *standby),
        }
        let place = ("unix_socket_directories", home.to_str().expect("a temporary directory named in UTF-8"));
        let own = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        configure(&data_dir, DEFAULTS.into_iter().chain(own).chain([place]));
        if self.tried_before {
            try_out(&data_dir);
        }
        let cluster = Cluster::new(home, self.environment, self.memory, permit);
        cluster.start_again();
        cluster
    }

    fn from_source(source: Source) -> Self {
        Self { source, tried_before: false, settings: Vec::new(), environment: Vec::new(), memory: None }
    }
}

/// Quotes a value for configuration files and `ALTER SYSTEM`.
pub(super) fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Appends settings to `postgresql.conf`. The last line for a setting counts, so they override those of a copied
/// cluster.
fn configure<'a>(data_dir: &Path, settings: impl Iterator<Item = (&'a str, &'a str)>) {
    let path = data_dir.join("postgresql.conf");
    let mut file = OpenOptions::new().append(true).open(&path).expect("postgresql.conf");
    for (name, value) in settings {
        writeln!(file, "{name} = {}", quote(value)).expect("writing postgresql.conf");
    }
}

fn try_out(data_dir: &Path) {
    let (signal, aside) = (data_dir.join("standby.signal"), data_dir.join("aside.signal"));
    std::fs::rename(&signal, &aside).expect("a standby");
    output(server("postgres").arg("-D").arg(data_dir).args(["-C", "shared_memory_size"]).current_dir("/"));
    std::fs::rename(&aside, &signal).expect("a standby");
}

fn base_backup(socket: &Path, data_dir: &Path, standby: bool) {
    let mut backup = server("pg_basebackup");
    backup.arg("--host").arg(socket).arg("--pgdata").arg(data_dir);
    backup.args(["--username=postgres", "--checkpoint=fast", "--no-sync", "--wal-method=stream"]);
    if standby {
        backup.arg("--write-recovery-conf");
    }
    output(&mut backup);
}
