//! Stopping on request.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Lets Ctrl-C and the like ask the training to save and end; the second time the program ends at once.
pub fn listen() {
    let listening = ctrlc::set_handler(request);
    // Without it Ctrl-C ends the program at once, and the last checkpoint is whole all the same.
    drop(listening);
}

/// Asks the training to save and end, or ends the program if that was asked before.
pub fn request() {
    if ASKED.swap(true, Ordering::SeqCst) {
        crate::dashboard::release();
        std::process::exit(130);
    }
}

/// Asks the training to save and end.
pub fn ask() {
    ASKED.store(true, Ordering::SeqCst);
}

/// Whether somebody asked.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
