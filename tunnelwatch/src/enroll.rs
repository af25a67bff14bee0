//! `tunnelwatch enroll`: everything that a new tunnel needs, in the order in which it is needed: the key,
//! the jump host's key, what to write there, and a test of it all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use notifier::exit::Failure;
use notifier::known_good::parse_fingerprint;

use crate::cause::{self, Cause};
use crate::chain::ask;
use crate::cli::print;
use crate::config::{Settings, Tunnel};
use crate::keys;
use crate::on_demand::hand::located;
use crate::proof::{self, run};
use crate::sockets::Files;
use crate::ssh::{self, Session};
use crate::status;

/// How long each program may take.
const MOST: Duration = Duration::from_secs(20);

/// How long the test of the tunnel may take.
const MOST_TEST: Duration = Duration::from_secs(30);

/// Looks in vain after which the forward does not work.
const MOST_LOOKS: u32 = 10;

/// What was asked for.
pub struct Request<'a> {
    /// The tunnel's name; of one tunnel it may be left out.
    pub name: Option<&'a str>,
    /// The fingerprint that the jump host's key has to have, as its administrator read it out.
    pub host_key: Option<&'a str>,
}

/// Enrolls a tunnel of the file.
///
/// # Errors
///
/// What is missing, with what to do.
pub fn enroll(config: &Path, run_dir: &Path, request: &Request<'_>) -> Result<u8, Failure> {
    let settings = Settings::load(config).map_err(Failure::config)?;
    let tunnel = &located(pick(&settings.tunnels, request.name)?, run_dir)?;
    refuse_root(tunnel)?;
    let public = make_key(&tunnel.identity)?;
    pin(tunnel, request.host_key)?;
    print(&instructions(tunnel, &public, &Known::of(tunnel, &public)))?;
    if let Some(state) = status::of_one(run_dir, &tunnel.name) {
        let is = if state.up { "is up" } else { "is not up" };
        let name = &tunnel.name;
        print(&format!(
            "\nNot tested: tunnelwatch run keeps {name}, which {is}; see tunnelwatch status. To test it by \
             itself: systemctl stop tunnelwatch\n"
        ))?;
        return Ok(if state.up { 0 } else { 69 });
    }
    match test(tunnel, &test_dir(run_dir, tunnel)) {
        Ok(took) => {
            let own = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/tunnelwatch".into());
            let note = match ask::why_nobody_answers(tunnel, &own) {
                Some(why) => format!("\nNote: {why}.\n"),
                None => String::new(),
            };
            print(&format!(
                "\nTested: through {} port {} and back in {} ms. Now: systemctl enable --now --no-block \
                 tunnelwatch\n{note}",
                tunnel.jump.host,
                tunnel.remote_ports.first().copied().unwrap_or_default(),
                took.as_millis()
            ))
        }
        Err((what, said)) => {
            print(&format!(
                "\nNot yet: {what}\n{said}\nWhen these steps are done, run this again: it tests the tunnel.\n"
            ))?;
            Ok(69)
        }
    }
}

fn pick<'a>(tunnels: &'a [Tunnel], name: Option<&str>) -> Result<&'a Tunnel, Failure> {
    let names = || tunnels.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, tunnels) {
        (_, []) => Err(Failure::config("there is no [[tunnel]] in the configuration")),
        (None, [tunnel]) => Ok(tunnel),
        (None, _) => Err(Failure::usage(format!("which one? there are: {}", names()))),
        (Some(name), _) => tunnels.iter().find(|one| one.name == name).ok_or_else(|| {
            Failure::usage(format!("there is no tunnel {name:?}; there are: {}", names()))
        }),
    }
}

/// Refuses to make as root what the user of `run` has to read.
fn refuse_root(tunnel: &Tunnel) -> Result<(), Failure> {
    let identity = &tunnel.identity;
    let owner = fs::metadata(beside(identity)).map_or(0, |meta| meta.uid());
    if notifier::ffi::geteuid() != 0 || owner == 0 {
        return Ok(());
    }
    let (file, name) = (identity.display(), user(owner));
    Err(Failure::permission(format!(
        "{file} has to be {name}'s, not root's; run: {}",
        again(&tunnel.name, owner)
    )))
}

