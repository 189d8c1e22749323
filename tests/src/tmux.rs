//! A terminal for what draws on one: a tmux of its own, whose screen can be read and whose keys
//! can be pressed. It goes when it is dropped.

use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::patience::patience;

/// A terminal with a shell in it.
pub struct Tmux {
    /// Where its socket is, which tmux leaves behind.
    folder: tempfile::TempDir,
}

/// Whether tmux is there.
///
/// # Panics
///
/// Under CI when it is not: a skipped test proves nothing.
#[must_use]
pub fn is_there(test: &str) -> bool {
    let version = Command::new("tmux").arg("-V").output();
    if version.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let ci = std::env::var_os("NETNS_TRACE_CI").is_some()
        || std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{test}: tmux is missing, and CI skips nothing");
    eprintln!("skipped {test}: tmux is missing");
    false
}

impl Tmux {
    /// Starts a terminal of this size, whose programs get these variables.
    ///
    /// # Panics
    ///
    /// If tmux does not start.
    #[must_use]
    pub fn start(width: u16, height: u16, variables: &[&str]) -> Self {
        let terminal = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let (width, height) = (width.to_string(), height.to_string());
        let mut shell = vec![
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "--",
            "env",
            "-u",
            "NO_COLOR",
            "-u",
            "COLORTERM",
            "TERM=screen-256color",
            "LC_ALL=C.UTF-8",
            "PS1=> ",
        ];
        shell.extend(variables);
        shell.push("sh");
        terminal.run(&shell);
        terminal
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("socket"));
        command.env_remove("TMUX");
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self
            .command()
            // In UTF-8 whatever the locale, without anybody's settings.
            .args(["-u", "-f", "/dev/null"])
            .args(args)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("tmux starts");
        assert!(output.status.success(), "tmux {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys, as tmux names them.
    pub fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Types a command and Enter.
    pub fn enter(&self, command: &str) {
        self.run(&["send-keys", "-l", command]);
        self.press(&["Enter"]);
    }

    /// What is on the screen.
    #[must_use]
    pub fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// What is on the screen, with its colours.
    #[must_use]
    pub fn coloured(&self) -> String {
        self.run(&["capture-pane", "-p", "-e"])
    }

    /// What was printed so far, also what has left the screen, with long lines whole.
    #[must_use]
    pub fn printed(&self) -> String {
        self.run(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    /// Forgets what was printed so far.
    pub fn forget(&self) {
        self.run(&["send-keys", "-R"]);
        self.run(&["clear-history"]);
    }

    /// A fact about the terminal, as tmux formats it.
    #[must_use]
    pub fn fact(&self, format: &str) -> String {
        self.run(&["display-message", "-p", format])
            .trim()
            .to_owned()
    }

    /// Changes its size.
    pub fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.run(&["resize-window", "-x", &width, "-y", &height]);
    }

    /// Waits until the screen is as wanted, and gives it.
    ///
    /// # Panics
    ///
    /// If that takes too long.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + patience();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(
                Instant::now() < end,
                "the terminal does not show {what}:\n{}",
                self.printed()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Asserts that the terminal is as a shell wants it: its own screen, a cursor, lines, echo.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn assert_restored(&self) {
        assert_eq!(self.fact("#{alternate_on}"), "0", "another screen");
        assert_eq!(self.fact("#{cursor_flag}"), "1", "a cursor");
        self.enter("stty -a; echo stty said");
        let said = self.wait_for("the terminal's settings", |screen| {
            screen.lines().any(|line| line == "stty said")
        });
        let words: Vec<&str> = said.split_whitespace().collect();
        for word in ["icanon", "isig", "echo", "icrnl", "opost"] {
            assert!(words.contains(&word), "{word} in {said}");
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut command = self.command();
        let status = command.arg("kill-server").stderr(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("tmux -S {} stays behind", self.folder.path().display());
        }
    }
}
