//! The module as a file: its size, what it exports and what it needs.

use std::process::Command;

use bastion_tests::host::artefacts;

use super::report::{Row, Table};

/// Most that the module may weigh, in bytes.
const MOST: u64 = 700 * 1024;

/// Measures and adds the rows.
pub fn measure(table: &mut Table) {
    let module = artefacts().join("libpam_bastion.so");
    let size = std::fs::metadata(&module).map_or(0, |meta| meta.len());
    let path = module.to_string_lossy().into_owned();
    let sections = output("readelf", &["-S", "-W", &path]);
    let stripped = !sections.contains(".symtab");
    let measured = format!(
        "{} KiB ({size} bytes), {}",
        size.div_ceil(1024),
        if stripped { "stripped" } else { "NOT stripped" }
    );
    let row = Row::new("libpam_bastion.so, stripped", &measured, 0).figure("kib", kib(size));
    table.add(row.target("<= 700 KiB", size <= MOST && stripped).peer(&peers()));

    let symbols = output("nm", &["-D", "--defined-only", &path]);
    let names: Vec<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let hooks = names.iter().filter(|name| name.starts_with("pam_sm_")).count();
    let measured = format!("{}: {}", names.len(), names.join(" "));
    let met = hooks == 6 && names.len() == 6;
    table.add(Row::new("exports", &measured, 0).target("the six pam_sm_* alone", met));

    let dynamic = output("readelf", &["-d", "-W", &path]);
    let needed: Vec<&str> = dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.split_once(']').map(|(name, _)| name))
        .collect();
    let known = |name: &&str| {
        ["libpam.so", "libgcc_s.so", "libc.so", "ld-linux"]
            .iter()
            .any(|known| name.starts_with(known))
    };
    let met = !needed.is_empty() && needed.iter().all(known);
    let row = Row::new("NEEDED", &needed.join(" "), 0);
    table.add(row.target("libpam, libgcc_s, libc, loader", met));
}

/// Sizes of modules that the system has.
fn peers() -> String {
    let dirs = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let security = dirs
        .map(|entry| entry.path().join("security"))
        .chain(["/lib/security".into(), "/usr/lib/security".into()])
        .find(|dir| dir.join("pam_permit.so").exists());
    let Some(security) = security else { return "no PAM modules found".to_owned() };
    let sizes = ["pam_unix.so", "pam_exec.so", "pam_permit.so"].map(|name| {
        let size = std::fs::metadata(security.join(name)).map_or(0, |meta| meta.len());
        format!("{name} {} KiB", size.div_ceil(1024))
    });
    sizes.join(", ")
}

fn kib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1024.0
}

/// What `program` prints; empty where it is not installed (package binutils).
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