/// How the user of this number is called, also by sudo.
fn user(uid: u32) -> String {
    notifier::spool::owner::name_of(uid).unwrap_or_else(|| format!("'#{uid}'"))
}

/// What an administrator types who enrolls this tunnel, as the user with this number.
fn again(tunnel: &str, uid: u32) -> String {
    match uid {
        0 => format!("sudo tunnelwatch enroll {tunnel}"),
        uid => format!("sudo -u {} tunnelwatch enroll {tunnel}", user(uid)),
    }
}

/// The directory of the key.
fn beside(identity: &Path) -> PathBuf {
    identity.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Where the sockets of the test are. Without `run` there may be no directory of its, and only root can
/// make one; the key's own is there, and this user's.
fn test_dir(run_dir: &Path, tunnel: &Tunnel) -> PathBuf {
    let made = fs::create_dir_all(run_dir);
    let owner = fs::metadata(run_dir).map(|meta| meta.uid());
    match (made, owner) {
        (Ok(()), Ok(owner)) if owner == notifier::ffi::geteuid() => run_dir.to_owned(),
        _ => beside(&tunnel.identity),
    }
}

/// Makes the key where there is none, and answers its public half.
fn make_key(identity: &Path) -> Result<String, Failure> {
    let mut public = identity.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    if !identity.exists() {
        let mut command = ssh::command(Path::new(keys::KEYGEN));
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "tunnelwatch", "-f"]).arg(identity);
        let said = run(&mut command, Instant::now() + MOST).unwrap_or_default();
        if !identity.exists() {
            let what = format!("cannot make the key {}: {}", identity.display(), said.trim());
            return Err(Failure::unavailable(what));
        }
    }
    let mode = fs::metadata(identity).map(|meta| meta.permissions().mode()).unwrap_or_default();
    if mode & 0o077 != 0 {
        let file = identity.display();
        return Err(Failure::config(format!(
            "{file} can be read by others; run: chmod 600 {file}"
        )));
    }
    fs::read_to_string(&public)
        .map(|key| key.trim().to_owned())
        .map_err(|error| Failure::io(format!("read {}", public.display()), &error))
}

/// Sees to it that the jump host's key is in known_hosts. What is there of it already is believed; the file
/// may have those of other jump hosts.
fn pin(tunnel: &Tunnel, wanted: Option<&str>) -> Result<(), Failure> {
    let file = &tunnel.known_hosts;
    if keys::is_known(tunnel, Instant::now() + MOST) {
        return print(&format!("{} has the jump host's key already.\n", file.display()))
            .map(|_| ());
    }
    let deadline = Instant::now() + MOST;
    let scan = tunnel.ssh.with_file_name("ssh-keyscan");
    let (host, port) = (tunnel.destination(), tunnel.jump.port);
    let lines = keys::scan(&scan, host, port, deadline)
        .ok_or_else(|| Failure::unavailable(format!("{host} port {port} shows no host key")))?;
    let shown: Vec<(&str, String)> = lines
        .lines()
        .filter_map(|line| Some((line, keys::fingerprints_of(line, deadline).into_iter().next()?)))
        .collect();
    let Some(wanted) = wanted else {
        let kind = |line: &str| line.split(' ').nth(1).unwrap_or_default().to_owned();
        let list = shown.iter().map(|(line, key)| format!("  {key} {}\n", kind(line)));
        let list: String = list.collect();
        return Err(Failure::unavailable(format!(
            "not yet: {host} shows these keys:\n{list}Whether they are its own can only be seen there: ssh-keygen -lf \
             /etc/ssh/ssh_host_ed25519_key.pub\nThen, with that one: {} --host-key SHA256:...",
            again(&tunnel.name, notifier::ffi::geteuid())
        )));
    };
    let wanted = parse_fingerprint(wanted).map_err(Failure::usage)?;
    let Some((line, _)) = shown.iter().find(|(_, key)| *key == wanted) else {
        let what = "none of the keys that it shows has this fingerprint";
        return Err(Failure::config(format!("{host}: {what}; somebody else may answer there")));
    };
    let failed = |error| Failure::io(format!("write {}", file.display()), &error);
    let mut out = fs::OpenOptions::new().create(true).append(true).mode(0o644).open(file);
    let written = out.as_mut().map_err(|error| std::io::Error::from(error.kind()));
    let key = line.split_once(' ').map_or(*line, |(_, key)| key);
    written.and_then(|out| writeln!(out, "{} {key}", keys::known_as(tunnel))).map_err(failed)
}

