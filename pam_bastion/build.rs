//! Packs the module's relocations (DT_RELR), which are a tenth of the file otherwise: each login
//! maps it and reads them. glibc knows the form since 2.36, so Debian 12 is the oldest; a linker
//! that does not know the option says so and goes on.

fn main() {
    println!("cargo:rustc-link-arg-cdylib=-Wl,-z,pack-relative-relocs");
}
