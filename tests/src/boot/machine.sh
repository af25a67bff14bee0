# `bash -c MACHINE machine.sh outer BASE AT NAME`, in a mount namespace of its own: boots a copy of the Debian at BASE,
# and ends it at the end of its input. The test holds the other end of that pipe, so the machine ends
# with the test, however that ends.
#
# outer: makes a disk in memory over BASE and a cgroup, waits for the end of its input, and removes the
# cgroup. All else is gone with the last process: mounts are seen in this mount namespace alone, and
# the machine has a pid and a network namespace, whose process 1 is
# inner: boots, and boots again after each reboot; the disk and the network stay.
set -eu
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
groups=/sys/fs/cgroup/bastion-boot

remove_group() { # a cgroup is removed from its leaves on, when nobody is in it any more
    for _ in $(seq 100); do
        find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -e "$1" ] || return 0
        sleep 0.05
    done
}

outer() {
    base=$1 at=$2 name=$3
    # cgroup2 alone, as Debian has it, also where the real machine has the old ones beside it.
    umount -R /sys/fs/cgroup 2>/dev/null || true
    mount -t cgroup2 none /sys/fs/cgroup
    for group in $groups-*; do
        # Of a test whose outer was killed: its machine has gone with it.
        if [ -d "$group" ] && [ ! -d "/proc/${group##*-}" ]; then remove_group "$group"; fi
    done
    group=$groups-$$
    mkdir "$group"
    # What systemd-nspawn keeps about its machines.
    mkdir -p /run/systemd
    mount -t tmpfs -o mode=755 bastion-test /run/systemd

    mount -t tmpfs -o mode=755,size=4g bastion-test "$at"
    mkdir "$at/upper" "$at/work" "$at/root" "$at/client"
    mount -t overlay -o "lowerdir=$base,upperdir=$at/upper,workdir=$at/work" overlay "$at/root"
    tr -d - </proc/sys/kernel/random/uuid >"$at/root/etc/machine-id"
    echo "$name" >"$at/root/etc/hostname"
    printf '%s\n' '127.0.0.1 localhost' '::1 localhost' "127.0.1.1 $name" >"$at/root/etc/hosts"
    ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$at/root/etc/ssh/ssh_host_ed25519_key"
    ssh-keygen -q -t ed25519 -N '' -C 'alice@laptop' -f "$at/client/id"
    install -m 600 -o 1000 -g 1000 "$at/client/id.pub" "$at/root/home/alice/.ssh/authorized_keys"

    # nspawn hides the kernel's boot_id below one of its own, but not from a unit that has a /proc of its own: two processes of
    # one boot would see two. No real machine has that.
    printf '%s\n' '#!/bin/sh' 'umount /proc/sys/kernel/random/boot_id' 'exec /lib/systemd/systemd' \
        >"$at/root/usr/sbin/init-of-test"
    chmod 755 "$at/root/usr/sbin/init-of-test"

    # Should this process be killed, unshare is, and with it process 1 and all below it.
    setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child=KILL \
        bash -c "$BASH_EXECUTION_STRING" "$0" inner "$at" "$name" "$group" </dev/null &
    machine=$!
    cat >/dev/null || true
    kill -KILL $machine 2>/dev/null || true
    wait $machine 2>/dev/null || true
    remove_group "$group"
}

inner() {
    at=$1 name=$2 group=$3
    # The old /proc is still mounted, so this is the process id that the test knows us by.
    read -r outer_pid _ </proc/self/stat
    echo 0 >"$group/cgroup.procs"
    mount -t proc proc /proc
    ip link set lo up
    # Source addresses for `ssh -b`, and 192.0.2.1 for the machine itself.
    for address in 192.0.2.1/32 198.51.100.7/32 203.0.113.9/32; do ip address add $address dev lo; done
    echo "ready $outer_pid"
    while :; do
        code=0
        # Without a manager that knows of machines on this one: --register=no --keep-unit.
        systemd-nspawn --quiet --directory="$at/root" --machine="$name" --register=no --keep-unit \
            --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN --resolv-conf=off \
            --timezone=off --link-journal=no --console=pipe /usr/sbin/init-of-test </dev/null >>"$at/console" 2>&1 || code=$?
        # 133: it reboots, and whoever keeps its unit is to start it again.
        [ $code = 133 ] || break
    done
    echo "ended with $code" >>"$at/console"
    # The namespaces stay until the test has looked.
    sleep infinity
}

role=$1
shift
"$role" "$@"
