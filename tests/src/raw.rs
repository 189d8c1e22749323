//! Frames for an interface, past the kernel's own protocols.

use std::{io, os::fd::AsRawFd as _};

use nix::{
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// Sends frames from an interface of the calling thread's namespace.
///
/// # Errors
///
/// What the kernel says.
pub fn send(interface: &str, frames: &[Vec<u8>]) -> io::Result<()> {
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let index = if_nametoindex(interface)?;
    for frame in frames {
        // SAFETY: all-zero bytes are a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        address.sll_halen = 6;
        address.sll_protocol = u16::from_be_bytes([frame[12], frame[13]]).to_be();
        // SAFETY: pointers to live buffers with their lengths.
        let sent = unsafe {
            libc::sendto(
                fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// An Ethernet frame to everybody, with an optional tag and a payload that tells its number.
#[must_use]
pub fn frame(tag: Option<(u16, u16)>, number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x02, 0, 0, 0, 0, 0x77]);
    if let Some((protocol, tci)) = tag {
        frame.extend(protocol.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(0x88b5_u16.to_be_bytes()); // a local experiment, IEEE 802
    frame.extend(number.to_be_bytes());
    while frame.len() < len {
        frame.push((frame.len() % 251) as u8);
    }
    frame
}

/// Opens an existing tun device of the calling thread's namespace, which brings its carrier up.
///
/// # Errors
///
/// What the kernel says.
pub fn open_tun(name: &str) -> io::Result<std::fs::File> {
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    const IFF_TUN_NO_PI: libc::c_short = 0x1001;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = IFF_TUN_NO_PI;
    // SAFETY: an open descriptor and a live `ifreq`.
    if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
