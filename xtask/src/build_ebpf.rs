//! Builds the eBPF object, with whatever toolchain of this machine can, and checks that the
//! committed one belongs to the sources.
//!
//! Users get the committed object, so that netns-trace builds on stable Rust alone. Building it
//! anew needs a compiler with a core library for BPF, prebuilt (Debian's
//! `libstd-rust-web-dev-bpf`) or as source (rustup's `rust-src`), and bpf-linker.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

const TARGET: &str = "bpfel-unknown-none";
const BIN: &str = "netns-trace-ebpf";
/// The version of bpf-linker that the committed object was linked with.
const LINKER_VERSION: &str = "0.10.3";

/// What `cargo xtask build-ebpf` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Change nothing; fail if the committed object does not belong to the sources
    #[arg(long)]
    check: bool,
    /// Build into this file instead of the committed object
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    output: Option<PathBuf>,
}

/// Builds or checks.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = crate::root();
    let object = object_path();
    let origin = object.with_extension("txt");
    if options.check {
        return check(root, &object, &origin);
    }
    let toolchain = Toolchain::find()?;
    println!("building with {}", toolchain.compiler);
    let bytes = toolchain.build(root)?;
    if let Some(output) = &options.output {
        fs::write(output, &bytes).with_context(|| format!("cannot write {}", output.display()))?;
        println!("{}: {} bytes", output.display(), bytes.len());
        return Ok(());
    }
    fs::create_dir_all(object.parent().context("the object has a folder")?)?;
    fs::write(&object, &bytes)?;
    fs::write(
        &origin,
        format!(
            "What netns-trace.bpf.o was built from and with; `cargo xtask build-ebpf` rewrites both.\n\n\
             compiler: {}\nlinker: {}\nsources: {}\nobject: {}\n",
            toolchain.compiler,
            toolchain.linker_version,
            sources_hash(root)?,
            hex(&bytes),
        ),
    )?;
    println!("{}: {} bytes", object.display(), bytes.len());
    Ok(())
}

/// Runs `work` with an object built by this machine's compiler in the committed one's place, where
/// the two differ. None where they are the same, or where nothing here builds one.
pub(crate) fn with_fresh_object<T>(work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(why) => {
            println!("no tests on a freshly built object: {why:#}");
            return Ok(None);
        }
    };
    let committed = Replaced {
        path: object_path(),
        bytes: fs::read(object_path()).context("cannot read the committed object")?,
    };
    let fresh = toolchain.build(crate::root())?;
    if fresh == committed.bytes {
        println!("a freshly built object is the committed one: the tests ran on both");
        return Ok(None);
    }
    println!("the same on an object built with {}", toolchain.compiler);
    fs::write(&committed.path, fresh).context("cannot put the fresh object in place")?;
    work().map(Some)
}

/// A file that gets its bytes back.
struct Replaced {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Drop for Replaced {
    fn drop(&mut self) {
        if let Err(why) = fs::write(&self.path, &self.bytes) {
            eprintln!("{} is not the committed object: {why}", self.path.display());
        }
    }
}

fn object_path() -> PathBuf {
    crate::root().join("netns-trace-ebpf/object/netns-trace.bpf.o")
}

fn check(root: &Path, object: &Path, origin: &Path) -> Result<()> {
    const REBUILD: &str = "run `cargo xtask build-ebpf` and commit what it writes";
    let text = fs::read_to_string(origin)
        .with_context(|| format!("cannot read {}: {REBUILD}", origin.display()))?;
    let recorded = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
            .with_context(|| format!("{} lacks `{key}`: {REBUILD}", origin.display()))
    };
    let bytes =
        fs::read(object).with_context(|| format!("cannot read {}: {REBUILD}", object.display()))?;
    ensure!(
        recorded("object")? == hex(&bytes),
        "{} is not the object that {} describes: {REBUILD}",
        object.display(),
        origin.display()
    );
    ensure!(
        recorded("sources")? == sources_hash(root)?,
        "the kernel side's sources changed since {} was built: {REBUILD}",
        object.display()
    );
    println!("the eBPF object belongs to the sources (by their hash)");
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(why) => {
            println!("not rebuilt for comparison: {why:#}");
            return Ok(());
        }
    };
    let here = (
        toolchain.compiler.as_str(),
        toolchain.linker_version.as_str(),
    );
    if here != (recorded("compiler")?, recorded("linker")?) {
        println!(
            "not rebuilt for comparison: it was built with {} and {}, here are {} and {}",
            recorded("compiler")?,
            recorded("linker")?,
            here.0,
            here.1
        );
        return Ok(());
    }
    ensure!(
        toolchain.build(root)? == bytes,
        "a rebuild with the same compiler differs from {}: {REBUILD}",
        object.display()
    );
    println!("a rebuild with {} gives the same bytes", here.0);
    Ok(())
}

/// A compiler that can build for BPF, and its linker.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// `rustc --version`.
    compiler: String,
    /// The core library is built along, from source.
    build_std: bool,
    linker: PathBuf,
    /// `bpf-linker --version`.
    linker_version: String,
    /// Where bpf-linker finds the LLVM of a rustup toolchain.
    library_path: Option<PathBuf>,
}

