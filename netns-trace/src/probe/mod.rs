//! Loads, specialises and attaches the kernel side, and reads what it hands over: records from
//! the ring, and counters. The only place that knows aya.
//!
//! Knows nothing of files, text or the command line. A tap's programs are one load of the
//! embedded object, specialised by a read-only global; all loads of one [`Probe`] share their
//! large maps.

mod attach;
mod btf;
pub(crate) mod clsact;
mod cost;
mod error;
pub(crate) mod keeper;
mod kernel;
mod link;
pub(crate) mod lists;
mod loader;
mod makers;
mod maps;
pub(crate) mod marks;
mod memlock;
mod object;
mod pins;
mod programs;
mod ring;
mod run_time;
mod tc;
mod verdict;

use std::collections::BTreeMap;

use aya::{EbpfLoader, programs::SchedClassifier};
pub use netns_trace_ebpf::{HookCounters, Pair, TapConfig};
use netns_trace_ebpf::{MAX_SOCKETS, feature};

pub use self::{
    attach::{AttachMethod, AttachedTap, HandedTap, Hook, LoadedTap, TapSite},
    cost::measure_cost,
    error::ProbeError,
    kernel::{
        check_kernel, check_privileges, needed_later, needed_to_attach, needed_to_detach,
        possible_cpus,
    },
    lists::{leftovers, sweep},
    loader::prepare,
    makers::Makers,
    maps::{GroupSum, HandedMaps, KernelLog, ProbeMaps, SharedMaps},
    marks::orphaned_marks,
    memlock::check_memory,
    programs::{Listed, Program, describe, programs_here},
    ring::Ring,
    run_time::RunTime,
    verdict::{Verdict, test_run},
};
pub(crate) use self::{lists::share as share_list, memlock::lift as lift_memlock_limit};
use self::{makers::NotedMakers, pins::Pins};
use crate::filter::Insn;

/// What all taps of a capture have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeOptions {
    /// Size of the ring in bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Most taps that will be loaded.
    pub taps: u32,
    /// Segments that get a histogram.
    pub segments: u32,
    /// Which hooks are neighbours, by [`netns_trace_ebpf::pair_index`].
    pub pairs: BTreeMap<u32, Pair>,
    /// Whether it is wanted who makes sockets.
    pub makers: bool,
    /// Whether the kernel side's diagnostics are wanted.
    pub verbose: bool,
}

/// The kernel side of one capture: the maps that its taps share.
pub struct Probe {
    options: ProbeOptions,
    pins: Pins,
    maps: Option<SharedMaps>,
    loaded: bool,
    cpus: u32,
}

impl Probe {
    /// Prepares loading. The maps are made with the first tap.
    ///
    /// # Errors
    ///
    /// A kernel without what is needed, or a missing privilege.
    pub fn new(options: ProbeOptions) -> Result<Self, ProbeError> {
        check_kernel()?;
        check_privileges()?;
        memlock::lift();
        let (pins, cpus) = (Pins::new()?, kernel::possible_cpus()?);
        Ok(Self {
            options,
            pins,
            maps: None,
            loaded: false,
            cpus,
        })
    }

    /// Loads the programs for one tap, specialised by `config`, whose kernel facts are filled in
    /// here, and with a filter where one is given: only its packets are received then.
    ///
    /// # Errors
    ///
    /// What the kernel refuses, with the verifier's last words.
    pub fn load(
        &mut self,
        mut config: TapConfig,
        filter: Option<&[Insn]>,
    ) -> Result<LoadedTap, ProbeError> {
        if filter.is_some() {
            config
                .features
                .iter_mut()
                .for_each(|features| *features |= feature::FILTER);
        }
        config.cpus = self.cpus;
        let facts = loader::facts();
        if let Some(field) = facts.ip_summed {
            config.ip_summed_offset = field.byte;
            config.ip_summed_shift = field.shift;
        }
        let cast = facts.cast_to_kernel_context;
        config.reads_skb = u32::from(cast.is_some());
        let object = object::specialised(&config, cast, filter)?;
        let mut ebpf = loader::load(&object, |loader| self.set(loader)).map_err(error::load)?;
        for name in Hook::PROGRAMS {
            let program: &mut SchedClassifier = ebpf
                .program_mut(name)
                .ok_or(ProbeError::Incomplete { part: name })?
                .try_into()
                .map_err(error::program)?;
            program.load().map_err(error::program)?;
        }
        if !self.loaded {
            self.loaded = true;
            let options = &self.options;
            let mut maps = SharedMaps::take(&mut ebpf, options)?;
            if options.makers {
                match NotedMakers::attach(&mut ebpf) {
                    Ok(makers) => maps.note_makers(makers),
                    Err(why) => log::warn!(
                        "who makes new sockets is not seen ({}): short connections may stay without their process",
                        makers::why_not(&why)
                    ),
                }
            }
            self.maps = Some(maps);
        }
        Ok(LoadedTap::new(ebpf))
    }

    /// The settings that all taps have in common.
    fn set(&self, loader: &mut EbpfLoader<'static>) {
        /// aya-log's levels: debug, and nothing.
        static LEVELS: [u8; 2] = [4, 0];
        let options = &self.options;
        let level = &LEVELS[usize::from(!options.verbose)];
        loader
            .override_global(aya_log::LEVEL, level, true)
            .map_max_entries("RECORDS", options.ring_bytes)
            .map_max_entries("SCRATCH", self.cpus)
            .map_max_entries("COUNTERS", options.taps * 2)
            .map_max_entries("LAST_SEEN", options.taps)
            .map_max_entries("PAIRS", (options.taps * 2).pow(2))
            .map_max_entries("HISTOGRAMS", options.segments.max(1))
            .map_max_entries("SOCKETS", if options.makers { MAX_SOCKETS } else { 1 });
        for name in maps::SHARED {
            loader.map_pin_path(name, self.pins.path(name));
        }
    }

    /// Takes the maps that all taps share; there is one owner of them.
    ///
    /// # Errors
    ///
    /// No tap is loaded yet, or they were taken before.
    pub fn take_maps(&mut self) -> Result<SharedMaps, ProbeError> {
        self.maps.take().ok_or(ProbeError::Incomplete {
            part: "a loaded tap",
        })
    }
}
