//! What a device does for the protocol stack, as `ethtool -k` tells it: the few settings that
//! decide how packets look at a tap. Asked by the ioctls that every kernel has. Reads only.

use std::{
    io,
    net::UdpSocket,
    os::fd::{AsRawFd as _, RawFd},
};

use serde::Serialize;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// ETHTOOL_G*; include/uapi/linux/ethtool.h.
const RX_CHECKSUM: u32 = 0x14;
const TX_CHECKSUM: u32 = 0x16;
const SCATTER_GATHER: u32 = 0x18;
const TSO: u32 = 0x1e;
const GSO: u32 = 0x23;
const FLAGS: u32 = 0x25;
const GRO: u32 = 0x2b;
const FLAG_LRO: u32 = 1 << 15;

/// Which offloads are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Offloads {
    /// Checksums of what comes in are checked by the device.
    pub rx_checksumming: bool,
    /// Checksums of what goes out are left to the device.
    pub tx_checksumming: bool,
    /// Packets may be handed over in pieces of memory.
    pub scatter_gather: bool,
    /// TCP is cut into segments by the device.
    pub tcp_segmentation_offload: bool,
    /// Packets are cut into segments just before the device.
    pub generic_segmentation_offload: bool,
    /// Segments that come in are put together again.
    pub generic_receive_offload: bool,
    /// As that, by the device.
    pub large_receive_offload: bool,
}

impl Offloads {
    /// Each with its short name.
    #[must_use]
    pub fn each(&self) -> [(&'static str, bool); 7] {
        [
            ("rx-checksum", self.rx_checksumming),
            ("tx-checksum", self.tx_checksumming),
            ("scatter-gather", self.scatter_gather),
            ("tso", self.tcp_segmentation_offload),
            ("gso", self.generic_segmentation_offload),
            ("gro", self.generic_receive_offload),
            ("lro", self.large_receive_offload),
        ]
    }
}

/// The offloads of an interface in the calling thread's namespace; none of a device that has no
/// such settings.
///
/// # Errors
/// What the kernel says.
pub(super) fn offloads_here(name: &str) -> io::Result<Option<Offloads>> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::]:0"))?;
    let fd = socket.as_raw_fd();
    let on = |command| ask(fd, name, command).map(|value| value != 0);
    let all = || -> io::Result<Offloads> {
        Ok(Offloads {
            rx_checksumming: on(RX_CHECKSUM)?,
            tx_checksumming: on(TX_CHECKSUM)?,
            scatter_gather: on(SCATTER_GATHER)?,
            tcp_segmentation_offload: on(TSO)?,
            generic_segmentation_offload: on(GSO)?,
            generic_receive_offload: on(GRO)?,
            large_receive_offload: ask(fd, name, FLAGS)? & FLAG_LRO != 0,
        })
    };
    match all() {
        Err(why) if why.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        other => other.map(Some),
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

fn ask(fd: RawFd, name: &str, command: u32) -> io::Result<u32> {
    // SAFETY: a struct of bytes, numbers and a pointer that may be null.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes();
    if bytes.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let mut value = Value { command, data: 0 };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: an open socket, and a request that points to `value`; both live over the call.
    let result = unsafe { libc::ioctl(fd, SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_tells_and_what_is_not_there_is_an_error() {
        let lo = offloads_here("lo").expect("an answer").expect("offloads");
        assert!(
            lo.tx_checksumming && lo.generic_segmentation_offload,
            "{lo:?}"
        );
        assert!(offloads_here("nosuchdevice0").is_err());
        assert!(offloads_here("a name that is too long for one").is_err());
    }
}
