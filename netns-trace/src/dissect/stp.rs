//! The spanning tree protocol (IEEE 802.1D, 802.1w): what Linux' bridges send.

use super::{
    Printed, Printer,
    address::Mac,
    bytes::{Bytes, Truncated},
    put,
    words::{Words, bits, word},
};

const VERSIONS: &Words = &[(0, "802.1d"), (2, "802.1w"), (3, "802.1s"), (4, "802.1aq")];
const TYPES: &Words = &[
    (CONFIG, "Config"),
    (RAPID, "Rapid STP"),
    (0x80, "Topology Change"),
];
const CONFIG: u32 = 0;
const RAPID: u32 = 2;
const FLAGS: &Words = &[
    (0x01, "Topology change"),
    (0x02, "Proposal"),
    (0x10, "Learn"),
    (0x20, "Forward"),
    (0x40, "Agreement"),
    (0x80, "Topology change ACK"),
];
const ROLES: &Words = &[
    (0, "Unknown"),
    (1, "Alternate"),
    (2, "Root"),
    (3, "Designated"),
];
/// Bytes of a configuration message, of one of the rapid protocol, and the least of a multiple one.
const CONFIG_LEN: usize = 35;
const RAPID_LEN: usize = 36;
const MULTIPLE_LEN: usize = 102;

impl Printer<'_> {
    pub(super) fn stp(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "stp";
        if len < 4 {
            self.say_invalid();
            return Ok(());
        }
        if bytes.u16(0)? != 0 {
            put!(self, "unknown STP version, length {len}");
            return Ok(());
        }
        let version = bytes.u8(2)?;
        let Some(name) = word(VERSIONS, version.into()) else {
            put!(self, "STP Unknown STP protocol (0x{version:02x})");
            return Ok(());
        };
        put!(self, "STP {name}");
        let kind = u32::from(bytes.u8(3)?);
        match word(TYPES, kind) {
            Some(name) => put!(self, ", {name}"),
            None => put!(self, ", Unknown BPDU Type (0x{kind:02x})"),
        }
        match (kind, version) {
            (CONFIG, _) if len >= CONFIG_LEN => self.stp_config(bytes, len, version),
            (RAPID, 2) if len >= RAPID_LEN => self.stp_config(bytes, len, version),
            (RAPID, 3 | 4) if len >= MULTIPLE_LEN => self.stp_multiple(bytes, len),
            (CONFIG | RAPID, 0 | 2..=4) if !(kind == RAPID && version == 0) => {
                self.say_invalid();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn stp_config(&mut self, bytes: Bytes<'_>, len: usize, version: u8) -> Printed {
        let flags = bytes.u8(4)?;
        put!(
            self,
            ", Flags [{}]",
            bits(FLAGS, flags.into(), ", ", "none")
        );
        put!(
            self,
            ", bridge-id {}.{:04x}, length {len}",
            bridge(bytes, 17)?,
            bytes.u16(25)?
        );
        if self.verbose() == 0 {
            return Ok(());
        }
        self.stp_times(bytes)?;
        put!(
            self,
            "\n\troot-id {}, root-pathcost {}",
            bridge(bytes, 5)?,
            bytes.u32(13)?
        );
        if version == 2 {
            put!(self, ", port-role {}", role(flags));
        }
        Ok(())
    }

    fn stp_times(&mut self, bytes: Bytes<'_>) -> Printed {
        // In units of 1/256 s.
        let seconds = |at| bytes.u16(at).map(|time| f64::from(time) / 256.0);
        put!(
            self,
            "\n\tmessage-age {:.2}s, max-age {:.2}s, hello-time {:.2}s, forwarding-delay {:.2}s",
            seconds(27)?,
            seconds(29)?,
            seconds(31)?,
            seconds(33)?
        );
        Ok(())
    }

    fn stp_multiple(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        let more = bytes.u16(36)?;
        if bytes.u8(35)? != 0 || len < RAPID_LEN + usize::from(more) + 2 {
            self.say_invalid();
            return Ok(());
        }
        let flags = bytes.u8(4)?;
        put!(
            self,
            ", CIST Flags [{}], length {len}",
            bits(FLAGS, flags.into(), ", ", "none")
        );
        if self.verbose() == 0 {
            return Ok(());
        }
        put!(self, "\n\tport-role {}, ", role(flags));
        put!(
            self,
            "CIST root-id {}, CIST ext-pathcost {}",
            bridge(bytes, 5)?,
            bytes.u32(13)?
        );
        put!(self, "\n\tCIST regional-root-id {}, ", bridge(bytes, 17)?);
        put!(self, "CIST port-id {:04x},", bytes.u16(25)?);
        self.stp_times(bytes)?;
        put!(self, "\n\tv3len {more}");
        Ok(())
    }
}

fn bridge(bytes: Bytes<'_>, at: usize) -> Result<String, Truncated> {
    Ok(format!(
        "{:04x}.{}",
        bytes.u16(at)?,
        Mac(bytes.slice(at + 2, 6)?)
    ))
}

fn role(flags: u8) -> &'static str {
    word(ROLES, (flags >> 2 & 3).into()).unwrap_or("Unknown")
}
