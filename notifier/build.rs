//! What the linker is told, so that the sender's file is small.

fn main() {
    // Packs the relocations (DT_RELR), as in the module (pam_bastion/build.rs): 85 KB otherwise.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo:rerun-if-changed=build.rs");
}
