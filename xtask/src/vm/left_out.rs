//! What does not run in guests, and why.

/// Tests of one file that are left out.
pub(super) struct LeftOut {
    file: &'static str,
    /// All of the file where none is named.
    tests: &'static [&'static str],
    /// What they need, or why a kernel does not matter to them.
    pub(super) why: &'static str,
}

const RUNTIMES: &str =
    "container runtimes, which emulation makes minutes slow, and images of the host";
const PART: &str = "no test by itself: another one runs it";
const FILES: &str = "files and words alone, whatever the kernel";

/// All of it.
pub(super) const LEFT_OUT: [LeftOut; 18] = [
    LeftOut::file("containerd_networks", RUNTIMES),
    LeftOut::file("docker_follow", RUNTIMES),
    LeftOut::file("docker_networks", RUNTIMES),
    LeftOut::file("podman_networks", RUNTIMES),
    LeftOut::file("recipes", RUNTIMES),
    LeftOut::file("runtimes", RUNTIMES),
    LeftOut::tests(
        "target_names",
        &[
            "docker_containers_are_found_by_name_and_id",
            "podman_containers_are_found_with_its_api_and_without",
            "rootless_podman_containers_are_found_with_its_api_and_without",
            "containerd_containers_are_found_by_id_and_namespace",
            "pods_are_found_by_their_names",
        ],
        RUNTIMES,
    ),
    LeftOut::file("target_states", RUNTIMES),
    LeftOut::tests(
        "beside",
        &["docker_makes_and_removes_containers_meanwhile"],
        RUNTIMES,
    ),
    LeftOut::tests("watch", &["dockers_containers_are_told_by_name"], RUNTIMES),
    LeftOut::file("endurance", "a flood that lasts: it measures the machine"),
    LeftOut::tests(
        "latency_output",
        &["one_run_writes_everything"],
        "a browser, which shows the page",
    ),
    LeftOut::file("hostile", FILES),
    LeftOut::file("read", FILES),
    LeftOut::file("read_words", FILES),
    LeftOut::tests("lab", &["build_and_wait_to_be_killed"], PART),
    LeftOut::tests("latency_live", &["take_the_terminal_and_panic"], PART),
    LeftOut::tests("netns", &["try_without_capabilities"], PART),
];

impl LeftOut {
    const fn file(file: &'static str, why: &'static str) -> Self {
        Self {
            file,
            tests: &[],
            why,
        }
    }

    const fn tests(file: &'static str, tests: &'static [&'static str], why: &'static str) -> Self {
        Self { file, tests, why }
    }

    /// Whether it means this test.
    pub(super) fn means(&self, file: &str, test: &str) -> bool {
        self.file == file && (self.tests.is_empty() || self.tests.contains(&test))
    }
}

/// Why a test is left out, if it is.
pub(super) fn why(file: &str, test: &str) -> Option<&'static str> {
    let found = LEFT_OUT.iter().find(|one| one.means(file, test));
    found.map(|one| one.why)
}
