//! From a lab's numbers to its namespaces, pairs, addresses and routes, before anything is made.

use std::net::IpAddr;

use super::{
    Cidr, Interface, LabSpec, Node, NodeRole, Topology,
    spec::{Plan, host_side, letters, outside},
};

/// Everything that is to be made.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) nodes: Vec<Node>,
    /// For each node, its routes: destination (`None` for all) and gateway.
    pub(super) routes: Vec<Vec<(Option<Cidr>, IpAddr)>>,
    pub(super) pairs: Vec<Pair>,
    /// Whether the nodes pass on packets of others.
    pub(super) forward: bool,
}

/// A veth pair between two nodes, by their numbers.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) peer: usize,
    pub(super) peer_name: String,
    /// Whether the first end becomes a port of `br0`.
    pub(super) bridged: bool,
}

/// The router's bridge.
pub(super) const BRIDGE: &str = "br0";
/// The router's way outside.
pub(super) const UPLINK: &str = "up0";

pub(super) fn lay_out(spec: &LabSpec, plan: &Plan) -> Layout {
    let containers: Vec<Node> = (0..plan.count)
        .map(|number| {
            Node::new(
                format!("{}-{}", spec.name, letters(number)),
                NodeRole::Container,
            )
        })
        .collect();
    let mut layout = Layout {
        routes: vec![Vec::new(); containers.len()],
        nodes: containers,
        pairs: Vec::new(),
        forward: matches!(spec.topology, Topology::Ring),
    };
    match spec.topology {
        Topology::Bridge => layout.bridge(&spec.name, plan),
        Topology::Nat => {
            layout.bridge(&spec.name, plan);
            layout.outside(&spec.name);
        }
        Topology::Direct => {
            layout.join((0, "eth0"), (1, "eth0"), plan.host(1), plan.host(2));
        }
        Topology::Ring => layout.ring(plan),
        Topology::Mesh => layout.mesh(plan),
        Topology::Attached => {}
    }
    layout
}

impl Layout {
    fn bridge(&mut self, name: &str, plan: &Plan) {
        let mut router = Node::new(format!("{name}-router"), NodeRole::Router);
        router.add(BRIDGE, plan.host(1));
        let at = self.nodes.len();
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let host_side = host_side(&node.name);
            router.add(&host_side, Vec::new());
            node.add("eth0", plan.host(number as u32 + 2));
            let gateways = plan.host(1).into_iter().map(|cidr| (None, cidr.address));
            self.routes[number].extend(gateways);
            self.pairs.push(Pair {
                at,
                name: host_side,
                peer: number,
                peer_name: "eth0".into(),
                bridged: true,
            });
        }
        self.nodes.push(router);
        self.routes.push(Vec::new());
    }

    /// Beside the router made last, what lies beyond it: a namespace that has no route back to
    /// the containers, so that only masqueraded packets are answered.
    fn outside(&mut self, name: &str) {
        let router = self.nodes.len() - 1;
        self.nodes
            .push(Node::new(format!("{name}-outside"), NodeRole::Outside));
        self.routes.push(Vec::new());
        self.join(
            (router, UPLINK),
            (router + 1, "eth0"),
            outside(1),
            outside(2),
        );
        let gateways = outside(2).into_iter().map(|cidr| (None, cidr.address));
        self.routes[router].extend(gateways);
    }

    /// Pair number k joins node k's eth0 to the next one's eth1.
    fn ring(&mut self, plan: &Plan) {
        let count = plan.count;
        for k in 0..count {
            let next = (k + 1) % count;
            let (one, other) = (plan.pair(k as u32, 0), plan.pair(k as u32, 1));
            self.join((k, "eth0"), (next, "eth1"), one, other);
        }
        for node in 0..count {
            let last = (node + count - 1) % count;
            for pair in (0..count).filter(|&pair| pair != node && pair != last) {
                let onward = (pair + count - node) % count; // hops to the pair's nearer end
                let back = (node + count - pair - 1) % count;
                let gateway = if onward <= back {
                    plan.pair(node as u32, 1)
                } else {
                    plan.pair(last as u32, 0)
                };
                for (to, by) in plan.pair(pair as u32, 0).into_iter().zip(gateway) {
                    self.routes[node].push((Some(to), by.address));
                }
            }
        }
    }

    /// A node's interfaces are numbered in the order of the others. Each node reaches every
    /// address of another one over the pair that joins both.
    fn mesh(&mut self, plan: &Plan) {
        let mut pairs = Vec::new();
        for i in 0..plan.count {
            for j in i + 1..plan.count {
                let number = pairs.len() as u32;
                let ends = [plan.pair(number, 0), plan.pair(number, 1)];
                let (of_i, of_j) = (format!("eth{}", j - 1), format!("eth{i}"));
                let [one, other] = ends.clone();
                self.join((i, &of_i), (j, &of_j), one, other);
                pairs.push(([i, j], ends));
            }
        }
        for ([i, j], direct) in &pairs {
            for (node, other, gateways) in [(*i, *j, &direct[1]), (*j, *i, &direct[0])] {
                for (nodes, ends) in pairs.iter().filter(|(nodes, _)| !nodes.contains(&node)) {
                    let Some(end) = nodes.iter().position(|&at| at == other) else {
                        continue;
                    };
                    for (to, by) in ends[end].iter().zip(gateways) {
                        let prefix = if to.address.is_ipv4() { 32 } else { 128 };
                        let to = Cidr { prefix, ..*to };
                        self.routes[node].push((Some(to), by.address));
                    }
                }
            }
        }
    }

    fn join(
        &mut self,
        (at, name): (usize, &str),
        (peer, peer_name): (usize, &str),
        addresses: Vec<Cidr>,
        peer_addresses: Vec<Cidr>,
    ) {
        self.nodes[at].add(name, addresses);
        self.nodes[peer].add(peer_name, peer_addresses);
        self.pairs.push(Pair {
            at,
            name: name.into(),
            peer,
            peer_name: peer_name.into(),
            bridged: false,
        });
    }
}

