//! The reader's side of the ring: records are read where the kernel has written them.
//!
//! The layout is the kernel's (kernel/bpf/ringbuf.c): a page with the reader's position, a page with the writers', and
//! the data, mapped twice in a row so that no record is split. aya gives each record's room back by itself, which
//! takes the line of memory from the writers that they read for every record; here that happens once in a while.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use aya::maps::{Map, MapData};

use super::ProbeError;

/// Bits of a record's length; <https://github.com/torvalds/linux/blob/v5.10/include/uapi/linux/bpf.h#L4126>.
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// Bytes before each record; the lowest four are its length.
const HEADER: u64 = 8;
/// The part of the ring, as a fraction, that may have been read and not given back.
const KEPT: u64 = 64;

/// The ring that the records of all taps come through, in the order in which they were made.
pub struct Ring {
    map: MapData,
    /// The reader's position, which the writers read.
    consumer: Mapping,
    /// The writers' position, and the data.
    producer: Mapping,
    page: usize,
    mask: u64,
    /// What was read so far.
    position: u64,
    /// What was given back so far.
    released: u64,
    /// What was written when we looked last.
    written: u64,
}

impl Ring {
    pub(super) fn open(map: Map, bytes: u32) -> Result<Self, ProbeError> {
        let Map::RingBuf(map) = map else {
            return Err(ProbeError::Incomplete { part: "a ring" });
        };
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let failed = |source| ProbeError::Read {
            what: "the ring".to_owned(),
            source,
        };
        let fd = map.fd().as_fd();
        let (access, bytes) = (libc::PROT_READ, bytes as usize);
        let consumer = Mapping::new(fd, page, 0, access | libc::PROT_WRITE).map_err(failed)?;
        let producer = Mapping::new(fd, page + 2 * bytes, page, access).map_err(failed)?;
        let mut ring = Self {
            map,
            consumer,
            producer,
            page,
            mask: bytes as u64 - 1,
            position: 0,
            released: 0,
            written: 0,
        };
        ring.position = ring.consumer.position().load(Ordering::Acquire);
        ring.released = ring.position;
        Ok(ring)
    }

    /// The next record; none while the ring is empty. Its room is free again some time after the next call.
    pub fn take(&mut self) -> Option<&[u8]> {
        if self.position - self.released > self.mask / KEPT {
            self.release();
        }
        loop {
            let Some(header) = self.next_header() else {
                // A writer wakes us only if we have read all that is before its record, as far as it can see. So it
                // must see that, and only then is it sure that there is nothing.
                if self.position == self.released {
                    return None;
                }
                self.release();
                fence(Ordering::SeqCst);
                continue;
            };
            let len = header & !(BUSY | DISCARDED);
            let at = self.position + HEADER;
            self.position = (at + u64::from(len)).next_multiple_of(8);
            if header & DISCARDED != 0 {
                continue;
            }
            let start = self.page + (at & self.mask) as usize;
            return self.producer.bytes(start, len as usize);
        }
    }

    /// The header of the next record that is complete.
    fn next_header(&mut self) -> Option<u32> {
        if self.position >= self.written {
            self.written = self.producer.position().load(Ordering::Acquire);
            if self.position >= self.written {
                return None;
            }
        }
        let at = self.page + (self.position & self.mask) as usize;
        let header = self.producer.word(at)?.load(Ordering::Acquire);
        (header & BUSY == 0).then_some(header)
    }

    /// Gives back the room of all that was read.
    fn release(&mut self) {
        self.released = self.position;
        let position = self.consumer.position();
        position.store(self.position, Ordering::Release);
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}

/// A part of the ring in this process's memory.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: memory that is this value's alone to unmap, and whose words are read and written as atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, len: usize, at: usize, access: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new mapping, of a descriptor that is open.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                access,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                at as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// The position at the start of the mapping's first page.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: a mapping is a page long at least and starts where one does; others use the word as an atomic too.
        unsafe { self.start.cast::<AtomicU64>().as_ref() }
    }

    /// The word at this offset, which is a multiple of 4.
    fn word(&self, at: usize) -> Option<&AtomicU32> {
        let is_inside = at.is_multiple_of(4) && at.checked_add(4)? <= self.len;
        // SAFETY: inside the mapping, and aligned.
        is_inside.then(|| unsafe { self.start.add(at).cast::<AtomicU32>().as_ref() })
    }

    /// The bytes there, which nobody writes until their room is given back.
    fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        let is_inside = at.checked_add(len)? <= self.len;
        // SAFETY: inside the mapping, and as said above.
        is_inside.then(|| unsafe { std::slice::from_raw_parts(self.start.add(at).as_ptr(), len) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; what was borrowed from it is gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
