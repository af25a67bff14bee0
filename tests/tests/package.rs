//! Thin thread.
use bastion_tests::boot::machine::{Machine, Release};
use bastion_tests::boot::package::{Server, debs};

#[test]
#[ignore = "takes packages: run ./dev test --package"]
fn life() {
    let (old, _new) = debs();
    for release in [Release::Bookworm, Release::Trixie] {
        let server = Server::set_up(Machine::boot(release, "jump"), &old, "");
        server.machine.reboot();
        server.told_login();
        for record in server.provider.accepted() {
            println!("{}", record.body());
        }
        println!("{:#?}", server.typed);
    }
}
