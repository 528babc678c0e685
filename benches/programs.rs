//! Finds and runs PostgreSQL's programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use crate::result::Result;

/// Variables of the caller's environment that would change the behaviour of a server or a client.
const FOREIGN: [&str; 5] = ["LC_ALL", "LANG", "RUST_BACKTRACE", "RESEND_API_KEY", "TWILIO_AUTH_TOKEN"];

/// The unprivileged user that runs servers for root.
const USER: &str = "postgres";

static BINDIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    let bindir = output(Command::new(&pg_config).arg("--bindir"));
    PathBuf::from(bindir.unwrap_or_else(|error| panic!("{pg_config}: {error}")).trim())
});

/// The path of a program of PostgreSQL, if it is installed.
pub fn path(name: &str) -> Option<PathBuf> {
    Some(BINDIR.join(name)).filter(|path| path.exists())
}

/// A client program (`pgbench`, `pg_waldump` …).
pub fn client(name: &str) -> Command {
    clean(Command::new(BINDIR.join(name)))
}

/// A server program (`initdb`, `pg_ctl` …), run as user postgres for root.
pub fn server(name: &str) -> Command {
    as_server_user(&BINDIR.join(name))
}

/// Any program, run as the user that owns the servers.
pub fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return clean(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--init-groups");
    command.arg("--").arg(program);
    clean(command)
}

/// A program that ends when this one ends, for whatever reason.
pub fn attached(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    clean(command)
}

/// Makes the user that owns the servers the owner of a directory.
///
/// # Errors
/// If there is no such user.
pub fn give_to_server_user(path: &Path) -> Result<()> {
    if is_root() {
        output(Command::new("chown").arg(format!("{USER}:{USER}")).arg(path))?;
    }
    Ok(())
}

/// Runs a command to its end and returns what it wrote to standard output.
///
/// # Errors
/// If the command cannot be run or fails; the message contains its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(format!("{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr)).into())
}

fn is_root() -> bool {
    // SAFETY: geteuid() has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let foreign = name
            .to_str()
            .is_some_and(|name| name.starts_with("PG") && name != "PG_CONFIG" || FOREIGN.contains(&name));
        if foreign {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C.UTF-8");
    command
}
