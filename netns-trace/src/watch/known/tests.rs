use std::time::{Duration, Instant};

use super::*;
use crate::container::Runtime;

const HOST: u64 = 1;

fn table() -> Table {
    let mut table = Table::new(Some(HOST), 4);
    table.begin(false);
    table
}

fn mounted(inode: u64) -> Mounted {
    Mounted {
        inode,
        device: 4,
        changed: (inode as i64, 0),
    }
}

fn key(id: &str) -> ContainerKey {
    ContainerKey {
        runtime: Runtime::Docker,
        id: id.to_owned(),
    }
}

/// The kernel before 5.14, which has no cookies.
fn none(_: &Path, _: u64) -> Option<u64> {
    None
}

/// A scan that has found nothing else, and began just now.
fn scan(table: &mut Table) {
    table.held(Instant::now(), &HashMap::new(), &|_, _| false, &none);
}

/// The words of all changes, with their inodes.
fn told(table: &mut Table) -> Vec<String> {
    let changes = table.take();
    let word = |(existing, change): &(bool, Change)| {
        let inode = change.namespace().inode.unwrap_or(0);
        format!(
            "{}{} {inode}",
            if *existing { "=" } else { "" },
            change.word()
        )
    };
    changes.iter().map(word).collect()
}

#[test]
fn a_namespace_lives_as_long_as_something_refers_to_it() {
    let mut table = table();
    table.process(10, 7, None, &none);
    assert_eq!(told(&mut table), ["namespace-added 7"]);
    table.name(Path::new("/run/netns/a"), mounted(7), &none);
    assert_eq!(told(&mut table), ["name-added 7"]);
    table.ended(10);
    scan(&mut table);
    assert_eq!(told(&mut table), [""; 0]);
    table.unname(Path::new("/run/netns/a"));
    assert_eq!(
        told(&mut table),
        [""; 0],
        "a scan is to say that it is gone"
    );
    assert!(table.is_doubtful());
    scan(&mut table);
    assert_eq!(told(&mut table), ["namespace-removed 7"]);
    assert!(!table.is_doubtful());
    assert_eq!(table.count(), (1, 0), "the host's");
}

#[test]
fn an_older_scan_removes_nothing() {
    let mut table = table();
    let before = Instant::now();
    table.process(10, 7, None, &none);
    table.ended(10);
    table.held(before, &HashMap::new(), &|_, _| false, &none);
    assert_eq!(told(&mut table), ["namespace-added 7"]);
}

#[test]
fn what_a_descriptor_holds_is_there() {
    let mut table = table();
    let held = HashMap::from([(7, PathBuf::from("/proc/10/fd/3"))]);
    table.held(Instant::now(), &held, &|_, _| true, &none);
    assert_eq!(told(&mut table), ["namespace-added 7"]);
    scan(&mut table);
    assert_eq!(told(&mut table), ["namespace-removed 7"]);
}

#[test]
fn an_inode_that_is_handed_out_again_is_another_namespace() {
    let mut table = table();
    table.process(10, 7, None, &|_, _| Some(100));
    table.ended(10);
    table.process(11, 7, None, &|_, _| Some(100));
    assert_eq!(told(&mut table), ["namespace-added 7"], "the same cookie");
    table.ended(11);
    table.process(12, 7, None, &|_, _| Some(101));
    assert_eq!(
        told(&mut table),
        ["namespace-removed 7", "namespace-added 7"]
    );
}

#[test]
fn a_container_is_told_by_its_name_or_without_it_in_time() {
    let mut table = table();
    table.process(10, 7, Some(key("ab")), &none);
    assert_eq!(told(&mut table), ["namespace-added 7"]);
    assert!(table.wants_names());
    let due = table.due().expect("it waits for its name");
    assert!(due <= Instant::now() + NAME_WAIT);
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
    assert_eq!(told(&mut table), ["container-started 7"]);
    table.process(11, 7, Some(key("ab")), &none);
    table.ended(10);
    assert_eq!(told(&mut table), [""; 0]);
    table.ended(11);
    assert_eq!(told(&mut table), ["container-stopped 7"]);
    scan(&mut table);
    assert_eq!(told(&mut table), ["namespace-removed 7"]);
    assert_eq!(table.count(), (1, 0));
}

#[test]
fn a_container_in_the_hosts_network_comes_and_goes_without_a_namespace() {
    let mut table = table();
    table.process(10, HOST, Some(key("ab")), &none);
    table.process(11, HOST, None, &none);
    table.ended(10);
    assert_eq!(
        told(&mut table),
        ["container-started 1", "container-stopped 1"]
    );
    assert_eq!(table.processes().count(), 0);
}

#[test]
fn the_hosts_namespace_gets_and_loses_names() {
    let mut table = table();
    table.name(Path::new("/run/netns/h"), mounted(HOST), &none);
    table.unname(Path::new("/run/netns/h"));
    scan(&mut table);
    assert_eq!(told(&mut table), ["name-added 1", "name-removed 1"]);
}

#[test]
fn a_process_that_moves_is_in_one_place() {
    let mut table = table();
    table.process(10, 7, None, &none);
    table.process(10, 8, None, &none);
    assert_eq!(told(&mut table), ["namespace-added 7", "namespace-added 8"]);
    scan(&mut table);
    assert_eq!(told(&mut table), ["namespace-removed 7"]);
}

#[test]
fn what_passed_unseen_is_told_by_its_name() {
    let mut table = table();
    table.passed(Path::new("/run/netns/a"), Duration::from_millis(3));
    assert_eq!(
        told(&mut table),
        ["namespace-added 0", "namespace-removed 0"]
    );
}

#[test]
fn what_is_there_already_is_told_as_such_where_that_is_wanted() {
    let fill = |tell| {
        let mut table = Table::new(Some(HOST), 4);
        table.process(10, 7, Some(key("ab")), &none);
        table.begin(tell);
        told(&mut table)
    };
    assert_eq!(fill(false), [""; 0]);
    assert_eq!(
        fill(true),
        [
            "=namespace-added 1",
            "=namespace-added 7",
            "=container-started 7"
        ]
    );
}

#[test]
fn a_thousand_that_come_and_go_leave_nothing() {
    let mut table = table();
    for at in 0..1000 {
        let path = format!("/run/netns/n{at}");
        table.process(
            100 + at,
            1000 + u64::from(at),
            Some(key(&at.to_string())),
            &none,
        );
        table.name(Path::new(&path), mounted(1000 + u64::from(at)), &none);
        table.unname(Path::new(&path));
        table.ended(100 + at);
        if at % 100 == 0 {
            scan(&mut table);
        }
    }
    scan(&mut table);
    let told = told(&mut table);
    let count = |word: &str| told.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!(count("namespace-added"), 1000);
    assert_eq!(count("namespace-removed"), 1000);
    assert_eq!(count("container-started"), 1000);
    assert_eq!(count("container-stopped"), 1000);
    assert_eq!(table.count(), (1, 0));
    assert_eq!((table.processes().count(), table.names().count()), (0, 0));
}
