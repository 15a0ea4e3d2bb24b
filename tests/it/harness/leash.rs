//! Programs on a leash: they end with the value that started them, and never outlive the test run.
//!
//! A leashed program leads its own process group. Beside it a shell waits for the end of its input, which only the test
//! holds open: when the test drops it, panics or is killed, the shell kills the group. So nothing is ever ended by name.

use std::{
    io::Write,
    path::Path,
    process::{Child, ChildStdin, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take that is expected to succeed. Far above what is measured (tens of milliseconds), because
/// the machines of a test run are slow and shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for the end of descriptor 3, then ends the whole group; the program itself takes the place of the shell.
const LEASH: &str = r#"exec 3<&0; (read -r _ <&3; kill -s KILL 0) & exec 3<&-; exec "$@" </dev/null"#;

pub(crate) struct Leashed {
    program: Child,
    leash: Option<ChildStdin>,
}

impl Leashed {
    /// Starts `command` (program, then arguments) with its output appended to the file `log`.
    pub(crate) fn start(command: &[String], log: &Path) -> Self {
        use std::os::unix::process::CommandExt as _;
        let log = std::fs::File::options().create(true).append(true).open(log).expect("the log of a program opens");
        let mut program = Command::new("sh")
            .args(["-c", LEASH, "leash"])
            .args(command)
            .process_group(0)
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("the log is shared"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let leash = program.stdin.take();
        Self { program, leash }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.id()
    }

    /// The words for a program that has ended by itself, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.program.try_wait().expect("a child can be waited for").map(|status| status.to_string())
    }

    /// As Ctrl-C does (SIGINT).
    pub(crate) fn interrupt(&self) {
        let pid = self.pid().to_string();
        let _ = Command::new("sh").args(["-c", r#"kill -s INT "$1""#, "interrupt", &pid]).status();
    }

    /// Asks politely (SIGTERM) and returns whether the program ended within `patience`, with success.
    pub(crate) fn terminate(&mut self, patience: Duration) -> bool {
        let pid = self.pid().to_string();
        let _ = Command::new("sh").args(["-c", r#"kill -s TERM "$1""#, "terminate", &pid]).status();
        let ended = until(patience, || self.program.try_wait().expect("a child can be waited for"));
        ended.is_some_and(|status| status.success())
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.program.wait();
        // The rest of the group dies just after its leader; until then its ports are taken and its files written.
        let group = self.pid().to_string();
        until(PATIENCE, || (!group_lives(&group)).then_some(()));
    }
}

/// Whether a process of this group is neither gone nor a zombie.
fn group_lives(group: &str) -> bool {
    let Ok(all) = std::fs::read_dir("/proc") else { return false };
    all.flatten().filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok()).any(|stat| {
        // `pid (name) state parent group …`, and a name may hold anything.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next() != Some("Z") && fields.nth(1) == Some(group)
    })
}

/// Asks until there is an answer or patience ends.
pub(crate) fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(Duration::from_millis(3));
    }
}

/// Runs a program to its end, at most `seconds` long, with `input`; its whole process group is ended after that.
///
/// # Panics
/// When it takes longer, or cannot be started.
pub(crate) fn run(seconds: u32, command: &mut Command, input: &[u8]) -> Output {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=2", &seconds.to_string()]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        bounded.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    let mut child = bounded
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    let input = input.to_vec();
    // In a thread of its own: a program that writes before it has read would wait for us for ever. It may also not
    // read at all; that is its right.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("a child can be waited for");
    let _ = writer.join();
    assert!(output.status.code() != Some(124), "took longer than {seconds} s: {command:?}\n{}", words(&output));
    output
}

/// What a program said, for a panic's message.
pub(crate) fn words(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
