//! Finding and running PostgreSQL's programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// Variables in the caller's environment that would change the behaviour of a server or a client.
const FOREIGN: [&str; 4] = ["LC_ALL", "LANG", "RESEND_API_KEY", "TWILIO_AUTH_TOKEN"];

/// The unprivileged user that runs servers when the tests run as root.
const USER: &str = "postgres";

static BINDIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    PathBuf::from(output(Command::new(pg_config).arg("--bindir")).trim())
});

/// Returns a command for a client program, such as `psql` or `pg_dump`.
pub fn client(name: &str) -> Command {
    clean(Command::new(BINDIR.join(name)))
}

/// Returns a command for a program that is not PostgreSQL's.
pub fn tool(name: &str) -> Command {
    clean(Command::new(name))
}

/// Returns a command for a server program, such as `initdb` or `postgres`, run as [`USER`] if the tests run as root.
pub fn server(name: &str) -> Command {
    as_server_user(&BINDIR.join(name))
}

/// Returns a command for any program, run as the user that owns the clusters.
pub fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return clean(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={USER}"))
        .arg(format!("--regid={USER}"))
        .arg("--init-groups")
        .arg("--")
        .arg(program);
    clean(command)
}

/// Makes the user that owns the clusters the owner of a file.
pub fn give_to_server_user(path: &Path) {
    if is_root() {
        output(Command::new("chown").arg(format!("{USER}:{USER}")).arg(path));
    }
}

/// Runs a command to its end and returns what it wrote to standard output.
///
/// # Panics
/// If the command cannot be run or fails; the message contains its standard error.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
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
    command.env("LC_ALL", "C");
    command
}
