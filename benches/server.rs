//! A private server with its own directory and socket, without TCP, and with default settings.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use postgres::{Client, NoTls};

use crate::programs::{as_server_user, output, server};
use crate::result::Result;
use crate::room::{end_server, new_directory, template};

/// The number of lines of the server's log that are shown when it does not start.
const SHOWN_LINES: usize = 20;

/// A running server, which is stopped and removed when the value is dropped.
pub struct Server {
    home: PathBuf,
}

impl Server {
    /// Creates and starts a server with settings besides the defaults, the values without quotes.
    ///
    /// # Errors
    /// If the server cannot be created or does not start.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let server = Self { home: new_directory()? };
        let data = server.data_dir();
        let copy = &mut as_server_user(Path::new("cp"));
        output(copy.arg("-a").arg("--reflink=auto").arg(template()?).arg(&data))?;
        let home = server.home.to_str().ok_or("a temporary directory that is not named in UTF-8")?;
        let own = [
            ("listen_addresses", ""),
            ("unix_socket_directories", home),
            ("shared_preload_libraries", "pg_errand"),
        ];
        configure(&data, own.iter().chain(settings))?;
        server.launch()?;
        Ok(server)
    }

    /// A session of the superuser.
    ///
    /// # Errors
    /// If the server refuses the connection.
    pub fn connect(&self, database: &str) -> Result<Client> {
        let mut config = postgres::Config::new();
        config.host_path(&self.home).user("postgres").dbname(database).application_name("bench");
        Ok(config.connect(NoTls)?)
    }

    /// The directory of the socket, in which a measurement can create files.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    fn launch(&self) -> Result<()> {
        let log = self.home.join("server.log");
        let mut start = server("pg_ctl");
        start.arg("-D").arg(self.data_dir()).arg("-l").arg(&log).args(["-w", "-s", "start"]);
        // The server would inherit the pipes of pg_ctl, which would then stay open.
        let status = start.current_dir(&self.home).stdout(null()).stderr(null()).status()?;
        if status.success() {
            return Ok(());
        }
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        Err(format!("the server does not start:\n{}", end.join("\n")).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end_server(&self.data_dir());
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn null() -> std::process::Stdio {
    std::process::Stdio::null()
}

fn configure<'a>(data_dir: &Path, settings: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Result<()> {
    let mut file = OpenOptions::new().append(true).open(data_dir.join("postgresql.conf"))?;
    for (name, value) in settings {
        writeln!(file, "{name} = '{}'", value.replace('\'', "''"))?;
    }
    Ok(())
}
