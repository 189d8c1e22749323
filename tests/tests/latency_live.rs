//! `latency --live` on a real terminal: what it shows, its keys, and that the terminal is as it
//! was afterwards, however it ends.

use std::{
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use netns_trace::session::Screen;
use netns_trace_tests::{
    bed::Bed,
    require_root, tmux,
    tmux::Tmux,
    tool::{binary, run},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Leaves the test where there is no tmux.
macro_rules! require_tmux {
    () => {
        if !tmux::is_there(module_path!()) {
            return;
        }
    };
}

/// Traffic until it is dropped.
struct Ping(Child);

impl Ping {
    /// From `a` to the router, by way of all taps.
    fn start(bed: &Bed) -> Self {
        let mut command = bed.command("a", "ping");
        command.args(["-q", "-i", "0.01", "10.9.0.1"]);
        let child = command.stdout(Stdio::null()).spawn();
        Self(child.expect("ping starts"))
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts the view of `a`; gives the file with its pid.
fn start(terminal: &Tmux, bed: &Bed, args: &str) -> PathBuf {
    let file = bed.file("pid");
    terminal.enter(&format!(
        "sh -c 'echo $$ >{}; exec \"$@\"' sh {} latency {} --live {args}; echo status $?",
        file.display(),
        binary().display(),
        bed.target("a")
    ));
    file
}

/// Waits for its end.
fn wait_for_end(terminal: &Tmux, status: i32) {
    let line = format!("status {status}");
    terminal.wait_for(&line, |screen| screen.lines().any(|other| other == line));
}

/// The words of the first line that contains a text.
fn words<'a>(screen: &'a str, text: &str) -> Vec<&'a str> {
    let line = screen.lines().find(|line| line.contains(text));
    line.map_or_else(Vec::new, |line| line.split_whitespace().collect())
}

/// Whether the selected segment has a rate, and four times.
fn has_figures(screen: &str, segment: &str) -> bool {
    let words = words(screen, &format!("▶ {segment}"));
    let is_rate = |word: &&str| {
        let rate = word.strip_suffix("/s").and_then(|rate| rate.parse().ok());
        rate.is_some_and(|rate: f64| rate > 0.0)
    };
    let units = ["ns", "µs", "ms"];
    words.iter().any(is_rate) && words.iter().filter(|word| units.contains(word)).count() == 4
}

/// What the selected segment counted in the whole run.
fn run_count(screen: &str) -> Option<u64> {
    let below = screen
        .lines()
        .skip_while(|line| !line.contains('▶'))
        .nth(1)?;
    let (_, figures) = below.split_once(" run ")?;
    figures.split_whitespace().next()?.parse().ok()
}

#[test]
fn figures_show_and_keys_work() {
    require_root!();
    require_tmux!();
    let bed = Bed::quiet();
    let ping = Ping::start(&bed);
    let terminal = Tmux::start(80, 24, &[]);
    start(&terminal, &bed, "--interval 300ms");
    let screen = terminal.wait_for("figures", |screen| has_figures(screen, "veth out"));
    for text in [
        "eth0 ", "─→", "br0", "packets", "unmat", "left", "overw", "? keys",
    ] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    let way = words(&screen, "─→").join(" ");
    let order = ["/eth0", "/va", "br0"].map(|tap| way.find(tap));
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{order:?} in {screen}"
    );
    terminal.wait_for("a map", |screen| {
        screen
            .lines()
            .any(|line| line.contains('│') && line.contains(['█', '▀', '▄']))
    });
    assert!(terminal.coloured().contains("\x1b[38;5;"), "colours");

    terminal.press(&["j"]);
    terminal.wait_for("the second segment", |screen| {
        has_figures(screen, "bridge out")
    });
    terminal.press(&["Up"]);
    terminal.wait_for("the first segment", |screen| screen.contains("▶ veth out"));
    terminal.press(&["Tab", "Down", "k"]);
    terminal.wait_for("the second segment", |screen| {
        screen.contains("▶ bridge out")
    });

    terminal.press(&["p"]);
    let held = terminal.wait_for("a held display", |screen| screen.contains("PAUSED"));
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(terminal.screen(), held, "it moves");
    terminal.press(&["Space"]);
    let before = terminal.wait_for("a running display", |screen| !screen.contains("PAUSED"));

    for text in ["busy packets", "packets after idle", "all packets"] {
        terminal.press(&["b"]);
        terminal.wait_for(text, |screen| {
            screen
                .lines()
                .next()
                .is_some_and(|line| line.contains(text))
        });
    }
    let before = run_count(&before).expect("a count");
    terminal.press(&["r"]);
    terminal.wait_for("figures anew", |screen| {
        run_count(screen).is_some_and(|count| count < before)
    });

    terminal.press(&["?"]);
    terminal.wait_for("the keys", |screen| screen.contains("┌ Keys"));
    terminal.press(&["Escape"]);
    terminal.wait_for("no keys", |screen| !screen.contains("┌ Keys"));

    terminal.resize(132, 43);
    terminal.wait_for("more room", |screen| {
        screen.contains("overwritten") && screen.lines().count() == 43
    });
    terminal.resize(20, 5);
    terminal.wait_for("little room", |screen| {
        screen.lines().count() == 5 && screen.contains("▶ bridge out")
    });
    terminal.resize(100, 24);
    terminal.wait_for("room again", |screen| {
        screen.lines().count() == 24 && screen.contains("q quit")
    });

    terminal.press(&["q"]);
    wait_for_end(&terminal, 0);
    drop(ping);
    let printed = terminal.printed();
    for text in [
        "measuring between",
        "from -> to",
        "Each tap costs",
        "veth out (",
    ] {
        assert!(printed.contains(text), "{text}: {printed}");
    }
    // What tmux itself moves away when it is resized comes before.
    let since = printed.split("measuring between").last();
    assert!(
        since.is_some_and(|since| !since.contains('▶')),
        "the view is not gone: {printed}"
    );
    terminal.assert_restored();
}

#[test]
fn signals_and_keys_end_it_and_the_terminal_is_restored() {
    require_root!();
    require_tmux!();
    let bed = Bed::quiet();
    let terminal = Tmux::start(80, 24, &[]);
    let end_by = |what: &str, end: &dyn Fn(Pid)| {
        terminal.enter("clear");
        let file = start(&terminal, &bed, "--interval 200ms");
        terminal.wait_for("a view", |screen| {
            screen.contains("No packet has passed two taps yet.")
        });
        let pid = std::fs::read_to_string(&file).expect("its pid");
        end(Pid::from_raw(pid.trim().parse().expect("a pid")));
        wait_for_end(&terminal, 0);
        let printed = terminal.printed();
        assert!(
            printed.contains("nothing was measured"),
            "{what}: {printed}"
        );
        assert!(!printed.contains('▶'), "{what}: {printed}");
        terminal.assert_restored();
        terminal.forget();
    };
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        end_by(signal.as_str(), &|pid| kill(pid, signal).expect("it runs"));
    }
    for key in ["C-c", "Escape"] {
        end_by(key, &|_| terminal.press(&[key]));
    }
}

