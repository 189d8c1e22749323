//! Where runtimes are asked, and where they keep their files.

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{Runtime, files};

/// The variable that names places other than the usual ones.
const VARIABLE: &str = "NETNS_TRACE_RUNTIMES";
/// The state directory of the containerd that Docker starts for itself.
pub(super) const DOCKERS_OWN: &str = "/run/docker/containerd/daemon";
/// Most users whose own runtimes are asked.
const MOST_USERS: usize = 64;

/// One installation of Docker or Podman.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// [`Runtime::Docker`] or [`Runtime::Podman`]: what its containers are.
    pub runtime: Runtime,
    /// The socket of its API.
    pub socket: Option<PathBuf>,
    /// Where it keeps its files, which are read when the socket does not answer: `/var/lib/docker`, or
    /// the root of Podman's storage, `/var/lib/containers/storage`.
    pub root: Option<PathBuf>,
}

/// The places where containers' names are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Docker and Podman.
    pub engines: Vec<Source>,
    /// The state directories of containerd, such as `/run/containerd`.
    pub containerd: Vec<PathBuf>,
    /// CRI-O's run-time storage, `/run/containers/storage`.
    pub crio: Vec<PathBuf>,
    /// Whether the users' own runtimes count, at their usual places.
    pub users: bool,
}

/// The places that this process goes by: its environment is read once.
pub(super) fn usual() -> &'static Sources {
    static USUAL: OnceLock<Sources> = OnceLock::new();
    USUAL.get_or_init(Sources::usual)
}

impl Sources {
    /// The usual places, and those that `DOCKER_HOST` and `CONTAINER_HOST` name; or, where
    /// `NETNS_TRACE_RUNTIMES` is set, those that it names and no other (see [`Sources::parse`]).
    #[must_use]
    pub fn usual() -> Self {
        if let Some(list) = env::var_os(VARIABLE) {
            return Self::parse(&list.to_string_lossy());
        }
        let mut sources = Self {
            engines: vec![
                Source {
                    runtime: Runtime::Docker,
                    socket: Some("/run/docker.sock".into()),
                    root: Some("/var/lib/docker".into()),
                },
                Source {
                    runtime: Runtime::Podman,
                    socket: Some("/run/podman/podman.sock".into()),
                    root: Some("/var/lib/containers/storage".into()),
                },
            ],
            containerd: vec![
                "/run/containerd".into(),
                DOCKERS_OWN.into(),
                "/run/k3s/containerd".into(),
            ],
            crio: vec!["/run/containers/storage".into()],
            users: true,
        };
        for (variable, runtime) in [
            ("DOCKER_HOST", Runtime::Docker),
            ("CONTAINER_HOST", Runtime::Podman),
        ] {
            let host = env::var(variable).unwrap_or_default();
            if let Some(socket) = host.strip_prefix("unix://") {
                sources.add_socket(runtime, socket.into());
            }
        }
        sources
    }

    /// Reads a list such as `docker=/run/docker.sock:docker-root=/var/lib/docker:podman=/a.sock:`
    /// `podman-root=/b:containerd=/run/containerd:crio=/run/containers/storage`, in which each may come
    /// more than once, and a root belongs to the socket before it. Words that are not known are left
    /// out.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let mut sources = Self::default();
        for (word, path) in list.split(':').filter_map(|entry| entry.split_once('=')) {
            if path.is_empty() {
                continue;
            }
            match word {
                "docker" => sources.add_socket(Runtime::Docker, path.into()),
                "docker-root" => sources.add_root(Runtime::Docker, path.into()),
                "podman" => sources.add_socket(Runtime::Podman, path.into()),
                "podman-root" => sources.add_root(Runtime::Podman, path.into()),
                "containerd" => sources.containerd.push(path.into()),
                "crio" => sources.crio.push(path.into()),
                _ => log::warn!(
                    "{VARIABLE}: {} is none of docker, docker-root, podman, podman-root, containerd \
                     and crio",
                    word.escape_debug()
                ),
            }
        }
        sources
    }

    fn add_socket(&mut self, runtime: Runtime, socket: PathBuf) {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_known = self.engines.iter().any(|source| {
            let path = source.socket.as_deref();
            source.runtime == runtime && path.is_some_and(|path| real(path) == real(&socket))
        });
        if !is_known {
            self.engines.push(Source {
                runtime,
                socket: Some(socket),
                root: None,
            });
        }
    }

    fn add_root(&mut self, runtime: Runtime, root: PathBuf) {
        match self.engines.last_mut() {
            Some(last) if last.runtime == runtime && last.root.is_none() => last.root = Some(root),
            _ => self.engines.push(Source {
                runtime,
                socket: None,
                root: Some(root),
            }),
        }
    }

    /// The engines, those of the users that are there now among them.
    pub(super) fn all_engines(&self) -> Vec<Source> {
        let mut engines = self.engines.clone();
        if !self.users {
            return engines;
        }
        for uid in files::names(Path::new("/run/user"))
            .into_iter()
            .filter_map(|name| name.parse::<u32>().ok())
            .take(MOST_USERS)
        {
            let run = PathBuf::from(format!("/run/user/{uid}"));
            let home = home(uid);
            let below = |path: &str| home.as_ref().map(|home| home.join(path));
            for (runtime, socket, root) in [
                (Runtime::Docker, "docker.sock", ".local/share/docker"),
                (
                    Runtime::Podman,
                    "podman/podman.sock",
                    ".local/share/containers/storage",
                ),
            ] {
                let socket = Some(run.join(socket));
                // It may be the one that a variable has named.
                if engines.iter().all(|engine| engine.socket != socket) {
                    engines.push(Source {
                        runtime,
                        socket,
                        root: below(root).filter(|_| uid != 0),
                    });
                }
            }
        }
        engines
    }
}

impl Source {
    /// The directory below its root that has what is known of containers.
    pub(super) fn kept_in(&self) -> &'static str {
        match self.runtime {
            Runtime::Docker => "containers",
            _ => "",
        }
    }
}

/// Where a user keeps files.
fn home(uid: u32) -> Option<PathBuf> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    Some(user.ok()??.dir)
}

/// The user to whom a socket or directory belongs, whose containers alone it may tell of; `None` for
/// root, who may tell of any.
pub(super) fn owner(path: &Path) -> Option<u32> {
    fs::metadata(path)
        .map(|meta| meta.uid())
        .ok()
        .filter(|&uid| uid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_places_is_read() {
        let sources = Sources::parse(
            "docker=/a.sock:docker-root=/a:podman-root=/b:containerd=/c:crio=/d:containerd=/e:\
             docker=:junk:odd=/x:docker=/a.sock",
        );
        let engine = |runtime, socket: Option<&str>, root: Option<&str>| Source {
            runtime,
            socket: socket.map(PathBuf::from),
            root: root.map(PathBuf::from),
        };
        assert_eq!(
            sources,
            Sources {
                engines: vec![
                    engine(Runtime::Docker, Some("/a.sock"), Some("/a")),
                    engine(Runtime::Podman, None, Some("/b")),
                ],
                containerd: vec!["/c".into(), "/e".into()],
                crio: vec!["/d".into()],
                users: false,
            }
        );
        assert_eq!(Sources::parse(""), Sources::default());
    }

    #[test]
    fn what_belongs_to_root_may_tell_of_all() {
        assert_eq!(owner(Path::new("/proc/self/nothing")), None);
        assert_eq!(owner(Path::new("/")), None);
    }
}
