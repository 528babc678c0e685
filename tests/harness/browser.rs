//! A browser without a window (Debian's Chromium), which is spoken to by the protocol of its developer tools over a pipe.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::run_dir::new_directory;
use super::wait::patience;

/// The descriptors on which the browser reads commands and writes answers.
const PIPE: [i32; 2] = [3, 4];

/// The time limit for an answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// A browser with one page. Dropping it ends it.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: String,
    last: u64,
    /// What it has told since the page was opened: method and parameters.
    events: Vec<(String, Value)>,
}

impl Browser {
    /// Starts a browser that reaches no network.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn start() -> Browser {
        let ([for_child_to_read, to], [from, for_child_to_write]) = (pipe(), pipe());
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-extensions", "--disable-background-networking"])
            .args(["--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND"])
            .arg(format!("--user-data-dir={}", new_directory().display()))
            // The sandbox refuses root. The pages are those of the tests.
            .arg("--no-sandbox")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let fds = [for_child_to_read.as_raw_fd(), for_child_to_write.as_raw_fd()];
        // SAFETY: between fork and exec it makes system calls only.
        unsafe { command.pre_exec(move || place(fds)) };
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("chromium: {error}; `make setup` installs Debian's package"));
        let mut browser = Browser {
            child,
            to: to.into(),
            from: BufReader::new(from.into()),
            session: String::new(),
            last: 0,
            events: Vec::new(),
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Shows a file as on a screen of this width in the scheme `light` or `dark`, or as it is printed by who prefers a dark one
    /// (`print`).
    #[track_caller]
    pub fn open(&mut self, page: &Path, width: u32, scheme: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let (media, scheme) = if scheme == "print" { ("print", "dark") } else { ("screen", scheme) };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"media": media, "features": features}));
        self.events.clear();
        let url = format!("file://{}", page.display());
        let went = self.ask("Page.navigate", json!({"url": url}));
        assert!(went.get("errorText").is_none(), "{went}");
        while !self.events.iter().any(|(method, _)| method == "Page.loadEventFired") {
            self.read();
        }
    }

    /// The value of an expression in the page. The page's own policy does not concern it.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The addresses that were requested since the page was opened.
    pub fn requested(&self) -> Vec<&str> {
        let requests = self.events.iter().filter(|(method, _)| method == "Network.requestWillBeSent");
        requests.filter_map(|(_, event)| event["request"]["url"].as_str()).collect()
    }

    /// What was written to the console since then, exceptions and violations of the policy of the page among it.
    pub fn complaints(&self) -> Vec<&Value> {
        let methods = ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"];
        self.events
            .iter()
            .filter(|(method, _)| methods.contains(&method.as_str()))
            .map(|(_, event)| event)
            .collect()
    }

    /// The whole page as an image in PNG.
    #[track_caller]
    pub fn screenshot(&mut self) -> Vec<u8> {
        let shot = self.ask("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
        decoded(&shot)
    }

    /// The page as it is printed, in PDF.
    #[track_caller]
    pub fn print(&mut self) -> Vec<u8> {
        let printed = self.ask("Page.printToPDF", json!({}));
        decoded(&printed)
    }

    /// Gives a command and returns its result.
    #[track_caller]
    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{command}\0").as_bytes()).expect("the browser reads");
        loop {
            if let Some(mut answer) = self.read() {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Reads a message: the answer to the last command, or `None` for an event.
    #[track_caller]
    fn read(&mut self) -> Option<Value> {
        if self.from.buffer().is_empty() {
            let mut ready =
                libc::pollfd { fd: self.from.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let limit = patience(DEADLINE).as_millis().try_into().expect("a short time");
            // SAFETY: one record, of an open descriptor.
            assert_eq!(unsafe { libc::poll(&mut ready, 1, limit) }, 1, "the browser does not answer");
        }
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).expect("the browser answers");
        message.pop().expect("the browser runs");
        let mut message: Value = serde_json::from_slice(&message).expect("JSON");
        if message["id"] == self.last {
            return Some(message);
        }
        if let Some(method) = message["method"].as_str().map(str::to_owned) {
            self.events.push((method, message["params"].take()));
        }
        None
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn decoded(answer: &Value) -> Vec<u8> {
    STANDARD.decode(answer["data"].as_str().expect("data")).expect("base64")
}

/// A pipe, whose first end is read from.
fn pipe() -> [OwnedFd; 2] {
    let mut ends = [0; 2];
    // SAFETY: it writes two descriptors, which are owned from then on.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0, "pipe2");
        ends.map(|end| OwnedFd::from_raw_fd(end))
    }
}

/// Gives the descriptors the numbers of [`PIPE`]. Copies with higher numbers come first, since they may have each other's.
fn place(fds: [i32; 2]) -> std::io::Result<()> {
    let copy = |fd: i32| {
        // SAFETY: descriptors of this process.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10) };
        if copy < 0 { Err(std::io::Error::last_os_error()) } else { Ok(copy) }
    };
    let copies = [copy(fds[0])?, copy(fds[1])?];
    for (copy, number) in copies.into_iter().zip(PIPE) {
        // SAFETY: as above.
        if unsafe { libc::dup2(copy, number) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}
