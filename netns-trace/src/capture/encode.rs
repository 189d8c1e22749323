//! What files are made of, in memory: for those who read it back at once.

use super::{InterfaceInfo, pcapng::PcapNg};

pub(crate) use super::{pcap::packet as pcap, pcapng::packet as pcapng};

/// What files with one interface begin with, as pcapng and as pcap.
///
/// # Errors
///
/// The interface cannot be told.
pub(crate) fn heads(info: &InterfaceInfo) -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut blocks = PcapNg::new(String::new())?;
    blocks.interface(info)?;
    let pcap = super::pcap::header(info).map_err(|why| why.to_string())?;
    Ok((blocks.take(), pcap))
}
