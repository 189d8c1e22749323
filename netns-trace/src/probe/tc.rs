//! Traffic control through netlink: the clsact qdisc of an interface and the filters on it.
//!
//! Every function speaks for the namespace that the calling thread is in.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};

use super::Hook;
use crate::topology::netlink::Netlink;

const KIND: &str = "clsact";
/// `TC_H_CLSACT` and its two minors:
/// <https://github.com/torvalds/linux/blob/v5.10/include/uapi/linux/pkt_sched.h#L78>
const CLSACT: TcHandle = TcHandle { major: 0xffff, minor: 0xfff1 };
const CLSACT_QDISC: TcHandle = TcHandle { major: 0xffff, minor: 0 };
const ETH_P_ALL: u16 = 0x0003;

/// A filter on a clsact qdisc, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedFilter {
    pub(super) priority: u16,
    pub(super) handle: u32,
    /// The program's name, of a BPF filter.
    pub(super) name: Option<String>,
}

fn parent(hook: Hook) -> TcHandle {
    TcHandle {
        major: 0xffff,
        minor: match hook {
            Hook::Ingress => 0xfff2,
            Hook::Egress => 0xfff3,
        },
    }
}

fn qdisc(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = ifindex as i32;
    message.header.parent = CLSACT;
    message.header.handle = CLSACT_QDISC;
    message.attributes.push(TcAttribute::Kind(KIND.to_owned()));
    message
}

/// Whether the interface has a clsact qdisc.
pub(super) fn has_clsact(ifindex: u32) -> io::Result<bool> {
    let mut request = TcMessage::default();
    request.header.index = ifindex as i32;
    let listed = send(
        RouteNetlinkMessage::GetQueueDiscipline(request),
        NLM_F_REQUEST | NLM_F_DUMP,
    )?;
    Ok(listed.into_iter().any(|message| match message {
        RouteNetlinkMessage::NewQueueDiscipline(found) => {
            found.header.index == ifindex as i32
                && found.attributes.contains(&TcAttribute::Kind(KIND.to_owned()))
        }
        _ => false,
    }))
}

/// Adds the clsact qdisc; an error of kind `AlreadyExists` where there is one.
pub(super) fn add_clsact(ifindex: u32) -> io::Result<()> {
    send(
        RouteNetlinkMessage::NewQueueDiscipline(qdisc(ifindex)),
        NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    )?;
    Ok(())
}

/// Removes the clsact qdisc with all that is on it.
pub(super) fn delete_clsact(ifindex: u32) -> io::Result<()> {
    send(
        RouteNetlinkMessage::DelQueueDiscipline(qdisc(ifindex)),
        NLM_F_REQUEST | NLM_F_ACK,
    )?;
    Ok(())
}

/// The filters at one hook.
pub(super) fn filters(ifindex: u32, hook: Hook) -> io::Result<Vec<ListedFilter>> {
    let mut request = TcMessage::default();
    request.header.index = ifindex as i32;
    request.header.parent = parent(hook);
    let listed = send(
        RouteNetlinkMessage::GetTrafficFilter(request),
        NLM_F_REQUEST | NLM_F_DUMP,
    )?;
    Ok(listed
        .into_iter()
        .filter_map(|message| match message {
            // A priority without filters of its own is listed too, with handle 0.
            RouteNetlinkMessage::NewTrafficFilter(found) if found.header.handle != 0.into() => {
                Some(ListedFilter {
                    priority: (found.header.info >> 16) as u16,
                    handle: found.header.handle.into(),
                    name: program_name(&found),
                })
            }
            _ => None,
        })
        .collect())
}

fn program_name(filter: &TcMessage) -> Option<String> {
    filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
            _ => None,
        }),
        _ => None,
    })
}

/// Removes one BPF filter.
pub(super) fn delete_filter(
    ifindex: u32,
    hook: Hook,
    priority: u16,
    handle: u32,
) -> io::Result<()> {
    let mut message = TcMessage::default();
    message.header.index = ifindex as i32;
    message.header.parent = parent(hook);
    message.header.handle = handle.into();
    message.header.info = (u32::from(priority) << 16) | u32::from(ETH_P_ALL.to_be());
    message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    send(
        RouteNetlinkMessage::DelTrafficFilter(message),
        NLM_F_REQUEST | NLM_F_ACK,
    )?;
    Ok(())
}

fn send(payload: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut message = NetlinkMessage::from(payload);
    message.header.flags = flags;
    Netlink::open()?.send(message)
}
