//! libFuzzer with the target `tail_positions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("tail_positions").expect("a target"))(
    bytes
));