/// What stands beside the key on the jump host: nothing but this forward, and the probe of it.
#[must_use]
pub fn authorized_key(tunnel: &Tunnel, public: &str) -> String {
    let mut options = vec!["restrict".to_owned(), "port-forwarding".to_owned()];
    for port in &tunnel.remote_ports {
        options.push(format!("permitlisten=\"127.0.0.1:{port}\""));
        options.push(format!("permitopen=\"127.0.0.1:{port}\""));
    }
    let ports: Vec<String> = tunnel.remote_ports.iter().map(u16::to_string).collect();
    let command = match (tunnel.chain, tunnel.release) {
        (true, true) => format!("/usr/bin/tunnelwatch answer --release {}", ports.join(" ")),
        (true, false) => format!("/usr/bin/tunnelwatch answer {}", ports.join(" ")),
        (false, true) => format!("/usr/bin/tunnelwatch release {}", ports.join(" ")),
        (false, false) => "/bin/false".to_owned(),
    };
    options.push(format!("command=\"{command}\""));
    format!("{} {public}", options.join(","))
}

/// Fingerprints that stand in the instructions: of the tunnel's key, and of what it leads to.
struct Known {
    key: Option<String>,
    target: Vec<String>,
}

impl Known {
    fn of(tunnel: &Tunnel, public: &str) -> Self {
        let deadline = Instant::now() + MOST;
        let scan = tunnel.ssh.with_file_name("ssh-keyscan");
        let host = tunnel.target.ip().to_string();
        let shown = keys::scan(&scan, &host, tunnel.target.port(), deadline).unwrap_or_default();
        Self {
            key: keys::fingerprints_of(public, deadline).into_iter().next(),
            target: keys::fingerprints_of(&shown, deadline),
        }
    }
}

/// What is to be done on the jump host and on the administrator's laptop.
fn instructions(tunnel: &Tunnel, public: &str, known: &Known) -> String {
    let user = &tunnel.jump.user;
    let (host, port) = (&tunnel.jump.host, tunnel.jump.port);
    let home = tunnel.remote_ports.first().copied().unwrap_or_default();
    let ports: Vec<String> = tunnel.remote_ports.iter().map(u16::to_string).collect();
    let fallback = match ports.get(1) {
        Some(port) => {
            format!("    # While the tunnel is on its second port: ssh -p {port} {}\n", tunnel.name)
        }
        None => String::new(),
    };
    let moves = match &tunnel.on_demand {
        Some(_) => format!(
            "\nHost {host}\n    # Another address at each start: the message that it is reachable has it.\n    \
             HostName {}\n    HostKeyAlias {}\n",
            tunnel.destination(),
            keys::known_as(tunnel)
        ),
        None => String::new(),
    };
    // sshd has the user's shell run the command beside the key.
    let shell = if tunnel.release || tunnel.chain { "/bin/sh" } else { "/usr/sbin/nologin" };
    let list = |keys: &[String]| {
        let quoted: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        quoted.join(", ")
    };
    let key = known.key.as_ref().map_or_else(String::new, |key| format!("keys = [{key:?}]\n"));
    let host_keys = match known.target.as_slice() {
        [] => String::new(),
        keys => format!("host-keys = [{}]\n", list(keys)),
    };
    format!(
        "1. On the jump host, as root, a user for this tunnel alone:\n\n\
         useradd --system --create-home --shell {shell} {user}\n\
         install -d -m 700 -o {user} ~{user}/.ssh\n\n\
         2. There, one line in ~{user}/.ssh/authorized_keys:\n\n{line}\n\n\
         3. There, at the end of /etc/ssh/sshd_config, so that a session without a client ends in a minute; \
         then: systemctl reload ssh\n\n\
         Match User {user}\n    ClientAliveInterval 15\n    ClientAliveCountMax 3\n    MaxSessions 2\n    \
         AllowTcpForwarding yes\n    GatewayPorts no\n    X11Forwarding no\n    PermitTTY no\n\n\
         4. There, in /etc/bastion/bastion.toml, so that a login of the tunnel itself, whose key may do nothing \
         else, rings no phone, and somebody tells you when the tunnel is gone; then: systemctl reload \
         bastion; systemctl enable --now tunnelwatch-watch\n\n\
         [[login.allow]]\nusers = [\"{user}\"]\n{key}\n\
         [[tunnel-watch]]\nname = \"{name}\"\nports = [{ports}]\n{host_keys}\n\
         5. On your laptop, in ~/.ssh/config, with your names on both hosts for YOU; then: ssh {name}\n\n\
         Host {name}\n{fallback}    HostName 127.0.0.1\n    Port {home}\n    User YOU\n    \
         HostKeyAlias {name}\n    ProxyJump YOU@{host}:{port}\n{moves}",
        line = authorized_key(tunnel, public),
        name = tunnel.name,
        ports = ports.join(", "),
    )
}

