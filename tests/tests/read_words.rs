//! What `read` prints of real packets equals what tcpdump prints, to the letter. `docs/text.md` tells how often,
//! and what differs.

use std::{fmt::Write as _, fs, path::Path};

use netns_trace_tests::{
    corpus,
    lines::{Files, Pair, Share, differences, tcpdump_version},
};

/// Ways to print, as they stand in the table.
const WAYS: [&[&str]; 9] = [
    &[],
    &["-e"],
    &["-v"],
    &["-vv"],
    &["-vvv"],
    &["-q"],
    &["-S", "-K"],
    &["-tttt", "-X"],
    &["-ttt", "-e", "-xx"],
];
/// What is aimed at.
const AIM: f64 = 95.0;

#[test]
fn lines_are_tcpdumps_own() {
    let Some(folder) = corpus::folder() else {
        return;
    };
    let files = Files::look(&folder);
    let mut table = String::from(
        "| options | packets | equal | of them printed by tcpdump as these protocols | equal |\n|---|---|---|---|---|\n",
    );
    let mut worst: f64 = 100.0;
    let mut first = Vec::new();
    for way in WAYS {
        let pairs = files.print(way);
        let listed = Share::of(pairs.iter().filter(|pair| pair.is_listed));
        let theirs = Share::of(pairs.iter().filter(|pair| pair.is_theirs));
        worst = worst.min(theirs.percent());
        writeln!(
            table,
            "| `{}` | {} | {:.1} % | {} | {:.1} % |",
            ["-n"]
                .iter()
                .chain(way)
                .copied()
                .collect::<Vec<_>>()
                .join(" "),
            listed.all,
            listed.percent(),
            theirs.all,
            theirs.percent()
        )
        .expect("a string takes all");
        if first.is_empty() {
            first = pairs.into_iter().filter(|pair| pair.is_theirs).collect();
        }
    }
    let told = told(&first);
    assert!(worst >= AIM, "{table}\n{told}");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/text.md");
    let document = fs::read_to_string(document).expect("docs/text.md");
    let version = tcpdump_version();
    if !document.contains(&format!("tcpdump {version}")) {
        println!("docs/text.md tells of another tcpdump than {version}; today:\n{table}");
        return;
    }
    assert!(
        document.contains(&table),
        "docs/text.md is to say:\n{table}\n{told}"
    );
}

/// The first difference of each file.
fn told(pairs: &[Pair]) -> String {
    let mut text = String::new();
    for (file, (count, pair)) in differences(pairs) {
        writeln!(
            text,
            "{file}: {count}\n  theirs {}\n  ours   {}",
            pair.theirs, pair.ours
        )
        .expect("a string takes all");
    }
    text
}
