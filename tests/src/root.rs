//! Tests that need root: elsewhere they say that they were skipped, and under CI they fail.

/// Leaves the test when it does not run as root.
#[macro_export]
macro_rules! require_root {
    () => {
        if !$crate::root::may_run(module_path!()) {
            return;
        }
    };
}

/// Whether the test may run.
///
/// # Panics
/// Under CI (`CI=true` or `NETNS_TRACE_CI` set) when it may not: a skipped test proves nothing.
pub fn may_run(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip(&format!("{test}: network namespaces need root"));
    }
    is_root
}

/// Says that this test is skipped, and why.
///
/// # Panics
/// Under CI (`CI=true` or `NETNS_TRACE_CI` set): a skipped test proves nothing.
pub fn skip(why: &str) {
    let ci = std::env::var_os("NETNS_TRACE_CI").is_some()
        || std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{why}, and CI skips nothing");
    eprintln!("skipped: {why}");
}
