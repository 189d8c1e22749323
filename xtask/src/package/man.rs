//! Man pages: what clap knows of each command, and what `docs/man` has to say beyond that.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use clap::Command;
use clap_mangen::Man;

use crate::root;

/// A page for `netns-trace` and for each of its commands, theirs too: file names and contents.
pub(super) fn pages(date: &str) -> Result<Vec<(String, String)>> {
    let mut command = netns_trace::cli::command();
    command.build();
    let mut pages = Vec::new();
    each(command, &mut |command| {
        let name = full_name(&command).to_owned();
        let page = page(command, date).with_context(|| format!("cannot make {name}.1"))?;
        pages.push((format!("{name}.1"), page));
        Ok(())
    })?;
    Ok(pages)
}

/// Hands over a command, and each below it that is shown.
fn each(command: Command, take: &mut impl FnMut(Command) -> Result<()>) -> Result<()> {
    for below in command.get_subcommands().filter(|below| is_shown(below)) {
        each(below.clone(), take)?;
    }
    take(command)
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

/// As in the name of its page: `netns-trace-lab-up`.
fn full_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: Command, date: &str) -> Result<String> {
    let name = full_name(&command).to_owned();
    let words = Words::of(&name)?;
    let notes = command.get_after_help().map(ToString::to_string);
    let below: Vec<String> = command
        .get_subcommands()
        .filter(|below| is_shown(below))
        .map(|below| full_name(below).to_owned())
        .collect();
    let usage = command.clone().render_usage().to_string();
    let command = command
        .override_usage(usage.trim_start_matches("Usage: ").to_owned())
        .subcommand_help_heading("COMMANDS")
        .subcommand_value_name("COMMAND")
        .mut_args(|arg| {
            if arg.is_positional() {
                arg.help_heading("Arguments")
            } else {
                arg
            }
        });
    let man = Man::new(command)
        .title(name.to_uppercase())
        .date(date)
        .source(format!("netns-trace {}", env!("CARGO_PKG_VERSION")))
        .manual("netns-trace");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    match &words.description {
        Some(description) => page.extend(description.bytes()),
        None => man.render_description_section(&mut page)?,
    }
    man.render_options_section(&mut page)?;
    if !below.is_empty() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut page = String::from_utf8(page)?;
    if let Some(notes) = notes {
        page.push_str(&sections(&notes));
    }
    page.push_str(&words.rest);
    for name in below {
        page.push_str(&format!(",\n.BR {} (1)", name.replace('-', "\\-")));
    }
    page.push('\n');
    Ok(page)
}

/// What a file of `docs/man` has.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    /// In place of the one line that the command's help has.
    description: Option<String>,
    /// Sections for the end of the page, SEE ALSO last, without its end of line.
    rest: String,
}

impl Words {
    fn of(name: &str) -> Result<Self> {
        let path = root().join("docs/man").join(format!("{name}.roff"));
        if path.is_file() {
            Ok(Self::read(&fs::read_to_string(path)?))
        } else {
            let (above, _) = name.rsplit_once('-').unwrap_or((name, ""));
            let above = above.replace('-', "\\-");
            Ok(Self::read(&format!(".SH SEE ALSO\n.BR {above} (1)\n")))
        }
    }

    fn read(text: &str) -> Self {
        let text = text.trim_end();
        if !text.starts_with(".SH DESCRIPTION\n") {
            return Self {
                description: None,
                rest: text.to_owned(),
            };
        }
        let end = text[1..].find("\n.SH ").map_or(text.len(), |at| at + 2);
        Self {
            description: Some(text[..end].to_owned()),
            rest: text[end..].to_owned(),
        }
    }
}

/// What a command's help ends with, as roff: the exit status, where it tells that, and notes.
fn sections(help: &str) -> String {
    let mut roff = String::new();
    let (mut notes, mut status) = (Vec::new(), None);
    for paragraph in help.split("\n\n").map(str::trim) {
        match paragraph.strip_prefix("Exit status: ") {
            Some(text) => status = Some(text),
            None => notes.push(plain(paragraph)),
        }
    }
    if !notes.is_empty() {
        roff.push_str(&format!(".SH NOTES\n{}\n", notes.join("\n.PP\n")));
    }
    if let Some(status) = status {
        let (first, rest) = status.split_at(status.chars().next().map_or(0, char::len_utf8));
        let status = plain(&format!("{}{rest}", first.to_uppercase()));
        roff.push_str(&format!(".SH EXIT STATUS\n{status}\n"));
    }
    roff
}

/// Plain text as roff.
fn plain(text: &str) -> String {
    let start = if text.starts_with(['.', '\'']) {
        "\\&"
    } else {
        ""
    };
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    format!("{start}{text}")
}

