//! Containers of containerd, by `ctr`, and pods of its CRI plugin: their namespaces and networks as
//! netns-trace sees them.

use netns_trace_tests::{
    listed::Listed,
    packets, require_root,
    runtimes::{Containerd, Cri},
    sightings, tool,
};

#[test]
fn containers_of_ctr_are_found_by_their_ids() {
    require_root!();
    let Some(containerd) = Containerd::private() else {
        return;
    };
    let machine = containerd.machine();
    containerd.run("default", "alone", &[]);
    containerd.run("default", "open", &["--net-host"]);
    machine.must("ip", &["netns", "add", "made"]);
    containerd.run(
        "default",
        "guest",
        &["--with-ns", "network:/run/netns/made"],
    );
    let inode = |id: &str| machine.inode(containerd.pid("default", id));
    let all = Listed::by(&mut machine.netns_trace(["list", "--json"]));
    for (id, inode) in ["alone", "open", "guest"].map(|id| (id, inode(id))) {
        let report = machine.json(&["inspect", &format!("ctr:{id}"), "--json"]);
        assert_eq!(report["inode"], inode, "{id}");
        let namespace = all.get(inode);
        assert_eq!(namespace["containers"][0]["name"], id, "{namespace}");
        assert_eq!(namespace["containers"][0]["runtime"], "containerd");
        assert_eq!(namespace["host"], id == "open");
    }
    assert_eq!(
        all.get(inode("guest"))["names"],
        serde_json::json!(["netns:made"])
    );
    let links = ["exec", "ctr:alone", "--", "ip", "-o", "link"];
    assert_eq!(
        tool::must(machine.netns_trace(links)).lines().count(),
        1,
        "loopback alone"
    );
    containerd.remove("default", "alone");
    let done = machine.run(["inspect", "ctr:alone"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        done.stderr
            .contains("there is no containerd container \"alone\""),
        "{}",
        done.stderr
    );
}

#[test]
fn a_pod_is_one_namespace_with_all_its_containers() {
    require_root!();
    let Some(containerd) = Containerd::private() else {
        return;
    };
    let machine = containerd.machine();
    let cri = Cri::of(&containerd);
    let pod = cri.run_pod("shop", "web-7", false);
    let nginx = cri.run_container(&pod, "nginx");
    let log = cri.run_container(&pod, "log");
    let _db = cri.run_pod("shop", "db-0", false);
    let pid = containerd.pid("k8s.io", &pod.id);
    let inode = machine.inode(pid);

    let all = Listed::by(&mut machine.netns_trace(["list", "--json"]));
    let containers = all.get(inode)["containers"].as_array().expect("containers");
    let mut ids: Vec<_> = containers.iter().map(|one| one["id"].as_str()).collect();
    ids.sort_unstable();
    let mut expected = [&pod.id, &nginx, &log].map(|id| Some(id.as_str()));
    expected.sort_unstable();
    assert_eq!(ids, expected);
    for container in containers {
        assert_eq!(container["pod"]["namespace"], "shop", "{container}");
        assert_eq!(container["pod"]["name"], "web-7", "{container}");
    }
    let table = machine.run(["list"]).stdout;
    assert_eq!(table.matches("pod:shop/web-7").count(), 1, "{table}");
    assert!(!table.contains("shares it"), "{table}");
    let eth0 = all.interface(inode, "eth0");
    assert_eq!(eth0["peer"]["master"], "cni0");
    assert_eq!(eth0["peer"]["netns_inode"], machine.host_inode());

    let report = machine.json(&["inspect", "pod:shop/web-7", "--json"]);
    assert_eq!(
        (&report["inode"], &report["label"]),
        (&inode.into(), &"shop/web-7".into())
    );
    // The CNI plugin's own name for it.
    let name = report["names"][0].as_str().expect("a name");
    let there = machine.must("stat", &["-L", "-c", "%i", &format!("/run/netns/{name}")]);
    assert_eq!(there.trim(), inode.to_string());

    let file = machine.folder().join("pod.pcapng");
    let text = file.display().to_string();
    let witness = machine.witnesses(pid, "eth0");
    let capture = machine.capture(&format!("shop/web-7 -w {text}"), "listening on");
    let db = machine.json(&["inspect", "shop/db-0", "--json"]);
    let address = db["interfaces"][1]["addresses"][0]["address"].as_str();
    let (address, _) = address
        .and_then(|text| text.split_once('/'))
        .expect("an address");
    let ping = format!("exec shop/web-7 -- ping -c 3 -i 0.01 -W 5 {address}");
    tool::must(machine.netns_trace(ping.split(' ')));
    let [received, sent] = witness.map(|one| packets::icmp(one.all()));
    assert!(capture.stop().status.success());
    let seen = sightings::read(&file);
    let ours = |egress| packets::icmp(sightings::of(&seen, "eth0@shop/web-7", egress));
    assert_eq!((received.len(), sent.len()), (3, 3));
    packets::assert_same(&ours(false), &received, "received");
    packets::assert_same(&ours(true), &sent, "sent");

    cri.remove_pod(&pod);
    let all = Listed::by(&mut machine.netns_trace(["list", "--json"]));
    assert!(all.find(inode).is_none(), "it ended with its pod");
    let done = machine.run(["inspect", "shop/web-7"]);
    assert_eq!(done.status.code(), Some(1), "{}", done.stdout);
}
