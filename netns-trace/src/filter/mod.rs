//! Filters in tcpdump's own language: compiled by libpcap to classic BPF, translated to eBPF, and run by the
//! kernel side before anything is copied. The same program runs here on files (`run.rs`).
//!
//! Plain data in and out, and libpcap; knows nothing of taps, aya or files.

mod classic;
mod ebpf;
mod libpcap;
mod place;
mod run;
mod translate;

use libpcap::LibPcap;

pub use self::{
    classic::{Ancillary, BadProgram, Instruction, Program},
    ebpf::Insn,
    run::View,
    translate::{TooLong, translate},
};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// An expression of pcap-filter(7).
    Expression(String),
    /// Classic BPF.
    Bytecode(Program),
}

/// Why there is no filter. Texts in it are as the user or libpcap wrote them: escape to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// libpcap is not installed.
    #[error(
        "a filter needs libpcap, which is not installed here: install it (Debian: libpcap0.8; Fedora, Alpine: \
         libpcap), or compile the filter elsewhere with `tcpdump -y EN10MB -ddd FILTER >FILE` and use \
         --filter-bytecode FILE"
    )]
    NoLibrary,
    /// What is loaded as libpcap is something else.
    #[error("what is installed as libpcap lacks a function: {0}")]
    Library(#[from] libloading::Error),
    /// A filter's text cannot hold a NUL.
    #[error("a filter holds a NUL byte")]
    Nul,
    /// There is no memory left.
    #[error("libpcap has no memory left")]
    Memory,
    /// libpcap does not take it.
    #[error("{}", refusal(.expression, .why, .at))]
    Refused {
        /// The expression.
        expression: String,
        /// libpcap's words.
        why: String,
        /// The byte from which on it cannot be right, where that is known.
        at: Option<usize>,
    },
    /// Its code is none that can be run.
    #[error("the filter's code cannot be run: {0}")]
    Program(#[from] BadProgram),
    /// It is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

impl Filter {
    /// Compiles it for packets that start with `link_type`, a `LINKTYPE_` number. Bytecode is what it is.
    ///
    /// # Errors
    ///
    /// There is no libpcap, or it refuses the expression.
    pub fn compile(&self, link_type: u16, snaplen: u32) -> Result<Program, FilterError> {
        let expression = match self {
            Self::Bytecode(program) => return Ok(program.clone()),
            Self::Expression(expression) => expression,
        };
        let library = LibPcap::load()?;
        library
            .compile(expression, link_type, snaplen)
            .map_err(|why| match why {
                FilterError::Refused {
                    expression, why, ..
                } => {
                    // What can never match is well said all the same.
                    let compiles = |text: &str| match library.compile(text, link_type, snaplen) {
                        Err(FilterError::Refused { why, .. }) => !place::is_of_syntax(&why),
                        _ => true,
                    };
                    FilterError::Refused {
                        at: place::of_error(&expression, &why, compiles),
                        expression,
                        why,
                    }
                }
                other => other,
            })
    }
}

/// libpcap's words, and the expression with a caret at the place.
fn refusal(expression: &str, why: &str, at: &Option<usize>) -> String {
    match at {
        None => format!("{why}: {expression}"),
        Some(at) => {
            let before = expression.get(..*at).unwrap_or(expression);
            let blanks: String = before.chars().map(|_| ' ').collect();
            format!("{why}\n  {expression}\n  {blanks}^")
        }
    }
}
