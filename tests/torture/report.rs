//! What a run came to, and what is kept of one that failed.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use super::plan::Options;
use super::world::World;

/// How many findings of a sort are shown.
const SHOWN: usize = 10;

/// What a run came to.
pub struct Report {
    pub options: Options,
    pub seconds: f64,
    pub kills: usize,
    pub stops: usize,
    /// Tasks by kind, and by how they ended.
    pub kinds: BTreeMap<String, usize>,
    pub ends: BTreeMap<String, usize>,
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    pub stuck: Vec<String>,
    pub wrong: Vec<String>,
    /// Cancels that a crash or stop of the server has undone.
    pub forgotten: usize,
}

impl Report {
    /// True if there is nothing to complain about.
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.stuck.is_empty() && self.wrong.is_empty()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let list = |counts: &BTreeMap<String, usize>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let Options { seed, rounds } = self.options;
        let tasks: usize = self.kinds.values().sum();
        writeln!(f, "torture: seed {seed}, {rounds} rounds, {:.0} s", self.seconds)?;
        writeln!(f, "  {} kills, the server went down {} times", self.kills, self.stops)?;
        writeln!(f, "  {tasks} tasks: {}", list(&self.kinds))?;
        let forgotten = format!("cancels forgotten by a server that went down: {}", self.forgotten);
        writeln!(f, "  ended: {}; {forgotten}", list(&self.ends))?;
        write!(f, "  {} lost, {} doubled, {} stuck", self.lost.len(), self.doubled.len(), self.stuck.len())?;
        write!(f, ", {} otherwise wrong", self.wrong.len())?;
        let heaps = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("stuck", &self.stuck),
            ("wrong", &self.wrong),
        ];
        for (name, heap) in heaps {
            for item in heap.iter().take(SHOWN) {
                write!(f, "\n  {name}: {item}")?;
            }
            if heap.len() > SHOWN {
                write!(f, "\n  {name}: … and {} more", heap.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

/// Keeps the faults of a run, and the server's log of one that failed; when dropped by a panic, too.
pub struct Witness<'a> {
    pub world: &'a World,
    pub options: Options,
    pub failed: bool,
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        self.world.stop();
        let name = format!("torture-{}", self.options.seed);
        let path = |ending| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{ending}"));
        keep(&path("faults"), &self.world.history.lines());
        if self.failed || std::thread::panicking() {
            eprintln!("torture: seed {}, the faults:\n{}", self.options.seed, self.world.history.lines());
            keep(&path("log"), &self.world.cluster.log());
        }
    }
}

fn keep(path: &Path, text: &str) {
    match fs::write(path, text) {
        Ok(()) => eprintln!("kept: {}", path.display()),
        Err(error) => eprintln!("{}: {error}", path.display()),
    }
}
