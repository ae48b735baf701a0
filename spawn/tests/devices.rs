//! Which devices a container can use.

mod common;

use common::{host, rspawn};

#[test]
fn the_hosts_disks_cannot_be_made_or_opened() {
    let host = host();
    let tree = host.busybox_tree();
    // A node that is in the tree already is no way around.
    host.run(&format!("mknod {}/disk b 7 0", tree.display()));
    let script = "mknod /dev/vda b 7 0; mknod /dev/mem c 1 1; head -c1 /disk; \
        mknod /dev/new c 1 3 && echo x >/dev/new && echo null; mknod /tmp/white c 0 0 && echo white";
    let output = rspawn(&host, &tree, &["/bin/sh", "-c", script])
        .output()
        .expect_success();
    assert_eq!(output.stdout, "null\nwhite\n", "{output}");
    assert_eq!(
        output.stderr.matches("Operation not permitted").count(),
        3,
        "{output}"
    );
}

#[test]
fn a_device_that_is_shown_can_be_used() {
    let host = host();
    let tree = host.busybox_tree();
    host.run("mknod /root/disk b 7 0");
    let options = [
        "--bind=/root/disk:/dev/disk",
        "/bin/sh",
        "-c",
        ": </dev/disk && echo open",
    ];
    let output = rspawn(&host, &tree, &options).output().expect_success();
    assert_eq!(output.stdout, "open\n", "{output}");
}
