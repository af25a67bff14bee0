//! What the linker is told, so that a login maps and touches little of the module.

fn main() {
    // Packs the relocations (DT_RELR), which are a tenth of the file otherwise: each login reads
    // them. glibc knows the form since 2.36, so Debian 12 is the oldest; a linker that does not
    // know the option says so and goes on.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-z,pack-relative-relocs");

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/backtrace.ld");
    println!("cargo:rustc-link-arg-cdylib=-Wl,-T,{script}");
    println!("cargo:rerun-if-changed={script}");
}