/// Writes all pages.
pub(super) fn write(folder: &Path, date: &str) -> Result<()> {
    for (name, page) in pages(date)? {
        fs::write(folder.join(name), page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The pages as they are read: without roff's escapes.
    fn read() -> Result<BTreeMap<String, String>> {
        let plain = |page: String| {
            page.replace("\\-", "-")
                .replace("\\fB", "")
                .replace("\\fI", "")
                .replace("\\fR", "")
        };
        let pages = pages("2026-01-01")?;
        Ok(pages
            .into_iter()
            .map(|(name, page)| (name, plain(page)))
            .collect())
    }

    #[test]
    fn every_command_has_a_page_with_all_its_options() -> Result<()> {
        let pages = read()?;
        let mut commands = 0;
        let mut command = netns_trace::cli::command();
        command.build();
        each(command, &mut |command| {
            commands += 1;
            let name = full_name(&command);
            let page = pages.get(&format!("{name}.1")).context(name.to_owned())?;
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let mut forms = Vec::new();
                forms.extend(arg.get_long().map(|long| format!("--{long}")));
                forms.extend(arg.get_short().map(|short| format!("-{short}")));
                if arg.is_positional() {
                    let names = arg.get_value_names().unwrap_or_default();
                    forms.extend(names.iter().map(ToString::to_string));
                }
                assert!(!forms.is_empty(), "{name}: {arg:?}");
                for form in forms {
                    let explained = page.split(".TP\n").skip(1).any(|part| {
                        let head = part.lines().next().unwrap_or_default();
                        head.split([',', ' ', '[', '=', '<', '>', ']', '.'])
                            .any(|word| word == form)
                    });
                    assert!(explained, "{name}: {form}");
                }
            }
            for below in command.get_subcommands().filter(|below| is_shown(below)) {
                let below = full_name(below);
                assert!(page.contains(&format!("{below}(1)")), "{name}: {below}");
            }
            Ok(())
        })?;
        assert_eq!(pages.len(), commands);
        assert!(commands > 12, "{commands}");
        Ok(())
    }

    #[test]
    fn every_file_of_words_belongs_to_a_page() -> Result<()> {
        let pages = read()?;
        for entry in fs::read_dir(root().join("docs/man"))? {
            let path = entry?.path();
            let stem = path.file_stem().context("a name")?.to_string_lossy();
            assert!(pages.contains_key(&format!("{stem}.1")), "{path:?}");
        }
        Ok(())
    }

    #[test]
    fn pages_that_are_referred_to_are_there() -> Result<()> {
        let pages = read()?;
        for (name, page) in &pages {
            for line in page
                .lines()
                .filter(|line| line.starts_with(".BR netns-trace"))
            {
                let mut words = line.split_whitespace().skip(1);
                let (page, section) = (words.next(), words.next());
                if let (Some(page), Some(section)) = (page, section)
                    && section.starts_with("(1)")
                {
                    assert!(pages.contains_key(&format!("{page}.1")), "{name}: {line}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn examples_are_commands_that_are_understood() -> Result<()> {
        let mut understood = 0;
        for (name, page) in read()? {
            for block in page.split(".EX\n").skip(1) {
                let block = block.split(".EE").next().unwrap_or_default();
                for line in block
                    .lines()
                    .filter(|line| line.starts_with("netns-trace "))
                {
                    let words = words(line);
                    let parsed = netns_trace::cli::command().try_get_matches_from(&words);
                    assert!(parsed.is_ok(), "{name}: {line}: {parsed:?}");
                    understood += 1;
                }
            }
        }
        assert!(understood > 20, "{understood}");
        Ok(())
    }

    /// The words of a simple line of shell, up to a pipe or an ampersand.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                '|' | '&' if !quoted => break,
                _ => words.last_mut().expect("one at least").push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn a_description_comes_first() {
        let words = Words::read(".SH DESCRIPTION\nA.\n.SS B\nC.\n.SH SEE ALSO\n.BR x (1)\n");
        assert_eq!(
            words,
            Words {
                description: Some(".SH DESCRIPTION\nA.\n.SS B\nC.\n".into()),
                rest: ".SH SEE ALSO\n.BR x (1)".into(),
            }
        );
        let words = Words::read(".SH EXAMPLES\nA.\n.SH SEE ALSO\n.BR x (1)\n");
        assert_eq!(words.description, None);
    }

    #[test]
    fn what_help_ends_with_has_its_sections() {
        assert_eq!(
            sections(".a -b\n\nc\\d\n\nExit status: that of x."),
            ".SH NOTES\n\\&.a \\-b\n.PP\nc\\ed\n.SH EXIT STATUS\nThat of x.\n"
        );
    }
}
