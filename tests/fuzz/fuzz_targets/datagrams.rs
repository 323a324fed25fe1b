//! libFuzzer with the target `datagrams`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("datagrams").expect("a target"))(
    bytes
));