impl Toolchain {
    fn find() -> Result<Self> {
        let mut bins = vec![PathBuf::from("/usr/bin")];
        bins.extend(rustup_toolchains().into_iter().map(|root| root.join("bin")));
        let linker = find_linker()?;
        let linker_version = version_of(&linker).context("bpf-linker does not run")?;
        for prebuilt in [true, false] {
            for bin in &bins {
                let (rustc, cargo) = (bin.join("rustc"), bin.join("cargo"));
                let (Some(sysroot), Some(compiler)) = (sysroot(&rustc), version_of(&rustc)) else {
                    continue;
                };
                let has = sysroot
                    .join("lib/rustlib")
                    .join(if prebuilt { TARGET } else { "src" });
                if has.is_dir() && version_of(&cargo).is_some() {
                    return Ok(Self {
                        cargo,
                        rustc,
                        compiler,
                        build_std: !prebuilt,
                        linker,
                        linker_version,
                        library_path: llvm_library_path(),
                    });
                }
            }
        }
        bail!(
            "no Rust toolchain here has a core library for BPF: install Debian's rustc-web, \
             cargo-web and libstd-rust-web-dev-bpf, or run `rustup toolchain install nightly \
             --component rust-src`"
        )
    }

    fn build(&self, root: &Path) -> Result<Vec<u8>> {
        let target_dir = root.join("target/ebpf");
        // Neither the object nor what it is compared with may name this machine's folders.
        let mut flags = vec![
            "-Cdebuginfo=2".to_owned(),
            format!("-Clinker={}", self.linker.display()),
            "-Clink-arg=--btf".to_owned(),
            format!("--remap-path-prefix={}=/netns-trace", root.display()),
        ];
        if let Some(cargo_home) = cargo_home() {
            flags.push(format!(
                "--remap-path-prefix={}=/cargo",
                cargo_home.display()
            ));
        }
        let mut command = Command::new(&self.cargo);
        command
            .current_dir(root)
            .args([
                "build",
                "--locked",
                "--release",
                "--quiet",
                "--target",
                TARGET,
            ])
            .args(["--package", BIN, "--features", "programs", "--bin", BIN])
            .env("RUSTC", &self.rustc)
            // Building for BPF needs unstable flags, which a stable compiler takes so.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", &target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env_remove("RUSTUP_TOOLCHAIN");
        if self.build_std {
            command.args(["-Z", "build-std=core"]);
        }
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        let status = command.status().context("cannot run cargo")?;
        ensure!(
            status.success(),
            "building the eBPF object failed ({status})"
        );
        let built = target_dir.join(TARGET).join("release").join(BIN);
        let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        strip(&bytes).context("cannot strip the eBPF object")
    }
}

/// Leaves DWARF out, from which the linker has made BTF: no loader reads it.
fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = object::build::elf::Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug") || name.starts_with(".rel.debug");
    }
    builder.delete_orphans();
    // LLVM keeps the sections' names among the symbols'; the writer wants them apart.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = object::build::elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// One hash over all that decides what the object holds: the crate's files, and the locked
/// versions of what it is built with.
fn sources_hash(root: &Path) -> Result<String> {
    let krate = root.join("netns-trace-ebpf");
    let mut files = vec![krate.join("Cargo.toml")];
    collect(&krate.join("src"), &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.strip_prefix(root)?.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(fs::read(&file)?);
    }
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    for package in lock.split("[[package]]") {
        if package.contains("\nname = \"aya-ebpf") || package.contains("\nname = \"aya-log-ebpf") {
            hash.update(package);
        }
    }
    Ok(hex_of(&hash.finalize()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    hex_of(&Sha256::digest(bytes))
}

fn hex_of(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn version_of(program: &Path) -> Option<String> {
    output_of(Command::new(program).arg("--version"))
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    output_of(Command::new(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
}

fn rustup_toolchains() -> Vec<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")));
    let mut toolchains: Vec<PathBuf> = home
        .and_then(|home| fs::read_dir(home.join("toolchains")).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    toolchains.sort();
    toolchains
}

fn find_linker() -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    folders.extend(cargo_home().map(|home| home.join("bin")));
    folders
        .into_iter()
        .map(|folder| folder.join("bpf-linker"))
        .find(|linker| linker.is_file())
        .with_context(|| {
            format!(
                "bpf-linker is missing: run `cargo install bpf-linker --version {LINKER_VERSION}`"
            )
        })
}

/// The folder of a rustup toolchain's libLLVM, which bpf-linker loads when it starts.
fn llvm_library_path() -> Option<PathBuf> {
    let has_llvm = |lib: &PathBuf| {
        fs::read_dir(lib).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libLLVM"))
            })
        })
    };
    let running = sysroot(Path::new("rustc")).map(|root| root.join("lib"));
    running
        .into_iter()
        .chain(rustup_toolchains().into_iter().map(|root| root.join("lib")))
        .find(has_llvm)
}
