//! libFuzzer with the target `syslog_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("syslog_frames").expect("a target"))(
    bytes
));
