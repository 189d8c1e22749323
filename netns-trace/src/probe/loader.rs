//! What is read of the kernel once, for all programs that are loaded: facts from its BTF, and aya's loader, which
//! parses all of the BTF when it is made. That takes longer, and more memory, than all else before the first tap is
//! attached.

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use aya::{Ebpf, EbpfError, EbpfLoader};

use super::btf;

static FACTS: OnceLock<btf::Facts> = OnceLock::new();
/// The one loader, once it is made.
static LOADER: Mutex<Option<EbpfLoader<'static>>> = Mutex::new(None);

/// Starts reading, beside what else there is to do before programs are loaded. Whoever loads waits for it.
pub fn prepare() {
    // Where there is no thread, it is read when it is wanted.
    let _facts = thread::Builder::new().spawn(facts);
    let _loader = thread::Builder::new().spawn(|| {
        let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
        loader.get_or_insert_with(fresh);
    });
}

/// What the programs are told of the kernel.
pub(super) fn facts() -> btf::Facts {
    *FACTS.get_or_init(btf::facts)
}

/// Loads an object. One at a time: `set` makes all settings anew.
pub(super) fn load(
    object: &[u8],
    set: impl FnOnce(&mut EbpfLoader<'static>),
) -> Result<Ebpf, EbpfError> {
    let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
    let loader = loader.get_or_insert_with(fresh);
    set(loader);
    loader.load(object)
}

fn fresh() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    // The programs need nothing relocated.
    loader.btf(None);
    loader
}
