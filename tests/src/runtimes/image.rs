//! The image that all containers run: busybox, in the format of `docker save`, which every runtime
//! reads.

use std::{fs, os::unix::fs::symlink, path::Path};

use sha2::{Digest as _, Sha256};

use super::find;
use crate::bed::must;

/// Its name with every runtime. It runs `sleep` for ever.
pub const IMAGE: &str = "netns-trace.test/busybox:latest";

/// Programs in the image's /bin.
const APPLETS: [&str; 16] = [
    "sh", "sleep", "ip", "ping", "nc", "httpd", "wget", "cat", "echo", "true", "kill", "ls",
    "mkdir", "hostname", "nslookup", "ps",
];

/// Writes `image.tar` into a folder.
///
/// # Panics
///
/// If it cannot, or if the machine's busybox needs libraries.
pub(super) fn write(folder: &Path) {
    let (root, image) = (folder.join("root"), folder.join("image"));
    for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "run"] {
        fs::create_dir_all(root.join(name)).expect("a folder");
    }
    let busybox = find("busybox").expect("busybox");
    // By a process of its own: what another test forks meanwhile has our descriptors until it runs its program, and a
    // program that is open for writing cannot be run.
    let copy = root.join("bin/busybox");
    let [busybox, copy] = [busybox, copy].map(|path| path.display().to_string());
    must("cp", &[&busybox, &copy]);
    for name in APPLETS {
        symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
    let [root, layer] = [root, image.join("layer.tar")].map(|path| path.display().to_string());
    fs::create_dir_all(&image).expect("a folder");
    must("chroot", &[&root, "/bin/busybox", "true"]);
    must("tar", &["-C", &root, "-cf", &layer, "."]);
    let digest: String = Sha256::digest(fs::read(&layer).expect("the layer"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/bin"],
            "Entrypoint": [],
            "Cmd": ["sleep", "2147483647"],
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = serde_json::json!([{
        "Config": "config.json",
        "RepoTags": [IMAGE],
        "Layers": ["layer.tar"],
    }]);
    fs::write(image.join("config.json"), config.to_string()).expect("written");
    fs::write(image.join("manifest.json"), manifest.to_string()).expect("written");
    let [image, archive] = [image, folder.join("image.tar")].map(|path| path.display().to_string());
    let parts = ["manifest.json", "config.json", "layer.tar"];
    must(
        "tar",
        &[&["-C", &image, "-cf", &archive][..], &parts].concat(),
    );
}
