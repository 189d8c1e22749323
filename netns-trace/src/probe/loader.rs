//! What is read of the kernel once, for all programs that are loaded: facts from its BTF, and aya's loader, which
//! parses all of the BTF when it is made. That takes longer than all else before the first tap is attached.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use aya::EbpfLoader;

use super::btf;

static FACTS: OnceLock<btf::Facts> = OnceLock::new();
/// Loaders that nobody uses now.
static SPARE: Mutex<Vec<EbpfLoader<'static>>> = Mutex::new(Vec::new());

/// Starts reading, beside what else there is to do before programs are loaded. Whoever loads waits for it.
pub fn prepare() {
    // Where there is no thread, it is read when it is wanted.
    let _facts = thread::Builder::new().spawn(facts);
    let _loader = thread::Builder::new().spawn(|| {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_empty() {
            spare.push(fresh());
        }
    });
}

/// What the programs are told of the kernel.
pub(super) fn facts() -> btf::Facts {
    *FACTS.get_or_init(btf::facts)
}

/// A loader, whose settings are those of whoever had it before.
pub(super) struct Loader(Option<EbpfLoader<'static>>);

impl Loader {
    pub(super) fn take() -> Self {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Some(spare.pop().unwrap_or_else(fresh)))
    }
}

fn fresh() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    // The programs need nothing relocated.
    loader.btf(None);
    loader
}

impl Deref for Loader {
    type Target = EbpfLoader<'static>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Loader {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        spare.extend(self.0.take());
    }
}
