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

/// Detaches every program that decides about devices from the container's cgroup.
const DETACH: &str = r#"
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long bpf(int command, union bpf_attr *attr) {
    return syscall(SYS_bpf, command, attr, sizeof *attr);
}

int main(void) {
    int group = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
    uint32_t ids[16] = {0};
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.query.target_fd = group;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_ids = (uintptr_t)ids;
    attr.query.prog_cnt = 16;
    if (group < 0 || bpf(BPF_PROG_QUERY, &attr) < 0)
        perror("query");
    unsigned count = attr.query.prog_cnt, detached = 0;
    for (unsigned at = 0; at < count; at++) {
        memset(&attr, 0, sizeof attr);
        attr.prog_id = ids[at];
        int program = bpf(BPF_PROG_GET_FD_BY_ID, &attr);
        memset(&attr, 0, sizeof attr);
        attr.target_fd = group;
        attr.attach_bpf_fd = program;
        attr.attach_type = BPF_CGROUP_DEVICE;
        detached += bpf(BPF_PROG_DETACH, &attr) == 0;
    }
    printf("%u of %u\n", detached, count);
    return 0;
}
"#;

#[test]
fn the_containers_root_cannot_take_the_policy_away() {
    let host = host();
    let tree = host.busybox_tree();
    let detach = host.compile("detach", DETACH, "-static");
    host.run(&format!(
        "cp {} {}/bin/detach",
        detach.display(),
        tree.display()
    ));
    let script = "detach; mknod /dev/vda b 7 0";
    let output = rspawn(&host, &tree, &["/bin/sh", "-c", script]).output();
    assert_eq!(output.stdout, "0 of 0\n", "{output}");
    assert!(
        output.stderr.contains("Operation not permitted"),
        "{output}"
    );
}
