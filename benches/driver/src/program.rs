//! A program with its environment and standard input, and how long one run of it takes.

use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// A program as a client calls it.
#[derive(Clone, Debug)]
pub struct Program {
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: String,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ran {
    /// From right before the process was made until it had ended.
    pub took: Duration,
    pub stdout: String,
}

/// A run that has not ended yet.
pub struct Running {
    began: Instant,
    child: Child,
    stdout: PipeReader,
    what: OsString,
}

impl Program {
    /// A program that sees no variable but PATH, HOME and what [`with`](Self::with) adds.
    pub fn new(path: &Path) -> Self {
        let path_variable = std::env::var_os("PATH").unwrap_or_default();
        Self {
            command: vec![path.into()],
            environment: vec![
                ("PATH".into(), path_variable),
                ("HOME".into(), "/nonexistent".into()),
            ],
            input: String::new(),
        }
    }

    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.command.push(argument.into());
        self
    }

    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// What it reads: at most what fits into a pipe, 64 KiB.
    pub fn input(mut self, input: impl Into<String>) -> Self {
        self.input = input.into();
        self
    }

    /// The same run under a program that runs programs, such as strace.
    pub fn under(&self, wrapper: &[OsString]) -> Self {
        let command = wrapper.iter().chain(&self.command).cloned().collect();
        Self { command, ..self.clone() }
    }

    /// Starts it. Its pipes are there and its input is written before the clock starts.
    pub fn start(&self) -> Result<Running> {
        self.start_with(Stdio::null())
    }

    /// One run that must succeed and whose output nobody reads; what it reads is in a file.
    pub fn run_unheard(&self, input: &Path) -> Result<()> {
        let mut command = self.command();
        command.stdin(File::open(input)?).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status()?;
        let failed = || format!("{} failed ({status})", self.command[0].display());
        if status.success() { Ok(()) } else { Err(failed().into()) }
    }

    /// What it reads.
    pub fn what_it_reads(&self) -> &str {
        &self.input
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env_clear().envs(self.environment.iter().cloned());
        command
    }

    fn start_with(&self, stderr: Stdio) -> Result<Running> {
        let (stdin, mut input) = std::io::pipe()?;
        input.write_all(self.input.as_bytes())?;
        drop(input);
        let (stdout, output) = std::io::pipe()?;
        let mut command = self.command();
        command.stdin(stdin).stdout(output).stderr(stderr);
        let began = Instant::now();
        let child = command.spawn().map_err(|error| format!("{:?}: {error}", self.command))?;
        Ok(Running { began, child, stdout, what: self.command[0].clone() })
    }

    /// One run that must succeed.
    pub fn run(&self) -> Result<Ran> {
        self.start()?.end()
    }

    /// What a successful run writes on standard error.
    pub fn stderr(&self) -> Result<String> {
        let (mut read, write) = std::io::pipe()?;
        let running = self.start_with(write.into())?;
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            read.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
        });
        running.end()?;
        Ok(reader.join().map_err(|_| "a reader has panicked")??)
    }
}

impl Running {
    /// Waits for its end. What it writes must fit into a pipe.
    pub fn end(mut self) -> Result<Ran> {
        let status = self.child.wait()?;
        let took = self.began.elapsed();
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout)?;
        if status.success() {
            Ok(Ran { took, stdout })
        } else {
            Err(format!("{} failed ({status}): {stdout}", self.what.display()).into())
        }
    }
}
