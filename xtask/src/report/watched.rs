//! Programs that may hang: run with a time limit, their output read line by line, nothing of them left behind.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// For how long after a program's end its output may stay open. Whoever holds it then was left behind by it.
const GRACE: Duration = Duration::from_secs(10);

/// Runs a program to its end, both its outputs read as one.
///
/// # Errors
/// It cannot be run; it takes longer than the limit, and has been killed with all that it started; it ended, and
/// something that it started still runs; a line's reader gave up.
pub(super) fn run(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(&str) -> Result<()>,
) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    let (reader, writer) = io::pipe().context("no pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("no pipe")?).stderr(writer);
    let spawned = command.spawn();
    // The command keeps the writing ends, which must all close for the reader to see the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Running(spawned.with_context(|| command.get_program().display().to_string())?);

    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });

    let mut ended = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => on_line(&line)?,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => match (child.0.try_wait()?, ended) {
                (None, _) => {}
                (Some(_), None) => ended = Some(Instant::now()),
                (Some(status), Some(since)) if since.elapsed() > GRACE => {
                    bail!(
                        "it ended with {status}, but something that it started still runs and holds its output"
                    );
                }
                (Some(_), Some(_)) => {}
            },
        }
        if Instant::now() > deadline {
            bail!("no end after {} s: killed", limit.as_secs());
        }
    }
    // Both outputs are closed, so the end is near; yet a program may close them and hang.
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            bail!("no end after {} s: killed", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program that is killed with all its descendants unless it has ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let root = self.0.id().cast_signed();
        // From the leaves up, so that nobody sees its children die and starts others.
        for pid in descendants(root).into_iter().rev().filter_map(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// A process and all below it, parents first.
fn descendants(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().parse();
        let stat = fs::read_to_string(entry.path().join("stat"));
        if let (Ok(pid), Some(parent)) = (pid, stat.ok().as_deref().and_then(parent)) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(pid) = family.get(next) {
        family.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    family
}

/// The parent in a line of `/proc/<pid>/stat`: `pid (name) state parent ...`, where the name may hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> (Result<ExitStatus>, Vec<String>) {
        let mut lines = Vec::new();
        let outcome = run(Command::new("sh").args(["-c", script]), limit, |line| {
            lines.push(line.to_owned());
            Ok(())
        });
        (outcome, lines)
    }

    #[test]
    fn both_outputs_and_the_status_arrive() {
        let (outcome, lines) = shell("echo one; echo two >&2; exit 3", LONG);
        assert_eq!(outcome.expect("it runs").code(), Some(3));
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn whoever_hangs_is_killed_with_its_children() {
        let (outcome, lines) = shell("sleep 1000 & echo $!; wait", Duration::from_millis(500));
        assert!(outcome.expect_err("it hangs").to_string().contains("no end after"));
        let child: i32 = lines[0].parse().expect("a process id");
        // It takes a moment to die; and its new parent another to look.
        let deadline = Instant::now() + LONG;
        loop {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < deadline, "{stat}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_closes_its_output_and_hangs_is_killed() {
        let (outcome, _) = shell("exec >&- 2>&-; sleep 1000", Duration::from_millis(500));
        assert!(outcome.expect_err("it hangs").to_string().contains("no end after"));
    }

    #[test]
    fn a_parent_is_found_behind_a_hostile_name() {
        assert_eq!(parent("12 (a) S 7 (b) S 34 12"), Some(34));
        assert_eq!(parent("12 (sh) S 34 12"), Some(34));
        assert_eq!(parent("12"), None);
    }

    const LONG: Duration = Duration::from_secs(60);
}
