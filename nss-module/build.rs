//! Gives the shared object the name by which the C library looks for it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnss_rspawn.so.2");
    // A module that is unloaded while a thread is in it takes the program along.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
