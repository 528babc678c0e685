//! `resend-standin`: the stand-in for Resend as a program, for demonstrations.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use standin::{Options, Standin};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
Usage: resend-standin [OPTION VALUE]...

  --listen ADDRESS:PORT  where to listen, loopback only; port 0 takes a free one (127.0.0.1:0)
  --port-file PATH       write the port there once it listens
  --key KEY              API key to accept; may be given more than once (re_test_key)
  --mailbox FILE         append each accepted mail there, one JSON object a line
  --delay MILLISECONDS   how long each answer takes (0)

It ends on SIGTERM and SIGINT.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match parse(&arguments).and_then(|(options, port_file)| run(options, port_file.as_deref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resend-standin: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The options, and the file the port is written to.
fn parse(arguments: &[String]) -> Result<(Options, Option<PathBuf>), Box<dyn Error>> {
    let mut options = Options::default();
    let mut keys = Vec::new();
    let mut port_file = None;
    for pair in arguments.chunks(2) {
        let [option, value] = pair else {
            return Err(format!("{} needs a value", pair[0]).into());
        };
        match option.as_str() {
            "--listen" => options.listen = value.parse()?,
            "--port-file" => port_file = Some(PathBuf::from(value)),
            "--key" => keys.push(value.clone()),
            "--mailbox" => options.mailbox = Some(PathBuf::from(value)),
            "--delay" => options.delay = Duration::from_millis(value.parse()?),
            _ => return Err(format!("unknown option {option}; --help lists them").into()),
        }
    }
    if !keys.is_empty() {
        options.keys = keys;
    }
    Ok((options, port_file))
}

/// Serves until told to stop.
fn run(options: Options, port_file: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let standin = Standin::start(options)?;
        if let Some(path) = port_file {
            write_whole(path, &format!("{}\n", standin.address().port()))?;
        }
        writeln!(io::stdout(), "listening on {}", standin.url())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// Writes a file so that a reader finds all of it or none.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, path)
}
