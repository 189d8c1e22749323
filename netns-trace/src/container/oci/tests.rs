//! Bundles as containerd's CRI plugin, `ctr`, nerdctl and CRI-O leave them, and such as are broken.

use std::fs;

use super::*;

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(path, text).expect("a file");
}

fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort_by(|a, b| a.key.cmp(&b.key));
    told
}

#[test]
fn tasks_of_all_namespaces_are_found() {
    let (sandbox, web) = ("a".repeat(64), "b".repeat(64));
    let dir = tempfile::tempdir().expect("a directory");
    let annotated = |kind: &str, name: &str| {
        format!(
            r#"{{"ociVersion":"1.1","process":{{}},"annotations":{{"io.kubernetes.cri.container-type":"{kind}",
               {name}"io.kubernetes.cri.sandbox-id":"{sandbox}","io.kubernetes.cri.sandbox-name":"web-7",
               "io.kubernetes.cri.sandbox-namespace":"shop"}}}}"#
        )
    };
    let at = |namespace: &str, id: &str, file: &str| format!("{TASKS}/{namespace}/{id}/{file}");
    let dir_path = dir.path();
    write(
        dir_path,
        &at("k8s.io", &sandbox, "config.json"),
        &annotated("sandbox", ""),
    );
    write(dir_path, &at("k8s.io", &sandbox, "init.pid"), "4711");
    write(
        dir_path,
        &at("k8s.io", &web, "config.json"),
        &annotated(
            "container",
            r#""io.kubernetes.cri.container-name":"nginx","#,
        ),
    );
    write(dir_path, &at("default", "plain", "config.json"), "{}");
    write(
        dir_path,
        &at("default", "short", "config.json"),
        r#"{"annot"#,
    );
    write(dir_path, &at("default", "short", "init.pid"), "-3");
    write(
        dir_path,
        &at("default", &web, "config.json"),
        r#"{"annotations":{"nerdctl/name":"ned"}}"#,
    );
    write(dir_path, &at("moby", &web, "init.pid"), "7");
    let told = sorted(containerd(dir_path));
    let pod = |sandbox| {
        Some(Pod {
            namespace: "shop".into(),
            name: "web-7".into(),
            sandbox,
        })
    };
    let got: Vec<_> = told
        .iter()
        .map(|one| {
            let key = (one.key.runtime, one.key.id.as_str());
            (key, one.name.as_deref(), one.pod.clone(), one.pid)
        })
        .collect();
    let ned = format!("default/{web}");
    assert_eq!(
        got,
        [
            ((Runtime::Docker, web.as_str()), None, None, Some(7)),
            ((Runtime::Containerd, ned.as_str()), Some("ned"), None, None),
            (
                (Runtime::Containerd, "default/plain"),
                Some("plain"),
                None,
                None
            ),
            (
                (Runtime::Containerd, "default/short"),
                Some("short"),
                None,
                None
            ),
            (
                (Runtime::Cri, sandbox.as_str()),
                None,
                pod(true),
                Some(4711)
            ),
            (
                (Runtime::Cri, web.as_str()),
                Some("nginx"),
                pod(false),
                None
            ),
        ]
    );
}

#[test]
fn containers_of_crio_are_told_from_podmans() {
    let ids = ["a", "b", "c"].map(|digit| digit.repeat(64));
    let dir = tempfile::tempdir().expect("a directory");
    let at = |id: &str| format!("overlay-containers/{id}/userdata/config.json");
    let annotations = r#"{"annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox",
        "io.kubernetes.container.name":"POD","io.kubernetes.pod.name":"web-7",
        "io.kubernetes.pod.namespace":"shop"}}"#;
    write(dir.path(), &at(&ids[0]), annotations);
    write(
        dir.path(),
        &at(&ids[1]),
        r#"{"annotations":{"io.container.manager":"libpod"}}"#,
    );
    write(dir.path(), &at(&ids[2]), &annotations[..60]);
    let told = crio(dir.path());
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].key.id, ids[0]);
    assert!(
        told[0]
            .pod
            .as_ref()
            .is_some_and(|pod| pod.sandbox && pod.name == "web-7")
    );
}

#[test]
fn nothing_there_is_nothing_told() {
    assert_eq!(containerd(Path::new("/no/such/state")), []);
    assert_eq!(crio(Path::new("/no/such/run")), []);
}
