//! Trees that try to lead their container out of itself.

mod common;

use common::{host, rspawn};
use netns_fixtures::Host;

/// Numbers that a descriptor of rspawn's might have.
const DESCRIPTORS: std::ops::Range<u32> = 3..24;

/// From the tree's directory on the host, its root is two levels up.
const LOOK_OUTSIDE: &str = "ls -d ../../trees";

fn stays_inside(host: &Host, tree: &std::path::Path) {
    let output = host
        .command("rspawn")
        .args(["-q", "-M", "web", "-D"])
        .arg(tree)
        .cgroup("web.service")
        .input(LOOK_OUTSIDE)
        .output();
    assert_eq!(output.stdout, "", "{output}");
    assert!(output.stderr.contains("trees: No such file"), "{output}");
}

#[test]
fn no_working_directory_leads_out() {
    let host = host();
    let tree = host.busybox_tree();
    for number in DESCRIPTORS {
        let fd = format!("/proc/self/fd/{number}");
        let chdir = format!("--chdir={fd}");
        let asked = rspawn(&host, &tree, &[&chdir, "/bin/sh", "-c", LOOK_OUTSIDE]).output();
        assert_eq!(asked.code(), Some(1), "{asked}");
        assert!(asked.stderr.contains(&fd), "{asked}");
        host.write(
            tree.join("etc/passwd"),
            format!("root::0:0::{fd}:/bin/sh\n"),
        );
        stays_inside(&host, &tree);
    }
}

#[test]
fn no_link_in_the_tree_leads_out() {
    let host = host();
    let tree = host.busybox_tree();
    host.write(tree.join("etc/passwd"), "root::0:0::/home:/bin/sh\n");
    for number in DESCRIPTORS {
        host.run(&format!(
            "ln -sfn /proc/self/fd/{number} {}/home",
            tree.display()
        ));
        stays_inside(&host, &tree);
    }
}

#[test]
fn an_ordinary_link_is_a_working_directory() {
    let host = host();
    let tree = host.busybox_tree();
    host.run(&format!("ln -s ../../etc {}/home", tree.display()));
    let pwd = rspawn(&host, &tree, &["--chdir=/home", "/bin/pwd"]).output();
    assert_eq!(pwd.expect_success().stdout, "/etc\n");
}

#[test]
fn rspawn_itself_is_not_run_inside() {
    let host = host();
    let tree = host.busybox_tree();
    let loader = host.compile(
        "loader",
        "int main(void) { return 0; }",
        "-Wl,--dynamic-linker=/proc/self/exe",
    );
    host.run(&format!(
        "cd {}; ln -s /proc/self/exe bin/itself; cp {} bin/loader
        printf '#!/proc/self/exe\\n' >bin/script; printf '#!/bin/script\\n' >bin/nested
        chmod 755 bin/script bin/nested; chmod 111 bin/loader
        mkdir -p usr/lib/systemd; ln -s /proc/self/exe usr/lib/systemd/systemd",
        tree.display(),
        loader.display()
    ));
    let programs: [&[&str]; 7] = [
        &["/bin/itself"],
        &["itself"],
        &["bin/itself"],
        &["/bin/loader"],
        &["/bin/script"],
        &["/bin/nested"],
        &["-b"],
    ];
    for program in programs {
        let output = rspawn(&host, &tree, program).output();
        assert_eq!(output.code(), Some(1), "{program:?} {output}");
        assert!(
            output.stderr.starts_with("rspawn: cannot run ")
                && output.stderr.contains("leads through a link of /proc"),
            "{program:?} {output}"
        );
    }
}

#[test]
fn scripts_run_by_their_own_name() {
    let host = host();
    let tree = host.busybox_tree();
    host.write_program(tree.join("bin/script"), "#!/bin/sh\necho $0 $1\n");
    let output = rspawn(&host, &tree, &["/bin/script", "x"]).output();
    assert_eq!(output.expect_success().stdout, "/bin/script x\n");
}
