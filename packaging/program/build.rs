//! What the linker is told, so that the program's file is small.

fn main() {
    // Packs the relocations (DT_RELR), as in the sender (notifier/build.rs).
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo:rerun-if-changed=build.rs");
}
