//! The programs that see an interface's packets, in the order in which they do: those of TCX
//! chains, then the filters of the clsact qdisc. Everybody's, not only ours. Only lists.
//!
//! Every function speaks for the namespace that the calling thread is in.

use std::io;

use serde::Serialize;

use super::{
    Hook, clsact,
    link::{bpf, info_of, open_by_id},
    tc,
};
use crate::privilege::{Capability, why_denied};

/// Commands of the bpf system call, and attach types.
/// <https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/bpf.h#L881>
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
/// `BPF_MPROG_MAX` is 64: no chain is longer; kernel/bpf/mprog.c.
const LONGEST_CHAIN: usize = 64;
/// The names of our programs begin so; they fit the 15 letters that the kernel keeps.
const OURS: &str = "netns_trace";

/// A loaded program, as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its number, as `bpftool prog` prints it.
    pub id: u32,
    /// Its name, cut to 15 letters by the kernel. Not safe to print.
    pub name: Option<String>,
    /// The hash of its instructions, as `bpftool prog` prints it.
    pub tag: Option<String>,
    /// Whether it is one of netns-trace.
    pub ours: bool,
}

/// A program at an interface's hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// `ingress`, what the interface receives, or `egress`, what it sends.
    pub hook: &'static str,
    /// `tcx`, or what sort of filter of the clsact qdisc it is, such as `bpf` or `flower`.
    pub method: String,
    /// Of a filter: its priority; lower ones come first.
    pub priority: Option<u16>,
    /// Of a filter: its number within its priority.
    pub handle: Option<u32>,
    /// The program, where it is one.
    #[serde(flatten)]
    pub program: Option<Program>,
}

/// `struct { … } query` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    attach_flags_of_each: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The start of `struct bpf_prog_info`, up to the name; from 4.15.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// The programs at both hooks of an interface, in the order in which packets meet them: a TCX
/// chain comes before the filters. A kernel before 6.6 has no TCX. The sentences tell what the
/// kernel does not.
pub fn programs_here(ifindex: u32) -> (Vec<Listed>, Vec<String>) {
    let (mut listed, mut unseen) = (Vec::new(), Vec::new());
    for hook in Hook::BOTH {
        match chain(ifindex, hook) {
            Ok(ids) => listed.extend(ids.into_iter().map(|id| in_chain(hook, id))),
            // The interface went away meanwhile.
            Err(why) if why.raw_os_error() == Some(libc::ENODEV) => {}
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => unseen.push(format!(
                "TCX {hook}: {}",
                why_denied(&[Capability::NetAdmin])
            )),
            Err(why) => unseen.push(format!("TCX {hook}: {why}")),
        }
        match tc::filters(ifindex, hook) {
            Ok(filters) => listed.extend(filters.into_iter().map(|filter| on_clsact(hook, filter))),
            Err(why) if clsact::is_no_device(&why) => {}
            Err(why) => unseen.push(format!("clsact {hook}: {why}")),
        }
    }
    (listed, unseen)
}

fn in_chain(hook: Hook, id: u32) -> Listed {
    Listed {
        hook: name_of(hook),
        method: "tcx".to_owned(),
        priority: None,
        handle: None,
        program: Some(describe(id)),
    }
}

fn on_clsact(hook: Hook, filter: tc::ListedFilter) -> Listed {
    let described = filter.program.map(describe);
    let program = described.map(|program| Program {
        name: filter.name.or(program.name),
        ..program
    });
    Listed {
        hook: name_of(hook),
        method: filter.kind,
        priority: Some(filter.priority),
        handle: Some(filter.handle),
        program,
    }
}

const fn name_of(hook: Hook) -> &'static str {
    match hook {
        Hook::Ingress => "ingress",
        Hook::Egress => "egress",
    }
}

/// The ids of a TCX chain, in their order.
fn chain(ifindex: u32, hook: Hook) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; LONGEST_CHAIN];
    let mut query = Query {
        target: ifindex,
        attach_type: match hook {
            Hook::Ingress => TCX_INGRESS,
            Hook::Egress => TCX_EGRESS,
        },
        ids: ids.as_mut_ptr() as u64,
        count: LONGEST_CHAIN as u32,
        ..Query::default()
    };
    match bpf(PROG_QUERY, &mut query) {
        Ok(_) => Ok(ids[..(query.count as usize).min(LONGEST_CHAIN)].to_vec()),
        // Before 6.6.
        Err(why) if why.raw_os_error() == Some(libc::EINVAL) => Ok(Vec::new()),
        Err(why) => Err(why),
    }
}

/// What the kernel tells of a program: its id alone where it has gone meanwhile, or where
/// CAP_SYS_ADMIN is missing.
#[must_use]
pub fn describe(id: u32) -> Program {
    let mut program = Program {
        id,
        ..Program::default()
    };
    let info = open_by_id(PROG_GET_FD_BY_ID, id).and_then(|fd| info_of::<Info>(&fd));
    if let Ok(info) = info {
        let name = crate::topology::netlink::text(&info.name);
        program.ours = name.starts_with(OURS);
        program.name = Some(name).filter(|name| !name.is_empty());
        program.tag = Some(info.tag.map(|byte| format!("{byte:02x}")).concat());
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_are_the_kernels() {
        assert_eq!(size_of::<Query>(), 64);
        assert_eq!(std::mem::offset_of!(Info, name), 64);
    }

    #[test]
    fn our_programs_names_are_known_as_ours() {
        for name in Hook::PROGRAMS {
            assert!(name.starts_with(OURS), "{name}");
            assert!(name.len() <= 15, "the kernel cuts {name}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_has_its_id_alone() {
        let program = describe(u32::MAX);
        assert_eq!(
            (program.id, program.name, program.ours),
            (u32::MAX, None, false)
        );
    }
}