impl Node {
    pub(super) fn new(name: String, role: NodeRole) -> Self {
        Self {
            path: super::names::path_of(&name),
            name,
            role,
            inode: None,
            cookie: None,
            interfaces: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, name: &str, addresses: Vec<Cidr>) {
        self.interfaces.push(Interface {
            name: name.into(),
            addresses,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(topology: Topology, count: usize) -> Layout {
        let mut spec = LabSpec::new(topology, "lab");
        spec.count = Some(count);
        lay_out(&spec, &spec.plan().expect("a plan"))
    }

    #[test]
    fn a_bridge_lab_has_a_router() {
        let layout = layout(Topology::Bridge, 2);
        let names: Vec<&str> = layout.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["lab-a", "lab-b", "lab-router"]);
        let router: Vec<&str> = layout.nodes[2]
            .interfaces
            .iter()
            .map(|i| i.name.as_str())
            .collect();
        assert_eq!(router, ["br0", "vlab-a", "vlab-b"]);
        assert_eq!(layout.routes[0][0].1.to_string(), "10.77.0.1");
    }

    #[test]
    fn every_pair_of_a_mesh_is_joined_once() {
        let layout = layout(Topology::Mesh, 4);
        assert_eq!(layout.pairs.len(), 6);
        for node in &layout.nodes {
            let mut names: Vec<&str> = node.interfaces.iter().map(|i| i.name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["eth0", "eth1", "eth2"]);
        }
    }

    #[test]
    fn a_ring_is_routed_the_shorter_way() {
        let layout = layout(Topology::Ring, 4);
        let shown: Vec<String> = layout.routes[0]
            .iter()
            .filter(|(_, gateway)| gateway.is_ipv4())
            .map(|(to, gateway)| format!("{} by {gateway}", to.expect("a destination")))
            .collect();
        assert_eq!(
            shown,
            ["10.77.0.5/30 by 10.77.0.2", "10.77.0.9/30 by 10.77.0.13"]
        );
    }
}
