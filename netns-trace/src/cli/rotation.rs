//! How a capture is spread over files. Letters are tcpdump's, with its meaning.

use std::{ffi::OsString, path::Path};

use clap::Args;

use super::units;
use crate::{capture::Rotation, session::Usage};

/// `-C`, `-G`, `-W` and `-z`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Several files")]
pub(super) struct RotationArgs {
    /// Go on in another file once one has more than N million bytes (with K, M or G: KiB, MiB or GiB): FILE, FILE1, …
    #[arg(short = 'C', value_name = "SIZE", requires = "write", allow_negative_numbers = true,
          value_parser = units::file_size)]
    size: Option<u64>,
    /// Go on in another file after N seconds; FILE is a pattern of strftime(3), such as web-%H%M%S.pcapng
    #[arg(short = 'G', value_name = "SECONDS", requires = "write", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// With -C, start over after N files, which are written over; with -G alone, end after N files
    #[arg(short = 'W', value_name = "N", requires = "write", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    files: Option<u32>,
    /// Run `CMD FILE` on each file that is complete
    #[arg(short = 'z', value_name = "CMD", requires = "write")]
    command: Option<OsString>,
}

impl RotationArgs {
    /// Refuses what makes no sense together.
    pub(super) fn check(&self, write: Option<&Path>) -> Result<(), Usage> {
        let refuse = |why: &str| Err(Usage(why.to_owned()));
        let is_spread = self.size.is_some() || self.seconds.is_some();
        if !is_spread && self.files.is_some() {
            return refuse("-W is about the files of -C or -G: give one of them");
        }
        if !is_spread && self.command.is_some() {
            return refuse("-z is about the files of -C or -G: give one of them");
        }
        let Some(write) = write else {
            return Ok(());
        };
        if is_spread && write.as_os_str() == "-" {
            return refuse("-C and -G need a file to write to: -w FILE, not -w -");
        }
        let has_pattern = write.as_os_str().as_encoded_bytes().contains(&b'%');
        if self.seconds.is_some() && self.size.is_none() && !has_pattern {
            return refuse(
                "-G needs a FILE whose name changes with the time, such as -w 'web-%Y%m%d-%H%M%S.pcapng'",
            );
        }
        Ok(())
    }

    pub(super) fn rotation(self) -> Rotation {
        Rotation {
            bytes: self.size,
            seconds: self.seconds,
            files: self.files,
            command: self.command,
        }
    }
}
