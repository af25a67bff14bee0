//! Disks that take no more.

use crate::host::Host;

/// Puts a directory, with what is in it, on a small file system of its own. `options` are mount
/// options of tmpfs(5), as `size=64k`.
pub fn small(host: &Host, dir: &str, options: &str) {
    host.sh(&format!(
        "cp -a {dir} /mnt/kept; mode=$(stat -c %a {dir}); own=$(stat -c %U:%G {dir})
         mount -t tmpfs -o {options},mode=$mode small {dir}
         chown $own {dir}; cp -a /mnt/kept/. {dir}; rm -r /mnt/kept"
    ));
}

/// Fills it to the last byte.
pub fn fill(host: &Host, dir: &str) {
    host.sh(&format!("dd if=/dev/zero of={dir}/fill bs=4k 2>/dev/null || true"));
}

/// Undoes [`fill`].
pub fn make_room(host: &Host, dir: &str) {
    host.sh(&format!("rm {dir}/fill"));
}
