//! The kernel's word of each process that begins, runs another program or ends: the process connector,
//! Documentation/driver-api/connector.rst and drivers/connector/cn_proc.c (v6.18).
//!
//! It speaks in the machine's initial network, pid and user namespaces alone; before 6.6 to those with
//! CAP_NET_ADMIN alone. Only reads what the kernel says; looks at no process.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

use netlink_sys::{Socket, SocketAddr, constants::NETLINK_CONNECTOR};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::privilege::{Capability, is_in_pid_namespace, why_denied};

/// `struct nlmsghdr`, `struct cn_msg`; include/uapi/linux/{netlink,connector}.h.
const NL_HEADER: usize = 16;
const CN_HEADER: usize = 20;
/// Where the kind of an event is, and where its own fields begin; include/uapi/linux/cn_proc.h.
const WHAT: usize = NL_HEADER + CN_HEADER;
const DATA: usize = WHAT + 16;

/// Room for what comes while we do something else: some ten thousand events.
const BUFFER: libc::c_int = 8 << 20;
/// How long the kernel may take to agree. It does so before the call returns.
const PATIENCE: Duration = Duration::from_millis(100);
/// Most messages of one round.
const MOST: usize = 16 * 1024;

/// What has happened to a process; threads are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// `parent` has made `child`.
    Fork { parent: u32, child: u32 },
    /// It runs another program.
    Exec { pid: u32 },
    /// Its first thread has ended, which with nearly all means all of it.
    Exit { pid: u32 },
}

/// What came in one round.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub(super) events: Vec<Life>,
    /// The kernel had no room: some are missing.
    pub(super) lost: bool,
}

/// A socket on which the kernel tells of processes.
pub(super) struct Connector {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Connector {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// The kernel has no connector, or we may not listen; in words for people.
    pub(super) fn new() -> Result<Self, String> {
        let why = |error: io::Error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => why_denied(&[Capability::NetAdmin]),
            Some(libc::ECONNREFUSED) => {
                "it speaks in the machine's initial network namespace alone".to_owned()
            }
            Some(libc::EPROTONOSUPPORT) => "this kernel has none (CONFIG_PROC_EVENTS)".to_owned(),
            _ => error.to_string(),
        };
        // From Linux 6.6 it speaks to these as well, of pids that mean nothing to them.
        if is_in_pid_namespace() {
            return Err("it speaks of the machine's initial pid namespace alone".to_owned());
        }
        let mut connector = Self {
            socket: Self::open().map_err(why)?,
            buffer: Vec::with_capacity(4096),
        };
        connector.ask(libc::PROC_CN_MCAST_LISTEN).map_err(why)?;
        // Whom it does not speak to, it does not tell so.
        let end = Instant::now() + PATIENCE;
        loop {
            match connector.receive() {
                Ok(message) if kind(message) == Some(0) => {
                    return match number(message, DATA) {
                        Some(0) => Ok(connector),
                        Some(errno) => Err(why(io::Error::from_raw_os_error(errno as i32))),
                        None => Err("it answers rubbish".to_owned()),
                    };
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(why(error)),
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(
                    "it does not answer: this is not the machine's initial pid namespace"
                        .to_owned(),
                );
            }
            let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            poll(
                &mut [PollFd::new(connector.as_fd(), PollFlags::POLLIN)],
                wait,
            )
            .map_err(|errno| errno.to_string())?;
        }
    }

    fn open() -> io::Result<Socket> {
        let mut socket = Socket::new(NETLINK_CONNECTOR)?;
        socket.set_non_blocking(true)?;
        let fd = socket.as_raw_fd();
        // SAFETY: the option takes an int, whose address and size it is given.
        let forced = unsafe {
            let wanted = BUFFER;
            let size = size_of_val(&wanted) as libc::socklen_t;
            let at = (&raw const wanted).cast();
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, at, size)
        };
        if forced != 0 {
            socket.set_rx_buf_sz(BUFFER)?;
        }
        filter(&socket)?;
        socket.bind(&SocketAddr::new(0, libc::CN_IDX_PROC))?;
        Ok(socket)
    }

