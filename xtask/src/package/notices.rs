//! The licences of the crates that are part of a command, as their authors want them passed on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::output;

/// How files begin whose text a licence wants to be passed on.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// Of all crates that `package` is linked with, each text once.
pub(super) fn of(package: &str) -> Result<String> {
    let metadata = output(Command::new(env!("CARGO")).args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
        &host()?,
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = by_id(&metadata["packages"], "id");
    let nodes = by_id(&metadata["resolve"]["nodes"], "id");
    let first = packages
        .iter()
        .find(|(_, one)| one["name"] == package)
        .with_context(|| format!("there is no package {package}"))?;
    let mut text = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in linked(&nodes, first.0) {
        let one = packages.get(id.as_str()).context("a package")?;
        // Ours has no source: its licence is in `copyright`.
        if one["source"].is_null() {
            continue;
        }
        let word = |key: &str| one[key].as_str().unwrap_or("?").to_owned();
        let name = format!("{} {}", word("name"), word("version"));
        text.push_str(&format!("{name}: {}\n", word("license")));
        let manifest = word("manifest_path");
        let folder = Path::new(&manifest).parent().context("a folder")?;
        for notice in notices(folder)? {
            texts.entry(notice).or_default().push(name.clone());
        }
    }
    for (notice, names) in texts {
        let line = "=".repeat(80);
        text.push_str(&format!("\n{line}\n{}\n\n{notice}\n", names.join(", ")));
    }
    Ok(text)
}

fn host() -> Result<String> {
    output(Command::new("rustc").args(["--print", "host-tuple"]))
}

fn by_id<'a>(list: &'a Value, key: &str) -> BTreeMap<&'a str, &'a Value> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|one| Some((one[key].as_str()?, one)))
        .collect()
}

/// The crates that `first` is linked with: neither those of its tests nor of its build.
fn linked(nodes: &BTreeMap<&str, &Value>, first: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![first.to_owned()];
    while let Some(id) = open.pop() {
        let deps = nodes.get(id.as_str()).map(|node| &node["deps"]);
        if !found.insert(id) {
            continue;
        }
        for dep in deps.and_then(Value::as_array).into_iter().flatten() {
            let kinds = dep["dep_kinds"].as_array().into_iter().flatten();
            if kinds.into_iter().any(|kind| kind["kind"].is_null()) {
                open.extend(dep["pkg"].as_str().map(ToOwned::to_owned));
            }
        }
    }
    found
}

/// The texts in a crate's folder, sorted by their files' names.
fn notices(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_uppercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            files.push(path);
        }
    }
    files.sort();
    let text = |path| -> Result<String> {
        let bytes = fs::read(path)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    files.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_linked_is_neither_of_tests_nor_of_the_build() {
        let nodes = json!([
            { "id": "a", "deps": [
                { "pkg": "b", "dep_kinds": [{ "kind": null }, { "kind": "dev" }] },
                { "pkg": "t", "dep_kinds": [{ "kind": "dev" }] },
                { "pkg": "m", "dep_kinds": [{ "kind": "build" }] },
            ] },
            { "id": "b", "deps": [{ "pkg": "a", "dep_kinds": [{ "kind": null }] }] },
        ]);
        let found = linked(&by_id(&nodes, "id"), "a");
        assert_eq!(found, ["a", "b"].map(String::from).into());
    }
}
