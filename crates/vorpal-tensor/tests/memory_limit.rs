//! `VORPAL_MEMORY_LIMIT`, in a process of its own because devices read it once.

use vorpal_tensor::{Device, Error};

#[test]
fn the_limit_of_the_environment_holds() {
    if std::env::var_os("VORPAL_MEMORY_LIMIT").is_none() {
        // The same test again with the variable set: the environment of a running process is not ours to change.
        let me = std::env::current_exe().expect("this test");
        let status = std::process::Command::new(me).env("VORPAL_MEMORY_LIMIT", "1M").status();
        assert!(status.expect("it starts").success());
        return;
    }
    let device = Device::cpu();
    let half = device.alloc(600 << 10).expect("600 KiB of 1 MiB");
    let error = device.alloc(600 << 10).expect_err("1.2 MiB of 1 MiB");
    let text = error.to_string();
    assert!(matches!(error, Error::OutOfMemory { limit: 1_048_576, .. }), "{text}");
    assert!(text.contains("asked for") && text.contains("in use") && text.contains("1048576"), "{text}");
    drop(half);
    assert!(device.alloc(1000 << 10).is_ok(), "free blocks make room");
}
