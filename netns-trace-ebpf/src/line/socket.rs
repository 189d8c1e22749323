//! Who made a socket.

/// Bytes of a command's name, with the zero that ends it.
pub const COMMAND_LEN: usize = 16;

/// The process that made a socket, as it was at that time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketMaker {
    /// Its number, as the machine's first PID namespace counts.
    pub pid: u32,
    /// The name of its thread's command.
    pub command: [u8; COMMAND_LEN],
}

const _: () = assert!(size_of::<SocketMaker>() == 20);

/// Sockets whose makers are known: those used least recently give way.
pub const MAX_SOCKETS: u32 = 64 << 10;
