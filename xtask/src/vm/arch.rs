//! The architectures that guests have, and what differs between them.

use std::env::consts;

/// An architecture, and what it takes to build for it and to run it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arch {
    /// As Debian names it.
    pub(crate) debian: &'static str,
    /// As Rust names its target.
    pub(crate) target: &'static str,
    /// As the GNU tools name it, at the start of their own names.
    gnu: &'static str,
    /// QEMU for it, and the package that has that.
    qemu: (&'static str, &'static str),
    /// The machine that QEMU is to be. Software emulation, although slow: a /dev/kvm inside a
    /// virtual machine may fail half-way.
    pub(crate) machine: &'static [&'static str],
    /// The kernel's name for the first serial line.
    pub(crate) console: &'static str,
    /// What builds for it on another architecture, with the packages. The library's start files are
    /// named too, since the compiler's package only recommends them.
    cross: [(&'static str, &'static str); 2],
}

pub(crate) static AMD64: Arch = Arch {
    debian: "amd64",
    target: "x86_64-unknown-linux-gnu",
    gnu: "x86_64-linux-gnu",
    qemu: ("qemu-system-x86_64", "qemu-system-x86"),
    machine: &["-machine", "accel=tcg"],
    console: "ttyS0",
    cross: [
        ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
        ("/usr/x86_64-linux-gnu/lib/crt1.o", "libc6-dev-amd64-cross"),
    ],
};

pub(crate) static ARM64: Arch = Arch {
    debian: "arm64",
    target: "aarch64-unknown-linux-gnu",
    gnu: "aarch64-linux-gnu",
    qemu: ("qemu-system-aarch64", "qemu-system-arm"),
    machine: &["-machine", "virt,accel=tcg", "-cpu", "cortex-a72"],
    console: "ttyAMA0",
    cross: [
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("/usr/aarch64-linux-gnu/lib/crt1.o", "libc6-dev-arm64-cross"),
    ],
};

/// What a machine of the architecture itself has instead.
const NATIVE: [(&str, &str); 2] = [("busybox", "busybox-static"), ("ldd", "libc-bin")];

impl Arch {
    /// Whether this machine is one.
    pub(crate) fn is_native(&self) -> bool {
        self.target.split('-').next() == Some(consts::ARCH)
    }

    /// The programs and files that guests of it take, with the packages that have them.
    pub(crate) fn needs(&self) -> Vec<(&'static str, &'static str)> {
        let tools = if self.is_native() { NATIVE } else { self.cross };
        [self.qemu].into_iter().chain(tools).collect()
    }

    /// The QEMU that is one.
    pub(crate) fn qemu(&self) -> &'static str {
        self.qemu.0
    }

    /// A GNU tool that works on its programs, such as `strip`.
    pub(crate) fn tool(&self, name: &str) -> String {
        if self.is_native() {
            name.to_owned()
        } else {
            format!("{}-{name}", self.gnu)
        }
    }

    /// Where its libraries are on a machine of another architecture.
    pub(crate) fn library_folder(&self) -> String {
        format!("/usr/{}/lib", self.gnu)
    }
}