/// Opens the tunnel once, looks through it, and ends it.
fn test(tunnel: &Tunnel, run_dir: &Path) -> Result<Duration, (String, String)> {
    let files = Files::new(run_dir, &format!("{}-test", tunnel.name));
    let own = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/tunnelwatch".into());
    let port = tunnel.remote_ports.first().copied().unwrap_or_default();
    files.remove();
    let no_ssh = |error: std::io::Error| (Cause::NoSsh.to_string() + ".", error.to_string());
    let arguments = ssh::arguments(tunnel, port, &files, &own);
    let mut session = Session::start(&tunnel.ssh, &arguments).map_err(no_ssh)?.chatty();
    let until = Instant::now() + MOST_TEST;
    let mut looks = 0;
    let result = loop {
        if session.listen() {
            session.drain();
            break Err(cause::of_end(session.lines(0)));
        }
        // The way for the look is there before the port is, and another may hold that.
        match session.is_given().then(|| proof::once(&files.probe)).flatten() {
            Some(proof::Found::Banner(took)) => break Ok(took),
            // ssh may be about to end.
            Some(_) => looks += 1,
            None => {}
        }
        if looks >= MOST_LOOKS {
            let said = session.lines(0).filter_map(cause::of_probe).last();
            let here = proof::answers(tunnel.target, proof::MOST_HERE);
            break Err(if here { said.unwrap_or(Cause::ForwardBroken) } else { Cause::TargetDown });
        }
        if Instant::now() >= until {
            break Err(Cause::Silent);
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let said: Vec<String> = session.lines(0).map(|line| format!("  ssh: {line}\n")).collect();
    session.stop();
    files.remove();
    let took = result.map_err(|cause| (cause.to_string() + "." + remedy(cause), said.concat()))?;
    if tunnel.release {
        test_release(tunnel, port, &own)?;
    }
    Ok(took)
}

/// Asks the jump host once to release the port, which is free by now or soon.
fn test_release(tunnel: &Tunnel, port: u16, own: &Path) -> Result<(), (String, String)> {
    let mut command = ssh::command(&tunnel.ssh);
    command.args(ssh::release_arguments(tunnel, port, own)).stdout(Stdio::piped());
    let said = run(&mut command, Instant::now() + MOST).unwrap_or_default();
    if said.contains(&format!("port {port} is free")) {
        return Ok(());
    }
    let user = &tunnel.jump.user;
    let what = format!(
        "the tunnel works, but the jump host does not release a port. Has {user} a shell there (usermod \
         --shell /bin/sh {user}), is tunnelwatch installed, and the line of step 2 as it is above?"
    );
    let said: String = said.lines().map(|line| format!("  the jump host: {line}\n")).collect();
    Err((what, said))
}

/// What to do about it.
fn remedy(cause: Cause) -> &'static str {
    match cause {
        Cause::KeyRejected => {
            " Is the line of step 2 there, and the file its user's own, mode 600?"
        }
        Cause::PortBusy => {
            " Is the port taken (ss -tln on the jump host), or not in permitlisten? There \
             \"localhost:2222\" is another one than \"127.0.0.1:2222\"."
        }
        Cause::ProbeDenied => " permitopen of step 2 is missing, or names another port.",
        Cause::TargetDown => " Does sshd run here, at the address in target?",
        Cause::HostKey => " Remove the old line from known-hosts when you know why it changed.",
        Cause::Refused => " Is this the right port, and does sshd run there?",
        Cause::Unreachable | Cause::Silent => " Does a firewall let us out, and in there?",
        Cause::Dns => " Write its address instead of its name: names may be gone when it counts.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(more: &str) -> Tunnel {
        let text = format!(
            "[[tunnel]]\nname = \"home\"\njump = \"t@203.0.113.50\"\nremote-ports = [2222, 2223]\n{more}"
        );
        Settings::parse(&text).unwrap().tunnels.remove(0)
    }

    #[test]
    fn the_key_may_do_this_and_nothing_else() {
        let line = authorized_key(&tunnel(""), "ssh-ed25519 AAAA x");
        assert_eq!(
            line,
            "restrict,port-forwarding,permitlisten=\"127.0.0.1:2222\",permitopen=\"127.0.0.1:2222\",\
             permitlisten=\"127.0.0.1:2223\",permitopen=\"127.0.0.1:2223\",\
             command=\"/usr/bin/tunnelwatch answer 2222 2223\" ssh-ed25519 AAAA x"
        );
        for (more, command) in [
            ("release = true", "/usr/bin/tunnelwatch answer --release 2222 2223"),
            ("release = true\nchain = false", "/usr/bin/tunnelwatch release 2222 2223"),
            ("chain = false", "/bin/false"),
        ] {
            let line = authorized_key(&tunnel(more), "k");
            assert!(line.contains(&format!("command=\"{command}\" k")), "{line}");
        }
        let nothing = Known { key: None, target: Vec::new() };
        for (more, shell) in [
            ("", "/bin/sh t\n"),
            ("chain = false\nrelease = true", "/bin/sh t\n"),
            ("chain = false", "/usr/sbin/nologin t\n"),
        ] {
            assert!(
                instructions(&tunnel(more), "k", &nothing).contains(&format!("--shell {shell}")),
                "{more}"
            );
        }
    }

    #[test]
    fn the_instructions_hold_what_the_jump_host_s_file_needs() {
        let fingerprint = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".to_owned();
        let known = Known { key: Some(fingerprint.clone()), target: vec![fingerprint.clone()] };
        let text = instructions(&tunnel(""), "k", &known);
        let (_, rest) = text.split_once("[[login.allow]]").unwrap();
        let (allow, rest) = rest.split_once("[[tunnel-watch]]").unwrap();
        assert_eq!(allow, format!("\nusers = [\"t\"]\nkeys = [\"{fingerprint}\"]\n\n"));
        let (watch, laptop) = rest.split_once("\n\n").unwrap();
        let watch = &Settings::parse(&format!("[[tunnel-watch]]{watch}")).unwrap().watches[0];
        assert_eq!(
            (watch.ports.as_slice(), &watch.host_keys),
            (&[2222, 2223][..], &vec![fingerprint])
        );
        assert!(laptop.contains("ssh -p 2223 home") && laptop.contains("User YOU"), "{laptop}");
    }

    #[test]
    fn what_is_to_be_run_next_works_for_who_administers_the_host() {
        // Root's, a user's that each system has, and one's without a name.
        for (uid, want) in [
            (0, "sudo tunnelwatch enroll home"),
            (65534, "sudo -u nobody tunnelwatch enroll home"),
            (4_000_000_000, "sudo -u '#4000000000' tunnelwatch enroll home"),
        ] {
            assert_eq!(again("home", uid), want);
        }
    }

    #[test]
    fn of_several_tunnels_one_has_to_be_named() {
        let two = [tunnel(""), Tunnel { name: "b".into(), ..tunnel("") }];
        assert_eq!(pick(&two, Some("b")).unwrap().name, "b");
        assert_eq!(pick(&two[..1], None).unwrap().name, "home");
        for (tunnels, name) in [(&two[..], None), (&two[..], Some("c")), (&[][..], None)] {
            assert!(pick(tunnels, name).is_err());
        }
    }
}
