//! A shell beside the test that starts something and takes it away again. It waits for the end of its
//! stdin, which the test holds open: so it also knows when the test was killed.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// The cgroups of a name, in all hierarchies, once their processes are gone.
const REMOVE: &str = r#"
remove() {
    tries=0
    while [ -n "$(find /sys/fs/cgroup -maxdepth 2 -name "$2")" ] && [ $tries -lt 100 ]; do
        find /sys/fs/cgroup -depth -type d \( -path "*/$2" -o -path "*/$2/*" \) -exec rmdir {} + 2>/dev/null
        tries=$((tries + 1))
        sleep 0.05
    done
    rm -rf --one-file-system "$1"
}
"#;

/// The shell, and what it said when all was started.
pub(super) struct Guard {
    shell: Child,
}

impl Guard {
    /// Runs `start`, which must print one line once all is there, and closes its stdout; then, at the
    /// end, `end`. The scripts find a folder in `$1`, which is removed, and a name for cgroups in
    /// `$2`, which are removed, too. Gives that line; or what went wrong.
    pub(super) fn start(
        folder: &Path,
        cgroup: &str,
        [start, end]: [&str; 2],
        more: &[&str],
    ) -> Result<(Self, String), String> {
        use std::os::unix::process::CommandExt as _;
        let script = format!(
            "trap '' INT TERM HUP\n{REMOVE}\n{start}\nexec >&-\nread -r _\n{end}\nremove \"$@\""
        );
        let mut shell = Command::new("sh")
            .args(["-c", &script, "guard"])
            .arg(folder)
            .arg(cgroup)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Control-C at the terminal is for the test alone.
            .process_group(0)
            .spawn()
            .map_err(|why| format!("sh: {why}"))?;
        let mut line = String::new();
        let stdout = shell.stdout.take().ok_or("no stdout")?;
        let read = BufReader::new(stdout).read_line(&mut line);
        let log = folder.join("log");
        let guard = Self { shell };
        match read {
            Ok(1..) => Ok((guard, line.trim().to_owned())),
            _ => Err(last_lines(&log)),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        match self.shell.wait() {
            Ok(status) if status.success() => {}
            other => eprintln!("what guards a test's runtimes ended with {other:?}"),
        }
    }
}

/// The end of a log: why a daemon does not start.
pub(super) fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
