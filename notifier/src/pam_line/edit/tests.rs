use super::*;

const SHOWN: &str = "-session optional pam_bastion.so";

/// What service files include: as Debian's, and what is not.
fn load(name: &str) -> Option<Vec<u8>> {
    let text = match name {
        "common-auth" => {
            "auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n"
        }
        "common-account" => "account required pam_permit.so\n",
        "common-session" => {
            "session [default=1] pam_permit.so\nsession requisite pam_deny.so\nsession required pam_permit.so\n\
             session required pam_unix.so\n"
        }
        "ours" => "# x\nsession optional pam_bastion.so\n",
        "jumps" => "session [success=2] pam_x.so\nsession required pam_y.so\n",
        "loop" => "@include loop\n@include loop\nsession required pam_z.so\n",
        _ => return None,
    };
    Some(text.into())
}

fn add_to(text: &str) -> Result<String, String> {
    done(add("sshd", text.as_bytes(), &load), text)
}

fn remove_from(text: &str) -> Result<String, String> {
    done(remove("sshd", text.as_bytes(), &load), text)
}

fn done(edit: Result<Edit, Refusal>, text: &str) -> Result<String, String> {
    match edit {
        Ok(edit) => {
            let new = edit.apply(text.as_bytes());
            assert_eq!(edit.is_empty(), new == text.as_bytes(), "{text}");
            Ok(String::from_utf8(new).unwrap())
        }
        Err(refusal) => Err(format!("{}:{}: {}", refusal.file, refusal.line, refusal.text)),
    }
}

#[test]
fn the_line_comes_before_all_of_the_session_and_goes_without_a_trace() {
    let block = format!("{COMMENT}\n{SHOWN}\n\n");
    // Where it has to come is marked by a bar.
    for marked in [
        "|session required pam_unix.so\n",
        "|session required pam_unix.so",
        "@include common-auth\n\n|# About SELinux.\n# More.\nsession [success=ok default=bad] pam_selinux.so close\n",
        "@include common-auth\naccount required a.so\n|@include common-session\nsession required pam_unix.so\n",
        "@include common-auth # session\n|@include common-session",
        "auth required x.so \\\n  session\n|  \t-SeSSion\trequired \\\n pam_unix.so\n",
        "|# A comment.\nsession include common-session\n",
        "auth include common-auth\n|session substack common-session\n",
        "# session required x.so\n#-session optional pam_bastion.so\n\n|session required [pam_unix.so]\n",
        "auth required x.so # a \\\n|session required y.so\n",
        "|@include loop\n",
        "|@include jumps\nsession required pam_unix.so\nsession required pam_z.so\n",
        "|# \u{e9}\nsession required pam_unix.so \u{fffd}\n",
        "|session required pam_not_pam_bastion.so\n",
    ] {
        let text = marked.replace('|', "");
        let want = marked.replace('|', &block);
        assert_eq!(add_to(&text), Ok(want.clone()), "{marked}");
        assert_eq!(add_to(&want), Ok(want.clone()), "once more: {marked}");
        assert_eq!(remove_from(&want), Ok(text.clone()), "{marked}");
        assert_eq!(remove_from(&text), Ok(text), "once more: {marked}");
    }
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let text = b"# caf\xe9\nauth required \xff.so\nsession required pam_\xfe.so\n";
    let new = add("sshd", text, &load).unwrap().apply(text);
    assert!(new.ends_with(b"\n\nsession required pam_\xfe.so\n"), "{new:?}");
    assert_eq!(remove("sshd", &new, &load).unwrap().apply(&new), text);
}

