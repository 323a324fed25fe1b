//! libFuzzer with the target `journal_entries`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("journal_entries").expect("a target"))(
    bytes
));
