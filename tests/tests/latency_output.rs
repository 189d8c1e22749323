//! The files of `latency`: they are there, whole, need nothing from elsewhere, and a browser shows
//! more than a blank page. What cannot be written is refused before anything is attached.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use netns_trace_tests::{
    bed::Bed,
    browser::{self, Scheme, shoot},
    refusal::{assert_untouched, refused, refused_early, treasure, with_read_only},
    tool::{Done, Running, netns_trace},
};

/// All files of one run with traffic.
struct Run {
    bed: Bed,
    done: Done,
}

impl Run {
    fn text(&self, name: &str) -> String {
        let path = self.bed.file(name);
        fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path:?}: {why}"))
    }
}

const PINGS: u64 = 500;

/// Measures both targets of a bed while `a` sends.
fn measure() -> Run {
    let bed = Bed::quiet();
    let [page, picture, folder] = ["page.html", "picture.svg", "h/grm"].map(|n| bed.file(n));
    let mut command = netns_trace([
        "latency",
        &format!("{},{}", bed.target("a"), bed.target("b")),
    ]);
    command.arg("--html").arg(&page).arg("--svg").arg(&picture);
    command.arg("--hgrm").arg(&folder).arg("--idle-gap=5ms");
    command.stdout(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("measuring between");
    let pings = PINGS.to_string();
    bed.in_ns(
        "a",
        "ping",
        &["-q", "-c", &pings, "-i", "0.002", "10.9.0.3"],
    );
    bed.in_ns("a", "ping", &["-q", "-c", "20", "-i", "0.02", "10.9.0.1"]);
    assert!(!page.exists() && !picture.exists() && !folder.exists());
    let done = running.stop();
    assert!(done.status.success(), "{}", done.stderr);
    Run { bed, done }
}

#[test]
fn one_run_writes_everything() {
    let run = measure();
    every_file_is_there_and_nothing_else(&run);
    distributions_have_all_samples(&run);
    nothing_is_needed_from_elsewhere(&run);
    the_picture_is_well_formed(&run);
    a_browser_shows_it_in_light_and_dark(&run);
}

fn every_file_is_there_and_nothing_else(run: &Run) {
    assert!(
        run.done.stdout.contains("p99.9"),
        "the table is printed too"
    );
    let folder = run.bed.file("page.html");
    let folder = folder.parent().expect("a folder");
    let names = fs::read_dir(folder).expect("a folder").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().into_owned()
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert_eq!(names, ["h", "page.html", "picture.svg"]);
}

fn distributions_have_all_samples(run: &Run) {
    let (a, r) = (run.bed.name("a"), run.bed.name("r"));
    let text = run.text(&format!("h/grm/veth-out-{a}_eth0-{r}_va.hgrm"));
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split_whitespace().collect();
    assert_eq!(
        header,
        ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    );
    let numbers = |line: &str| -> Vec<f64> {
        let words = line.split_whitespace();
        words.map(|word| word.parse().expect("a number")).collect()
    };
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows: Vec<Vec<f64>> = rows.map(numbers).collect();
    let last = rows.last().expect("rows");
    assert_eq!(last[1], 1.0, "{text}");
    // Both pings, and a word of ARP now and then.
    assert!(
        last[2] >= (PINGS + 20) as f64 && last[2] < (PINGS + 40) as f64,
        "{text}"
    );
    // In microseconds: a veth takes less than a second, and more than a nanosecond.
    assert!(rows[0][0] > 0.001 && rows[0][0] < 1e6, "{text}");
    assert!(text.contains("#[Mean    ="), "{text}");
}

fn nothing_is_needed_from_elsewhere(run: &Run) {
    for name in ["page.html", "picture.svg"] {
        let text = run.text(name).replace("http://www.w3.org/2000/svg", "");
        for word in [
            "http:", "https:", "//", "src=", "href=", "url(", "@import", "<script", "<link",
        ] {
            assert!(!text.contains(word), "{name} has {word}");
        }
        for name in ["a", "b", "r"].map(|name| run.bed.name(name)) {
            assert!(text.contains(&name), "{name} is named");
        }
    }
    let page = run.text("page.html");
    for word in [
        "unmatched",
        "overwritten",
        "p99.9",
        "probe",
        "no samples",
        "after idle",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(page.ends_with("</html>\n"));
}

fn the_picture_is_well_formed(run: &Run) {
    let checked = Command::new("xmllint")
        .args(["--noout", "--nonet"])
        .arg(run.bed.file("picture.svg"))
        .output();
    match checked {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
        Err(why) => {
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!ci, "xmllint: {why}, and CI skips nothing");
            eprintln!("skipped the_picture_is_well_formed: xmllint: {why}");
        }
    }
}

fn a_browser_shows_it_in_light_and_dark(run: &Run) {
    let Some(browser) = browser::find("a_browser_shows_it_in_light_and_dark") else {
        return;
    };
    for (name, size) in [("page.html", (1280, 3600)), ("picture.svg", (900, 2400))] {
        let file = run.bed.file(name);
        let light = shoot(&browser, &file, size, Scheme::Light);
        let dark = shoot(&browser, &file, size, Scheme::Dark);
        for (shot, scheme) in [(&light, "light"), (&dark, "dark")] {
            assert_eq!((shot.width, shot.height), size);
            assert!(shot.colours() > 100, "{name} {scheme}: {}", shot.colours());
        }
        let (bright, dim) = (light.brightness(), dark.brightness());
        assert!(bright > 200.0 && dim < 60.0, "{name}: {bright} {dim}");
        // The areas of busy samples in the histograms.
        for (shot, colour) in [(&light, [192, 212, 242]), (&dark, [49, 68, 96])] {
            let share = shot.share_of(colour);
            assert!(share > 5e-4, "{name}: {share}");
        }
    }
}

#[test]
fn what_cannot_be_written_is_refused_before_anything_is_attached() {
    let bed = Bed::quiet();
    let target = bed.target("a");
    let old = treasure(&bed, "old");
    let folder = bed.file("");
    let path = |name: &str| bed.file(name).to_str().expect("a path").to_owned();
    let below = format!("{old}/page");
    for option in ["--html", "--svg"] {
        for (at, why) in [
            (path(""), "it is a directory; name a file in it"),
            (
                path("absent/page"),
                "its directory does not exist; make it first",
            ),
            (
                below.clone(),
                "what is above it is a file and no directory; name another place",
            ),
        ] {
            let said = refused_early(&["latency", &target, option, &at], 1);
            assert_eq!(said, format!("cannot write to {at:?}: {why}"));
        }
        let said = refused_early(&["latency", &target, option, "-"], 1);
        assert!(said.contains("/dev/stdout"), "{said}");
    }
    let said = refused_early(&["latency", &target, "--hgrm", &old], 1);
    assert!(said.contains("it is a file and no directory"), "{said}");
    let said = refused_early(&["latency", &target, "--hgrm", &below], 1);
    assert!(said.contains("above it is a file"), "{said}");
    let twice = ["latency", &target, "--html", &old, "--svg", &old];
    let said = refused_early(&twice, 1);
    assert!(said.contains("another result goes there too"), "{said}");
    assert_untouched(&old);
    let names = fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(names, 1, "nothing is left");
    let read_only = bed.file("ro");
    fs::create_dir(&read_only).expect("a folder");
    for (option, file) in [("--html", "ro/page"), ("--hgrm", "ro/new")] {
        let mut command = netns_trace(["latency", &target, option, &path(file)]);
        let said = refused(with_read_only(&mut command, &read_only), 1);
        assert!(
            said.contains("is mounted read-only; name another place"),
            "{said}"
        );
    }
}

#[test]
fn an_old_file_is_replaced_and_a_device_is_not() {
    let bed = Bed::quiet();
    let target = bed.target("a");
    let old = treasure(&bed, "old.html");
    let reader = File::open(&old).expect("the old file");
    let args = ["latency", &target, "--duration=100ms", "--html", &old];
    let done = netns_trace(args).args(["--svg", "/dev/null"]).output();
    let done = done.expect("it starts");
    assert!(done.status.success(), "{done:?}");
    assert!(
        fs::read_to_string(&old)
            .expect("a page")
            .starts_with("<!DOCTYPE html>")
    );
    let whole = std::io::read_to_string(reader).expect("readable");
    assert!(
        !whole.contains("DOCTYPE"),
        "who reads the old file goes on doing so"
    );
    assert!(
        !fs::metadata(Path::new("/dev/null"))
            .expect("there")
            .is_file()
    );
}

#[test]
fn a_failed_run_leaves_the_files_alone() {
    let bed = Bed::empty();
    let old = treasure(&bed, "old");
    let target = bed.target("nobody");
    let folder = bed.file("h");
    let dir = folder.to_str().expect("a path");
    refused_early(&["latency", &target, "--html", &old, "--hgrm", dir], 1);
    assert_untouched(&old);
    assert!(!folder.exists());
}
