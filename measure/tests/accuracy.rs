//! The quick accuracy suite passes: every line is exact or explained.

use lab_tests::{build, kernel};
use std::process::Command;

#[test]
fn every_row_of_the_quick_accuracy_suite_is_exact_or_explained() {
    if !kernel::available("every_row_of_the_quick_accuracy_suite_is_exact_or_explained") {
        return;
    }
    let suite = Command::new(env!("CARGO_BIN_EXE_accuracy"))
        .args(["--quick", "--probe"])
        .arg(build::binary("probe"))
        .output()
        .expect("the suite is built with this test");
    let table = String::from_utf8_lossy(&suite.stdout);
    println!("{table}");
    assert!(suite.status.success(), "{table}\n{}", String::from_utf8_lossy(&suite.stderr));
}
