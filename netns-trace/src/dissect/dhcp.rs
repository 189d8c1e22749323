//! BOOTP and DHCP (RFC 951, 2131); the options are in `dhcp_options.rs`.

use super::{
    Printed, Printer,
    address::Mac,
    bytes::Bytes,
    put,
    words::{Words, bits},
};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const FLAGS: &Words = &[(0x8000, "Broadcast")];
/// Where the fields are.
const CLIENT_MAC: usize = 28;
const SERVER_NAME: (usize, usize) = (44, 64);
const BOOT_FILE: (usize, usize) = (108, 128);
const VENDOR: usize = 236;
/// What options start with (RFC 1497), and what CMU's once did.
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
const CMU_COOKIE: [u8; 4] = *b"CMU\0";

impl Printer<'_> {
    pub(super) fn dhcp(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "bootp";
        let operation = bytes.u8(0)?;
        match operation {
            REQUEST => self.to.push_str("BOOTP/DHCP, Request"),
            REPLY => self.to.push_str("BOOTP/DHCP, Reply"),
            other => put!(self, "BOOTP/DHCP, unknown (0x{other:02x})"),
        }
        let (hardware, hardware_len) = (bytes.u8(1)?, bytes.u8(2)?);
        let is_ethernet = hardware == 1 && hardware_len == 6;
        if is_ethernet && operation == REQUEST {
            put!(self, " from {}", Mac(bytes.slice(CLIENT_MAC, 6)?));
        }
        put!(self, ", length {len}");
        if self.verbose() == 0 {
            return Ok(());
        }
        if !bytes.has(10) {
            self.say_truncated();
            return Ok(());
        }
        if hardware != 1 {
            put!(self, ", htype {hardware}");
        }
        if !is_ethernet {
            put!(self, ", hlen {hardware_len}");
        }
        let (hops, transaction, seconds) = (bytes.u8(3)?, bytes.u32(4)?, bytes.u16(8)?);
        if hops != 0 {
            put!(self, ", hops {hops}");
        }
        if transaction != 0 {
            put!(self, ", xid 0x{transaction:x}");
        }
        if seconds != 0 {
            put!(self, ", secs {seconds}");
        }
        let flags = bytes.u16(10)?;
        put!(
            self,
            ", Flags [{}]",
            bits(FLAGS, flags.into(), ", ", "none")
        );
        if self.verbose() > 1 {
            put!(self, " (0x{flags:04x})");
        }
        for (name, at) in [
            ("Client", 12),
            ("Your", 16),
            ("Server", 20),
            ("Gateway", 24),
        ] {
            if bytes.u32(at)? != 0 {
                put!(self, "\n\t  {name}-IP {}", self.v4(bytes, at)?);
            }
        }
        if is_ethernet {
            put!(
                self,
                "\n\t  Client-Ethernet-Address {}",
                Mac(bytes.slice(CLIENT_MAC, 6)?)
            );
        }
        for (name, (at, field_len)) in [("sname", SERVER_NAME), ("file", BOOT_FILE)] {
            if bytes.u8(at)? == 0 {
                continue;
            }
            put!(self, "\n\t  {name} \"");
            let field = bytes.from(at).up_to(field_len).all();
            let end = field.iter().position(|byte| *byte == 0);
            self.characters(&field[..end.unwrap_or(field.len())]);
            self.to.push('"');
            if end.is_none() {
                self.say_truncated();
                return Ok(());
            }
        }
        let Ok(cookie) = bytes.array(VENDOR) else {
            self.say_truncated();
            return Ok(());
        };
        match cookie {
            MAGIC_COOKIE => self.dhcp_options(bytes.from(VENDOR)),
            CMU_COOKIE => self.cmu_vendor(bytes.from(VENDOR)),
            [0, 0, 0, 0] => Ok(()),
            other => {
                put!(self, "\n\t  Vendor-#0x{:x}", u32::from_be_bytes(other));
                Ok(())
            }
        }
    }

    fn cmu_vendor(&mut self, bytes: Bytes<'_>) -> Printed {
        self.to.push_str(" vend-cmu");
        if !bytes.has(8) {
            self.say_truncated();
            return Ok(());
        }
        let flags = bytes.u8(4)?;
        let has_mask = flags & 1 == 1;
        if flags & !1 != 0 {
            put!(self, " F:0x{flags:x}");
        }
        let names = ["SM*", "DG", "TS1", "TS2", "IEN1", "IEN2", "NS1", "NS2"];
        for field in [1, 0, 6, 7, 4, 5, 2, 3] {
            let at = 8 + field * 4;
            let Ok(address) = bytes.u32(at) else {
                self.say_truncated();
                return Ok(());
            };
            if address != 0 {
                let name = if field == 0 && has_mask {
                    "SM"
                } else {
                    names[field]
                };
                put!(self, " {name}:{}", self.v4(bytes, at)?);
            }
        }
        Ok(())
    }
}
