#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netns_trace::fuzzing::names(bytes));
