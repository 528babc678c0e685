//! Starts threads.

/// A function that starts a thread in the way that the process allows.
pub type Spawn = fn(Box<dyn FnOnce() + Send>) -> std::io::Result<()>;

#[cfg(test)]
pub fn plainly(body: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
    std::thread::Builder::new().spawn(body).map(|_| ())
}
