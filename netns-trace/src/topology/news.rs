//! Word that interfaces have changed, as it happens: that something has, not what. Whoever wants to
//! know lists them again.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Groups of include/uapi/linux/rtnetlink.h: interfaces, and numbers for other namespaces, which one
/// gets when a pair's other end moves there.
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_NSID: u32 = 28;

/// A socket that becomes readable when an interface comes, changes or goes. Keeps its namespace alive.
pub(crate) struct LinkNews(Socket);

impl LinkNews {
    /// Listens in the calling thread's namespace from now on.
    pub(crate) fn here() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        for group in [RTNLGRP_LINK, RTNLGRP_NSID] {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Takes all that has come; whether there was anything. Too much at once is news as well.
    pub(crate) fn take(&mut self) -> bool {
        let mut some = false;
        let mut buffer = Vec::with_capacity(64 * 1024);
        loop {
            buffer.clear();
            match self.0.recv(&mut buffer, 0) {
                Ok(_) => some = true,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) if why.raw_os_error() == Some(libc::ENOBUFS) => some = true,
                Err(_) => return some,
            }
        }
    }
}

impl AsFd for LinkNews {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as it lives, and so does what is borrowed from it.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