#[test]
fn without_colours_and_with_json() {
    require_root!();
    require_tmux!();
    let bed = Bed::quiet();
    let ping = Ping::start(&bed);
    let terminal = Tmux::start(80, 24, &["NO_COLOR=1"]);
    start(&terminal, &bed, "--json --interval 200ms --duration 4s");
    terminal.wait_for("a map", |screen| screen.contains("1 ░▒▓█ "));
    let coloured = terminal.coloured();
    let colours = ["\x1b[3", "\x1b[4", "\x1b[9"].map(|code| {
        coloured.match_indices(code).any(|(at, _)| {
            let rest = &coloured[at + code.len()..];
            rest.starts_with(|c: char| c.is_ascii_digit() && c != '9')
        })
    });
    assert_eq!(colours, [false; 3], "{coloured:?}");
    wait_for_end(&terminal, 0);
    drop(ping);
    let printed = terminal.printed();
    let line = printed.lines().find(|line| line.starts_with('{'));
    let json: serde_json::Value = serde_json::from_str(line.expect("JSON")).expect("JSON");
    assert!(json["segments"][0]["count"].as_u64() > Some(0), "{json}");
    terminal.assert_restored();
}

#[test]
fn the_end_of_the_target_is_shown() {
    require_root!();
    require_tmux!();
    let mut bed = Bed::quiet();
    let terminal = Tmux::start(80, 24, &[]);
    start(&terminal, &bed, "--interval 200ms");
    terminal.wait_for("a view", |screen| screen.contains("No packet has passed"));
    bed.remove("a");
    terminal.wait_for("what has happened", |screen| {
        screen.contains("is gone") && terminal.fact("#{alternate_on}") == "1"
    });
    wait_for_end(&terminal, 0);
    let printed = terminal.printed();
    assert!(printed.contains("netns-trace: eth0@"), "{printed}");
    assert!(printed.contains("nothing was measured"), "{printed}");
    terminal.assert_restored();
}

#[test]
fn without_a_terminal_it_is_refused() {
    let done = run(["latency", "host", "--live"]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(
        done.stderr
            .contains("--live needs a terminal: stdout is none"),
        "{done:?}"
    );
    let done = run(["latency", "host", "--live", "--interval", "10ms"]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(done.stderr.contains("make --interval longer"), "{done:?}");
}

/// Not a test by itself: the program that the next test runs on a terminal.
#[test]
fn take_the_terminal_and_panic() {
    if std::env::var_os("NETNS_TRACE_TEST_PANIC").is_none() {
        return;
    }
    let mut screen = Screen::take().expect("a terminal");
    screen.draw(|_| ()).expect("drawn");
    eprintln!("said meanwhile");
    assert_eq!(screen.heard().as_deref(), Some("said meanwhile"));
    panic!("the bottom fell out");
}

#[test]
fn a_panic_restores_the_terminal_and_is_told() {
    require_tmux!();
    let terminal = Tmux::start(80, 24, &["NETNS_TRACE_TEST_PANIC=1", "RUST_BACKTRACE=0"]);
    let program = std::env::current_exe().expect("this program");
    terminal.enter(&format!(
        "{} --exact take_the_terminal_and_panic --nocapture; echo status $?",
        program.display()
    ));
    wait_for_end(&terminal, 101);
    let printed = terminal.printed();
    let order = [
        "said meanwhile",
        "the bottom fell out",
        "test result: FAILED",
    ];
    let order = order.map(|text| printed.find(text));
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{order:?}: {printed}"
    );
    terminal.assert_restored();
}
