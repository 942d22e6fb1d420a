//! Programs, run to their end within a time limit.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Nothing that is run here takes a fraction of this.
const LIMIT: Duration = Duration::from_mins(1);

/// Where programs are looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The place of a program, where there is one.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    command: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Whether a text is in what was printed, on either stream.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }

    /// Fails unless all of these texts were printed.
    pub(crate) fn must_say(&self, texts: &[&str]) -> Result<(), String> {
        match texts.iter().find(|text| !self.says(text)) {
            None => Ok(()),
            Some(text) => Err(format!("`{text}` is not in what was printed by {self}")),
        }
    }

    /// Fails if one of these texts was printed.
    pub(crate) fn must_not_say(&self, texts: &[&str]) -> Result<(), String> {
        match texts.iter().find(|text| self.says(text)) {
            None => Ok(()),
            Some(text) => Err(format!("`{text}` is in what was printed by {self}")),
        }
    }
}

/// What the helper says when it fails.
impl Ran {
    /// Cause and hint, as the helper writes them to stderr and every client passes them on.
    pub(crate) fn cause_and_hint(&self) -> Result<(&str, &str), String> {
        let ours = self.stderr.split_once("docker-credential-quayfed: ").map(|(_, ours)| ours);
        let mut lines = ours.unwrap_or_default().lines();
        let cause = lines.next().ok_or_else(|| format!("no line of ours was printed by {self}"))?;
        let hint = lines.next().and_then(|line| line.strip_prefix("hint: "));
        Ok((cause, hint.ok_or_else(|| format!("no hint was printed by {self}"))?))
    }

    /// Fails unless podman, skopeo or buildah shows the cause within its own error too, which it
    /// has from the helper's stdout.
    pub(crate) fn must_repeat(&self, cause: &str) -> Result<(), String> {
        // skopeo logs its errors with quotation marks escaped.
        let escaped = cause.replace('"', "\\\"");
        let repeated = [cause, &escaped].iter().any(|cause| self.says(&format!("out: `{cause}`")));
        if repeated { Ok(()) } else { Err(format!("its own error lacks the cause: {self}")) }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        write!(
            formatter,
            "{command}, which ended with {code}\nstdout: {}\nstderr: {}",
            stdout.trim_end(),
            stderr.trim_end()
        )
    }
}

/// What the tests do with a command.
pub(crate) trait Runs {
    /// Runs it without input.
    fn run(&mut self) -> Result<Ran, String>;

    /// Runs it with an input. Secrets go this way, never among the arguments.
    fn run_with_input(&mut self, input: &str) -> Result<Ran, String>;

    /// Runs it; any exit code but 0 is an `Err`.
    fn succeed(&mut self) -> Result<Ran, String> {
        must_succeed(self.run()?)
    }

    /// Runs it with an input; any exit code but 0 is an `Err`.
    fn succeed_with_input(&mut self, input: &str) -> Result<Ran, String> {
        must_succeed(self.run_with_input(input)?)
    }

    /// Runs it; exit code 0, or an end by a signal, is an `Err`.
    fn fail(&mut self) -> Result<Ran, String> {
        must_fail(self.run()?)
    }

    /// Runs it with an input; exit code 0, or an end by a signal, is an `Err`.
    fn fail_with_input(&mut self, input: &str) -> Result<Ran, String> {
        must_fail(self.run_with_input(input)?)
    }
}

fn must_succeed(ran: Ran) -> Result<Ran, String> {
    if ran.code == Some(0) { Ok(ran) } else { Err(format!("it failed: {ran}")) }
}

fn must_fail(ran: Ran) -> Result<Ran, String> {
    match ran.code {
        Some(code) if code != 0 => Ok(ran),
        _ => Err(format!("it should have failed: {ran}")),
    }
}

impl Runs for Command {
    fn run(&mut self) -> Result<Ran, String> {
        self.run_with_input("")
    }

    /// Files instead of pipes: what a program leaves running behind itself may keep a pipe open,
    /// and one that does not read its input would break it.
    fn run_with_input(&mut self, input: &str) -> Result<Ran, String> {
        let command = shown(self);
        let text = |error: std::io::Error| format!("{command}: {error}");
        let (stdout, stderr) = (file().map_err(text)?, file().map_err(text)?);
        let mut stdin = file().map_err(text)?;
        stdin.write_all(input.as_bytes()).and_then(|()| stdin.rewind()).map_err(text)?;
        self.stdin(stdin);
        self.stdout(stdout.try_clone().map_err(text)?);
        self.stderr(stderr.try_clone().map_err(text)?);
        let child = self.process_group(0).spawn().map_err(text)?;
        let status = wait(child, LIMIT);
        let (stdout, stderr) = (content(stdout).map_err(text)?, content(stderr).map_err(text)?);
        let ran = Ran { command, code: status.and_then(|status| status.code()), stdout, stderr };
        if status.is_none() {
            return Err(format!("it took longer than {} s: {ran}", LIMIT.as_secs()));
        }
        Ok(ran)
    }
}

/// A file that has no name.
fn file() -> std::io::Result<File> {
    tempfile::tempfile()
}

fn content(mut file: File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for an end, and enforces one; `None` where it had to be enforced.
fn wait(child: Child, limit: Duration) -> Option<ExitStatus> {
    let mut child = KilledOnDrop(child);
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Ok(Some(status)) = child.0.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// A process, and the group that it leads, that end with this.
pub(crate) struct KilledOnDrop(pub(crate) Child);

impl KilledOnDrop {
    /// Starts a server in a process group of its own, what it prints going to a log.
    pub(crate) fn start(command: &mut Command, log: &Path) -> std::io::Result<Self> {
        let log = File::create(log)?;
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.process_group(0).spawn().map(Self)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // As long as it has not been waited for, its id is nobody else's.
        if self.is_running() {
            if let Some(group) =
                i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The first word of a program's answer to `--version` that looks like one.
pub(crate) fn version_of(program: &str, arguments: &[&str]) -> String {
    let answer = Command::new(program).env("PATH", PATH).args(arguments).run();
    let answer = answer.map(|ran| format!("{} {}", ran.stdout, ran.stderr)).unwrap_or_default();
    let is_version = |word: &&str| {
        word.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit())
    };
    let word = answer.split_whitespace().find(is_version).unwrap_or("?");
    word.trim_end_matches(',').to_owned()
}

/// Waits until something holds.
pub(crate) fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
