//! libpcap itself, found when it is needed: the one compiler of the filter language. netns-trace builds and
//! runs without it; a filter needs it, or its bytecode from elsewhere.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    ptr::NonNull,
};

use libloading::Library;

use super::FilterError;
use super::classic::{Instruction, Program};

/// Debian's name of the library, and the others' (libpcap.so.1).
const NAMES: [&str; 2] = ["libpcap.so.0.8", "libpcap.so.1"];
/// `PCAP_NETMASK_UNKNOWN`: then `ip broadcast` is refused, as it is for a file.
const NO_NETMASK: c_uint = u32::MAX;

/// `struct bpf_program`; pcap/bpf.h.
#[repr(C)]
struct BpfProgram {
    length: c_uint,
    instructions: *mut Instruction,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile =
    unsafe extern "C" fn(*mut c_void, *mut BpfProgram, *const c_char, c_int, c_uint) -> c_int;
type GetErr = unsafe extern "C" fn(*mut c_void) -> *const c_char;
type FreeCode = unsafe extern "C" fn(*mut BpfProgram);
type Close = unsafe extern "C" fn(*mut c_void);

/// The library, loaded.
pub(super) struct LibPcap {
    library: Library,
}

impl LibPcap {
    /// Loads it.
    ///
    /// # Errors
    ///
    /// It is not installed.
    pub(super) fn load() -> Result<Self, FilterError> {
        let mut failed = None;
        for name in NAMES {
            // SAFETY: libpcap's initialisers only set up the library itself.
            match unsafe { Library::new(name) } {
                Ok(library) => return Ok(Self { library }),
                Err(why) => failed = failed.or(Some(why.to_string())),
            }
        }
        log::info!("libpcap: {}", failed.unwrap_or_default());
        Err(FilterError::NoLibrary)
    }

    /// Compiles an expression for packets that start with `link_type`, a `LINKTYPE_` number.
    ///
    /// # Errors
    ///
    /// What libpcap says against it, and instructions that have no meaning here.
    pub(super) fn compile(
        &self,
        expression: &str,
        link_type: u16,
        snaplen: u32,
    ) -> Result<Program, FilterError> {
        let text = CString::new(expression).map_err(|_| FilterError::Nul)?;
        let handle = Handle::open(&self.library, dlt(link_type), snaplen)?;
        let mut program = BpfProgram {
            length: 0,
            instructions: std::ptr::null_mut(),
        };
        // SAFETY: the types are libpcap's own, of every version since 1.0; all pointers live over the call.
        let result = unsafe {
            let compile = self.library.get::<Compile>(b"pcap_compile\0")?;
            compile(
                handle.pcap.as_ptr(),
                &raw mut program,
                text.as_ptr(),
                1,
                NO_NETMASK,
            )
        };
        if result != 0 {
            return Err(FilterError::Refused {
                expression: expression.to_owned(),
                why: handle.error()?,
                at: None,
            });
        }
        let count = program.length as usize;
        // SAFETY: libpcap has made so many of them, of this layout; they are copied before they are freed.
        let instructions = unsafe {
            let instructions = std::slice::from_raw_parts(program.instructions, count).to_vec();
            self.library.get::<FreeCode>(b"pcap_freecode\0")?(&raw mut program);
            instructions
        };
        Ok(Program::new(instructions)?)
    }
}

/// A `pcap_t` that reads nothing.
struct Handle<'a> {
    library: &'a Library,
    pcap: NonNull<c_void>,
}

impl<'a> Handle<'a> {
    fn open(library: &'a Library, dlt: c_int, snaplen: u32) -> Result<Self, FilterError> {
        // SAFETY: as above.
        let pcap = unsafe { library.get::<OpenDead>(b"pcap_open_dead\0")?(dlt, snaplen as c_int) };
        match NonNull::new(pcap) {
            Some(pcap) => Ok(Self { library, pcap }),
            None => Err(FilterError::Memory),
        }
    }

    fn error(&self) -> Result<String, FilterError> {
        // SAFETY: the text belongs to the handle, which lives over the call.
        let text = unsafe {
            CStr::from_ptr(self.library.get::<GetErr>(b"pcap_geterr\0")?(
                self.pcap.as_ptr(),
            ))
        };
        Ok(text.to_string_lossy().into_owned())
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody has it afterwards.
        unsafe {
            match self.library.get::<Close>(b"pcap_close\0") {
                Ok(close) => close(self.pcap.as_ptr()),
                Err(why) => log::warn!("libpcap: {why}"),
            }
        }
    }
}

/// libpcap's own number for a link type of a file: those that it filters differ for ATM and raw IP;
/// <https://github.com/the-tcpdump-group/libpcap/blob/libpcap-1.10.3/pcap-common.c>
fn dlt(link_type: u16) -> c_int {
    const LINKTYPE_ATM_RFC1483: u16 = 100;
    const LINKTYPE_RAW: u16 = 101;
    const LINKTYPE_ATM_CLIP: u16 = 106;
    match link_type {
        LINKTYPE_ATM_RFC1483 => 11,
        LINKTYPE_RAW => 12,
        LINKTYPE_ATM_CLIP => 19,
        other => other.into(),
    }
}