    fn ask(&self, operation: libc::proc_cn_mcast_op) -> io::Result<()> {
        let length = NL_HEADER + CN_HEADER + 4;
        let mut message = Vec::with_capacity(length);
        for word in [
            length as u32,
            libc::NLMSG_DONE as u32, // type, and no flags above it
            0,
            0,
            libc::CN_IDX_PROC,
            1, // CN_VAL_PROC
            0,
            0,
            4, // length of what follows, and no flags above it
            operation,
        ] {
            message.extend(word.to_ne_bytes());
        }
        self.socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    /// The next message of the kernel's.
    fn receive(&mut self) -> io::Result<&[u8]> {
        loop {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer, 0) {
                Ok((_, from)) if from.port_number() == 0 => return Ok(&self.buffer),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What has come since the last call, or as much of it as one round takes.
    pub(super) fn take(&mut self) -> Lives {
        let mut lives = Lives::default();
        while lives.events.len() < MOST {
            match self.receive() {
                Ok(message) => lives.events.extend(life(message)),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => lives.lost = true,
                Err(_) => break,
            }
        }
        lives
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // Before 6.6 the kernel goes on speaking to nobody otherwise.
        if let Err(error) = self.ask(libc::PROC_CN_MCAST_IGNORE) {
            log::info!("cannot sign off from the process connector: {error}");
        }
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as it lives, and so does what is borrowed from it.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

/// The kernel passes on what [`life`] has a use for, so that threads and other news wake nobody.
fn filter(socket: &Socket) -> io::Result<()> {
    let load = |at: usize| libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: at as u32,
    };
    // Loads are in network order, and the fields in the machine's.
    let equal = |value: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt,
        jf,
        k: value.to_be(),
    };
    let plain = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = [
        load(WHAT),
        equal(0, 12, 0),                     // the answer to our asking: taken
        equal(libc::PROC_EVENT_EXEC, 11, 0), // taken
        equal(libc::PROC_EVENT_EXIT, 2, 0),
        equal(libc::PROC_EVENT_FORK, 5, 0),
        plain(libc::BPF_RET | libc::BPF_K, 0),
        load(DATA), // exit: its pid and tgid
        plain(libc::BPF_MISC | libc::BPF_TAX, 0),
        load(DATA + 4),
        plain(libc::BPF_JMP | libc::BPF_JA, 3),
        load(DATA + 8), // fork: the child's
        plain(libc::BPF_MISC | libc::BPF_TAX, 0),
        load(DATA + 12),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X) as u16,
            jt: 0,
            jf: 1,
            k: 0,
        },
        plain(libc::BPF_RET | libc::BPF_K, u32::MAX),
        plain(libc::BPF_RET | libc::BPF_K, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the option takes a sock_fprog, whose program lives over the call.
    let attached = unsafe {
        let size = size_of_val(&program) as libc::socklen_t;
        let at = (&raw const program).cast();
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            at,
            size,
        )
    };
    if attached == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn number(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn kind(message: &[u8]) -> Option<u32> {
    let is_ours = number(message, NL_HEADER) == Some(libc::CN_IDX_PROC);
    number(message, WHAT).filter(|_| is_ours)
}

pub(crate) fn life(message: &[u8]) -> Option<Life> {
    let field = |n: usize| number(message, DATA + 4 * n);
    const FORK: u32 = libc::PROC_EVENT_FORK;
    const EXEC: u32 = libc::PROC_EVENT_EXEC;
    const EXIT: u32 = libc::PROC_EVENT_EXIT;
    match kind(message)? {
        FORK if field(2) == field(3) => Some(Life::Fork {
            parent: field(1)?,
            child: field(3)?,
        }),
        EXEC => Some(Life::Exec { pid: field(1)? }),
        EXIT if field(0) == field(1) => Some(Life::Exit { pid: field(1)? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(what: u32, fields: &[u32]) -> Vec<u8> {
        let mut words = vec![0; DATA / 4];
        words[NL_HEADER / 4] = libc::CN_IDX_PROC;
        words[WHAT / 4] = what;
        words.extend(fields);
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn processes_are_told_from_threads() {
        let fork = |child, of| life(&message(1, &[10, 11, child, of]));
        assert_eq!(
            fork(20, 20),
            Some(Life::Fork {
                parent: 11,
                child: 20
            })
        );
        assert_eq!(fork(21, 20), None, "a thread");
        let exit = |pid, of| life(&message(0x8000_0000, &[pid, of, 0, 0]));
        assert_eq!(exit(20, 20), Some(Life::Exit { pid: 20 }));
        assert_eq!(exit(21, 20), None, "a thread");
        assert_eq!(life(&message(2, &[21, 20])), Some(Life::Exec { pid: 20 }));
        assert_eq!(life(&message(4, &[20, 20])), None, "another uid");
    }

    #[test]
    fn a_message_cut_short_is_none() {
        let whole = message(1, &[10, 11, 20, 20]);
        for length in 0..whole.len() {
            assert_eq!(life(&whole[..length]), None, "{length}");
        }
    }
}
