//! What lines of text say: options that `capture` and `read` share. Letters are tcpdump's.

use clap::{ArgAction, Args};

use crate::{
    capture::{TextOptions, TimeFormat},
    dissect::{Dump, DumpForm, Options},
};

/// How packets are printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lines of text")]
pub(super) struct TextArgs {
    /// The link-layer header too
    #[arg(short = 'e')]
    link_header: bool,
    /// Less of each packet
    #[arg(short = 'q', action = ArgAction::Count)]
    quiet: u8,
    /// No time; -tt: seconds since 1970; -ttt: since the packet before; -tttt: with the date; -ttttt: since the first
    #[arg(short = 't', action = ArgAction::Count)]
    time: u8,
    /// Times in nanoseconds rather than microseconds
    #[arg(long)]
    nano: bool,
    /// Its bytes in hexadecimal; -xx: those of the link-layer header too
    #[arg(short = 'x', action = ArgAction::Count)]
    hex: u8,
    /// Its bytes in hexadecimal and as characters; -XX: those of the link-layer header too
    #[arg(short = 'X', action = ArgAction::Count)]
    hex_ascii: u8,
    /// Its bytes as characters; -AA: those of the link-layer header too
    #[arg(short = 'A', action = ArgAction::Count)]
    ascii: u8,
    /// Its number
    #[arg(short = '#', long = "number")]
    number: bool,
    /// TCP's sequence numbers as they are, not from the connection's start
    #[arg(short = 'S', long = "absolute-tcp-sequence-numbers")]
    absolute_sequence: bool,
    /// Do not verify checksums
    #[arg(short = 'K', long = "dont-verify-checksums")]
    skip_checksums: bool,
    /// What addresses are called (container names), beside them
    #[arg(long)]
    pub(super) names: bool,
    /// Addresses and ports as numbers, which is always so
    #[arg(short = 'n', action = ArgAction::Count, hide = true)]
    numeric: u8,
}

impl TextArgs {
    pub(super) fn options(&self, verbose: u8) -> TextOptions {
        // As in tcpdump, characters go before digits, whatever the order.
        let forms = [
            (self.hex_ascii, DumpForm::HexAscii),
            (self.hex, DumpForm::Hex),
            (self.ascii, DumpForm::Ascii),
        ];
        let dump = forms.into_iter().find(|(count, _)| *count > 0);
        TextOptions {
            dissect: Options {
                link_header: self.link_header,
                verbose,
                quiet: self.quiet,
                absolute_sequence: self.absolute_sequence,
                skip_checksums: self.skip_checksums,
                dump: dump.map(|(count, form)| Dump {
                    form,
                    link_header: count > 1,
                }),
            },
            time: TimeFormat::from_count(self.time),
            nanoseconds: self.nano,
            number: self.number,
        }
    }
}
