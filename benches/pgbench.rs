//! pgbench as the load, and as the measure of the machine's capacity.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::programs::{client, output};
use crate::result::Result;
use crate::server::Server;

/// The description of a run of pgbench.
#[derive(Clone, Copy)]
pub struct Pgbench<'a> {
    script: &'a str,
    clients: u32,
    length: Length,
    /// Transactions per second of all clients together; `None` means as many as possible.
    rate: Option<f64>,
    asynchronous: bool,
}

#[derive(Clone, Copy)]
enum Length {
    Seconds(u64),
    /// The number of transactions of each client.
    Transactions(u64),
}

/// The results that pgbench reports at its end.
pub struct Outcome {
    pub tps: f64,
    pub transactions: u64,
}

/// A running pgbench, which is ended when the value is dropped.
pub struct Running(Option<Child>);

impl<'a> Pgbench<'a> {
    /// Two clients that run a script for this number of seconds.
    pub fn seconds(script: &'a str, seconds: u64) -> Self {
        Self::new(script, Length::Seconds(seconds))
    }

    /// Two clients that run this number of transactions each.
    pub fn transactions(script: &'a str, transactions: u64) -> Self {
        Self::new(script, Length::Transactions(transactions))
    }

    fn new(script: &'a str, length: Length) -> Self {
        Self { script, clients: 2, length, rate: None, asynchronous: false }
    }

    pub fn clients(self, clients: u32) -> Self {
        Self { clients, ..self }
    }

    pub fn rate(self, rate: f64) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// Sets `synchronous_commit = off`.
    pub fn asynchronous(self) -> Self {
        Self { asynchronous: true, ..self }
    }

    /// Runs pgbench to its end.
    ///
    /// # Errors
    /// If pgbench cannot be run, or a transaction fails.
    pub fn run(self, server: &Server) -> Result<Outcome> {
        self.start(server)?.finish()
    }

    /// Starts pgbench.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn start(self, server: &Server) -> Result<Running> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let script = server.home().join(format!("script{}.sql", COUNT.fetch_add(1, Relaxed)));
        fs::write(&script, self.script)?;
        let mut command = client("pgbench");
        command.args(["-n", "-M", "prepared", "-U", "postgres", "-h"]).arg(server.home());
        command.arg("-c").arg(self.clients.to_string()).arg("-j").arg(self.clients.min(2).to_string());
        match self.length {
            Length::Seconds(seconds) => command.arg("-T").arg(seconds.to_string()),
            Length::Transactions(count) => command.arg("-t").arg(count.to_string()),
        };
        if let Some(rate) = self.rate {
            command.arg("-R").arg(rate.to_string());
        }
        if self.asynchronous {
            command.env("PGOPTIONS", "-c synchronous_commit=off");
        }
        command.arg("-f").arg(&script).arg("postgres");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Running(Some(child)))
    }
}

impl Running {
    /// True if pgbench has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.0.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until pgbench has ended.
    ///
    /// # Errors
    /// If a transaction has failed.
    pub fn finish(mut self) -> Result<Outcome> {
        let child = self.0.take().ok_or("pgbench has ended before")?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(Outcome {
            tps: said(&text, "tps = ").ok_or("pgbench says no tps")?.parse()?,
            transactions: said(&text, "number of transactions actually processed: ")
                .ok_or("pgbench does not say how many transactions")?
                .parse()?,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The number that follows `what`.
fn said<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let rest = text.lines().find_map(|line| line.strip_prefix(what))?;
    rest.split([' ', '/']).next()
}

/// Fills the tables of pgbench's own script.
///
/// # Errors
/// If the program cannot be run.
pub fn initialize(server: &Server, scale: u32) -> Result<()> {
    let mut command = client("pgbench");
    command.args(["-i", "-q", "-U", "postgres", "-h"]).arg(server.home());
    output(command.arg("-s").arg(scale.to_string()).arg("postgres")).map(drop)
}
