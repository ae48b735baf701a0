//! Options that list what may be given to them.

mod common;

use common::host;

#[test]
fn a_list_is_all_that_is_printed() {
    let host = host();
    let output = host.command("rspawn").arg("--console=help").output();
    let output = output.expect_success();
    assert_eq!(output.stdout, "interactive\nread-only\npipe\n");
    assert_eq!(output.stderr, "");
}
