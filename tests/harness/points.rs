//! Injection points: holding a process of the server at an exact moment. Needs `Builder::with_points`.

use std::fs;
use std::path::PathBuf;

use super::cluster::Cluster;
use super::programs::give_to_server_user;
use super::wait::eventually;

/// An active injection point: processes that reach it wait until it is opened or dropped.
pub struct Point {
    directory: PathBuf,
    name: &'static str,
}

impl Point {
    /// Activates the point of this name.
    pub fn set(cluster: &Cluster, name: &'static str) -> Self {
        let directory = cluster.data_dir().join("pg_errand_points");
        let _ = fs::create_dir(&directory);
        give_to_server_user(&directory);
        fs::write(directory.join(name), "").expect("the point's file");
        Self { directory, name }
    }

    /// Waits until a process has reached the point, and returns its id.
    ///
    /// # Panics
    /// No process reaches it within the deadline.
    #[track_caller]
    pub fn reached(&self) -> i32 {
        eventually(&format!("a process reaches the point {}", self.name), || self.held())
    }

    /// Returns the id of a process that waits at the point.
    pub fn held(&self) -> Option<i32> {
        let mut names = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        names.find_map(|file| {
            file.file_name().to_str()?.strip_prefix(self.name)?.strip_prefix('.')?.parse().ok()
        })
    }

    /// Lets all processes at the point continue.
    pub fn open(self) {}
}

impl Drop for Point {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.directory.join(self.name));
        // Processes that were killed at the point leave files behind.
        for file in fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok) {
            let name = file.file_name().into_string().unwrap_or_default();
            if name.strip_prefix(self.name).is_some_and(|rest| rest.starts_with('.')) {
                let _ = fs::remove_file(file.path());
            }
        }
    }
}
