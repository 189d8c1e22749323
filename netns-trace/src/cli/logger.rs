//! What `-v` shows: the library's and the kernel side's messages, on stderr.

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("netns_trace")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let side = if record.target().starts_with("netns_trace_ebpf") {
                "kernel: "
            } else {
                ""
            };
            eprintln!("netns-trace: {side}{}", record.args());
        }
    }

    fn flush(&self) {}
}

/// Shows warnings, with `-v` also what is done, with `-vv` also why.
pub(super) fn init(verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}
