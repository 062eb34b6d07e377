//! The program that a peer is, where it is ours to start.

use std::process::{Child, Stdio};

/// A shell command that makes a peer; it ends with this.
#[derive(Debug)]
pub struct Command {
    line: String,
    child: Option<Child>,
}

impl Command {
    /// A command that is yet to be run.
    #[must_use]
    pub fn new(line: &str) -> Self {
        Self { line: line.to_owned(), child: None }
    }

    /// Ends the program, if it runs.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it, and starts it anew. What it prints is thrown away.
    ///
    /// # Errors
    /// There is no shell.
    pub fn start(&mut self) -> Result<(), String> {
        self.end();
        let line = format!("exec {}", self.line);
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.map_err(|error| format!("cannot start `{}`: {error}", self.line))?);
        Ok(())
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.end();
    }
}