#[test]
fn a_line_by_hand_stays_or_is_mended() {
    let rest = "session required pam_unix.so\n";
    let whole = format!("{COMMENT}\n{SHOWN}\n\n{rest}");
    let mut table = vec![
        // Right, however it is written.
        (format!("{SHOWN}\n{rest}"), format!("{SHOWN}\n{rest}"), 0),
        (format!("{SHOWN} # mine\n{rest}"), format!("{SHOWN} # mine\n{rest}"), 0),
        (
            format!("-Session\tOptional \\\n pam_bastion.so\n{rest}"),
            format!("-Session\tOptional \\\n pam_bastion.so\n{rest}"),
            0,
        ),
        (
            format!("-session optional /srv/pam_bastion.so config=/x\n{rest}"),
            format!("-session optional /srv/pam_bastion.so config=/x\n{rest}"),
            0,
        ),
        // In its place, and wrong.
        (
            format!("# mine\nsession optional pam_bastion.so\n{rest}"),
            format!("# mine\n{SHOWN}\n{rest}"),
            1,
        ),
        (
            format!("session required pam_bastion.so config=/x\n{rest}"),
            format!("{SHOWN} config=/x\n{rest}"),
            2,
        ),
        // Too late; and twice.
        (format!("{rest}{SHOWN}\n"), whole.clone(), 1),
        (format!("{rest}{SHOWN}"), whole.clone(), 1),
        (
            format!("{rest}\n# mine\n{SHOWN}\n"),
            format!("{COMMENT}\n{SHOWN}\n\n{rest}\n# mine\n"),
            1,
        ),
        (
            format!("{rest}session sufficient pam_bastion.so\nauth required x.so\n"),
            format!("{whole}auth required x.so\n"),
            3,
        ),
        (format!("{SHOWN}\n{rest}{SHOWN}\n"), format!("{SHOWN}\n{rest}"), 1),
        (format!("{whole}{whole}"), format!("{whole}{rest}"), 1),
        (
            format!("@include common-session\n{SHOWN}\n{SHOWN}\n"),
            format!("{COMMENT}\n{SHOWN}\n\n@include common-session\n"),
            2,
        ),
    ];
    // A jump that ends before it.
    let jump = "session [success=1 default=ignore] a.so\nsession required b.so\n";
    table.push((
        format!("{jump}{SHOWN}\n{rest}"),
        format!("{COMMENT}\n{SHOWN}\n\n{jump}{rest}"),
        1,
    ));
    for (text, want, mended) in table {
        assert_eq!(add_to(&text), Ok(want.clone()), "{text}");
        assert_eq!(add("sshd", text.as_bytes(), &load).unwrap().mended.len(), mended, "{text}");
        let without = remove_from(&text).unwrap();
        assert!(!without.contains("pam_bastion"), "{without}");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    let jump = "session [success=1 default=ignore] a.so\n";
    let both: &[(String, &str)] = &[
        (format!("{SHOWN}\r\nsession required x.so\n"), "sshd:1: ends as on Windows"),
        ("sesion required x.so\nsession required x.so\n".into(), "sshd:1: begins with"),
        ("\nsession required x.so \\\n".into(), "sshd:2: goes on behind"),
        ("@include nosuch\nsession required x.so\n".into(), "sshd:1: includes nosuch"),
        (
            "session required x.so\nauth optional pam_bastion.so\n".into(),
            "sshd:2: pam_bastion is for sessions",
        ),
        ("session required x.so\n\n@include ours\n".into(), "ours:2: this file is included"),
        ("session include ours\nsession required x.so\n".into(), "ours:2: this file is included"),
        // What jumps over it would jump over another one.
        (format!("{jump}{SHOWN}\nsession required x.so\n"), "sshd:2: sshd:1 jumps over 1"),
        (
            format!("session [default=2] a.so\nsession required b.so\n{SHOWN}\n"),
            "sshd:3: sshd:1 jumps over 2",
        ),
        (
            format!("@include jumps\n{SHOWN}\nsession required x.so\n"),
            "sshd:2: jumps:1 jumps over 2",
        ),
        (
            format!("session [a = 99999999999999999999] a.so\nsession required b.so\n{SHOWN}\n"),
            "sshd:3: sshd:1 jumps",
        ),
        (
            format!("{jump}session substack common-session\n{SHOWN}\n"),
            "sshd:3: sshd:1 jumps over 1",
        ),
        ("#\n".repeat(40_000), "sshd:0: has more than 65536 bytes"),
    ];
    for (text, want) in both {
        for found in [add_to(text), remove_from(text)] {
            assert!(
                found.as_ref().is_err_and(|found| found.starts_with(want)),
                "{text}: {found:?}"
            );
        }
    }
    for (text, want) in [
        (String::new(), "sshd:0: has no session line but ours"),
        ("@include common-auth\n".into(), "sshd:0: has no session line but ours"),
        (format!("{SHOWN}\n"), "sshd:0: has no session line but ours"),
        (format!("{SHOWN} a\nsession required x.so\n{SHOWN} b\n"), "sshd:3: another module"),
        (
            "session [default=ignore] pam_bastion.so\nsession required x.so\n".into(),
            "sshd:1: control [default=ignore]",
        ),
    ] {
        let found = add_to(&text);
        assert!(found.as_ref().is_err_and(|found| found.starts_with(want)), "{text}: {found:?}");
    }
    let only = remove_from(&format!("auth required x.so\n{SHOWN}\n"));
    assert!(
        only.as_ref().is_err_and(|found| found.starts_with("sshd:2: is the only session line")),
        "{only:?}"
    );
    let cannot =
        add("sshd", b"session required x.so\nsession required pam_bastion.so \xff\n", &load);
    assert!(cannot.as_ref().is_err_and(|found| found.line == 2), "{cannot:?}");
}

#[test]
fn ours_is_never_the_only_word() {
    for rest in [
        "session sufficient pam_succeed_if.so user ingroup jump\n",
        "session [success=ok default=ignore] pam_x.so\n",
        "session optional pam_x.so\nsession [success=1 default=ignore] pam_y.so\nsession required pam_z.so\n",
    ] {
        let want = "sshd:0: no other session line decides who may come in; write \"session required pam_permit.so\"";
        for text in [rest.to_owned(), format!("{rest}{SHOWN}\n"), format!("{SHOWN}\n{rest}")] {
            let found = add_to(&text);
            assert!(
                found.as_ref().is_err_and(|found| found.starts_with(want)),
                "{text}: {found:?}"
            );
        }
        let found = remove_from(&format!("{SHOWN}\n{rest}"));
        assert!(found.as_ref().is_err_and(|found| found.starts_with(want)), "{rest}: {found:?}");
        assert_eq!(remove_from(rest), Ok(rest.to_owned()), "there is nothing to take out");
        // The remedy is one.
        let mended =
            format!("{rest}session required pam_permit.so\nsession required pam_permit.so\n");
        let with = add_to(&mended).unwrap();
        assert_eq!(remove_from(&with), Ok(mended));
    }
}

#[test]
fn the_change_is_shown_as_patch_takes_it() {
    let path = Path::new("/etc/pam.d/sshd");
    let text = format!("auth required a.so\n# c\nsession required x.so\n{SHOWN} # late\n");
    let edit = add("sshd", text.as_bytes(), &load).unwrap();
    let want = format!(
        "--- /etc/pam.d/sshd\n+++ /etc/pam.d/sshd\n@@ -1,0 +2,3 @@\n+{COMMENT}\n+{SHOWN}\n+\n@@ -4,1 +6,0 @@\n-{SHOWN} # late\n"
    );
    assert_eq!(edit.diff(text.as_bytes(), path), want);
}
