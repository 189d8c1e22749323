//! Pods, from containerd's CRI plugin itself: this is the part of a kubelet that starts and ends them.
//! It speaks gRPC as curl does HTTP/2, with messages written by hand; numbers of fields are those of
//! `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::{Containerd, IMAGE};

/// A field that holds a message or a text.
fn field(number: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let mut bytes = vec![number << 3 | 2];
    let mut left = value.len();
    while left > 127 {
        bytes.push(left as u8 | 128);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.extend(value);
    bytes
}

/// A client of the CRI plugin of a containerd.
pub struct Cri<'a> {
    containerd: &'a Containerd,
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// The id of its sandbox, which containerd knows in its namespace `k8s.io`.
    pub id: String,
    config: Vec<u8>,
}

impl<'a> Cri<'a> {
    /// The plugin of this containerd.
    #[must_use]
    pub fn of(containerd: &'a Containerd) -> Self {
        Self { containerd }
    }

    /// Starts a pod's sandbox, in the node's own network if asked to.
    ///
    /// # Panics
    ///
    /// If the plugin refuses.
    #[must_use]
    pub fn run_pod(&self, namespace: &str, name: &str, host_network: bool) -> Sandbox {
        let machine = self.containerd.machine();
        let uid = format!("uid-of-{namespace}-{name}");
        let metadata = [field(1, name), field(2, &uid), field(3, namespace)].concat();
        let parent = format!("/{}/kubepods/pod{uid}", machine.cgroup());
        let mut linux = field(1, parent);
        if host_network {
            // LinuxSandboxSecurityContext.namespace_options.network = NODE
            linux.extend(field(2, field(1, [1 << 3, 2])));
        }
        let logs = machine.folder().display().to_string();
        let mut config = [field(1, metadata), field(3, logs)].concat();
        if !host_network {
            config.extend(field(2, name));
        }
        // As a kubelet labels them.
        for (key, value) in [("name", name), ("namespace", namespace), ("uid", &uid)] {
            let key = format!("io.kubernetes.pod.{key}");
            config.extend(field(6, [field(1, key), field(2, value)].concat()));
        }
        config.extend(field(8, linux));
        Sandbox {
            id: self.call("RunPodSandbox", &field(1, &config)),
            config,
        }
    }

    /// Starts a container in a pod; its id.
    ///
    /// # Panics
    ///
    /// If the plugin refuses.
    #[must_use]
    pub fn run_container(&self, pod: &Sandbox, name: &str) -> String {
        let mut config = [field(1, field(1, name)), field(2, field(1, IMAGE))].concat();
        let label = [field(1, "io.kubernetes.container.name"), field(2, name)];
        config.extend(field(9, label.concat()));
        let request = [field(1, &pod.id), field(2, config), field(3, &pod.config)];
        let id = self.call("CreateContainer", &request.concat());
        self.call("StartContainer", &field(1, &id));
        id
    }

    /// Ends a pod with its containers, and removes it.
    ///
    /// # Panics
    ///
    /// If the plugin refuses.
    pub fn remove_pod(&self, pod: &Sandbox) {
        for call in ["StopPodSandbox", "RemovePodSandbox"] {
            self.call(call, &field(1, &pod.id));
        }
    }

    /// Calls a method; the text in the answer's first field, if it has one.
    fn call(&self, method: &str, message: &[u8]) -> String {
        let mut command = self.containerd.machine().command("curl");
        command
            .args(["--silent", "--show-error", "--http2-prior-knowledge"])
            .args(["--unix-socket", "/run/containerd/containerd.sock"])
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
            .args(["--data-binary", "@-", "--dump-header", "/dev/stderr"])
            .arg(format!("http://cri/runtime.v1.RuntimeService/{method}"));
        let output = with_stdin(command, message);
        let said = String::from_utf8_lossy(&output.stderr);
        let fine = said.lines().any(|line| line.trim() == "grpc-status: 0");
        assert!(fine, "{method}: {said}");
        // Five bytes of frame, then the field's number and length: ids are short.
        match output.stdout.get(5..) {
            Some([10, length, text @ ..]) if text.len() >= usize::from(*length) => {
                String::from_utf8_lossy(&text[..usize::from(*length)]).into_owned()
            }
            _ => String::new(),
        }
    }
}

/// Runs curl with a message framed as gRPC does: not compressed, its length, itself.
fn with_stdin(mut command: Command, message: &[u8]) -> std::process::Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl starts");
    let mut stdin = child.stdin.take().expect("its stdin");
    let length = (message.len() as u32).to_be_bytes();
    for part in [&[0], &length[..], message] {
        stdin.write_all(part).expect("it reads");
    }
    drop(stdin);
    child.wait_with_output().expect("its output")
}
