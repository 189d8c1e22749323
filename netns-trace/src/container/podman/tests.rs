//! Files as containers/storage writes them, and such as are broken.

use std::fs;

use super::*;

#[test]
fn names_are_read_and_those_of_kubernetes_left_out() {
    let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
    let dir = tempfile::tempdir().expect("a directory");
    let storage = dir.path().join("overlay-containers");
    fs::create_dir(&storage).expect("a directory");
    let text = format!(
        r#"[{{"id":"{a}","names":["web"],"image":"6f","layer":"75","metadata":"{{}}","flags":{{}}}},
            {{"id":"{b}","names":["k8s_web_web-7_shop_u_0"]}},{{"id":"{c}"}},{{"id":"x","names":["y"]}},
            {{"id":"{c}","names":["a\nb"]}}]"#
    );
    fs::write(storage.join("containers.json"), text).expect("a file");
    let names: Vec<_> = list(dir.path()).into_iter().map(|one| one.name).collect();
    assert_eq!(names, [Some("web".to_owned()), Some("a\nb".to_owned())]);
}

#[test]
fn a_file_cut_short_tells_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let storage = dir.path().join("vfs-containers");
    fs::create_dir(&storage).expect("a directory");
    for text in ["", "[", "[{\"id\":\"", "{}", "\u{0}", "null"] {
        fs::write(storage.join("containers.json"), text).expect("a file");
        assert_eq!(list(dir.path()), [], "{text:?}");
    }
    assert_eq!(list(Path::new("/no/such/root")), []);
}
