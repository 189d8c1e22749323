//! This machine's release of Debian: what is built here needs its C library.

use std::fs;

use anyhow::{Context as _, Result};

/// Its code name, such as `bookworm`.
pub(crate) fn codename() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = named(&text).context("/etc/os-release has no VERSION_CODENAME")?;
    Ok(name.to_owned())
}

fn named(os_release: &str) -> Option<&str> {
    let mut lines = os_release.lines();
    let name = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_has_a_name() {
        let text = "ID=debian\nVERSION_CODENAME=\"bookworm\"\n";
        assert_eq!(named(text), Some("bookworm"));
        assert_eq!(named("ID=arch\n"), None);
    }
}
