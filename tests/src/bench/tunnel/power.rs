//! F9: the jump host loses its power, and is back after a while without a memory of anything.

use bastion_tests::tunnel::Line;

/// Its processes end, and no packet tells anybody: its kernel, which here goes on, is not to say
/// good-bye for them, neither now nor later.
pub fn off(line: &Line) {
    line.cut();
    line.jump.sh(
        "nft add table ip off; nft add chain ip off o '{ type filter hook output priority 0; }'
         nft add chain ip off i '{ type filter hook input priority 0; }'
         for port in $(ss -Htn state established sport = :22 | awk '{print $4}' | sed 's/.*://'); do
             nft add rule ip off o tcp sport 22 tcp dport $port tcp flags '& rst == 0' drop
             nft add rule ip off i tcp dport 22 tcp sport $port reject with tcp reset
         done
         pkill -KILL sshd",
    );
}

/// It has started again, with all that it starts.
pub fn on(line: &mut Line) {
    line.jump.restart_sshd();
    line.mend();
}
