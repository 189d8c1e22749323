//! Files as Docker 20.10 and 28 write them, and such as are broken.

use std::fs;

use super::*;
use crate::container::Network;

fn root(files: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (id, file, text) in files {
        let container = dir.path().join("containers").join(id);
        fs::create_dir_all(&container).expect("a directory");
        fs::write(container.join(file), text).expect("a file");
    }
    dir
}

const CONFIG: &str = r#"{"StreamConfig":{},"State":{"Running":true,"Paused":false,"Restarting":false,
    "Pid":15342,"ExitCode":0,"Health":null},"ID":"a1cc","Name":"/web","NetworkSettings":{"Bridge":"",
    "SandboxID":"6e8c","SandboxKey":"/run/docker/netns/6e8c35e4157f","Networks":{}},"Config":{"Env":[]}}"#;

#[test]
fn names_states_and_networks_are_read() {
    let ids = ["1", "2", "3", "4"].map(|digit| digit.repeat(64));
    let paused = CONFIG.replace(r#""Paused":false"#, r#""Paused":true"#);
    let root = root(&[
        (&ids[0], "config.v2.json", CONFIG),
        (&ids[0], "hostconfig.json", r#"{"NetworkMode":"default"}"#),
        (&ids[1], "config.v2.json", &paused),
        (&ids[1], "hostconfig.json", r#"{"NetworkMode":"#),
        (
            &ids[2],
            "config.v2.json",
            r#"{"Name":"/old","State":{"Running":false,"Pid":0}}"#,
        ),
        (&ids[3], "config.v2.json", &CONFIG[..100]),
        ("no-id", "config.v2.json", CONFIG),
    ]);
    fs::write(root.path().join("containers/file"), "").expect("a file");
    let mut told = list(root.path());
    told.sort_by(|a, b| a.key.cmp(&b.key));
    let got: Vec<_> = told
        .iter()
        .map(|one| (one.name.as_deref(), one.state, one.pid, one.network.clone()))
        .collect();
    assert_eq!(
        got,
        [
            (Some("web"), State::Running, Some(15342), Network::Own),
            (Some("web"), State::Paused, Some(15342), Network::Unknown),
            (Some("old"), State::Stopped, None, Network::Unknown),
        ]
    );
    assert_eq!(told[0].netns, Some("/run/docker/netns/6e8c35e4157f".into()));
    assert_eq!(told[2].netns, None);
}

#[test]
fn a_root_that_is_not_there_has_none() {
    assert_eq!(list(Path::new("/no/such/root")), []);
}

#[test]
fn thousands_of_dead_ones_take_no_time() {
    let root = tempfile::tempdir().expect("a directory");
    let dead = r#"{"Name":"/dead","State":{"Running":false}}"#;
    for at in 0..3000 {
        let dir = root.path().join(format!("containers/{at:064x}"));
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("config.v2.json"), dead).expect("a file");
    }
    let start = std::time::Instant::now();
    assert_eq!(list(root.path()).len(), 3000);
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
}
