# Process 1 of a throwaway machine: `bash machine.sh ROOT ARTEFACTS RIGS`, in new mount,
# network and pid namespaces.
#
# Builds a root file system of its own below ROOT (tmpfs; the programs are the real
# machine's, read only), makes it the root, and waits for the end of its input. The test
# holds the other end of that pipe, so the machine ends with the test, however that
# ends: process 1 leaves, the kernel ends the rest, and no file was ever on a disk.
set -eu
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
root=$1 artefacts=$2 rigs=$3
# The old /proc is still mounted, so this is the process id that the test knows us by.
read -r outer_pid _ </proc/self/stat

mount -t tmpfs -o mode=755,size=4g bastion-test "$root"
cd "$root"

show() { # show WHAT WHERE: bind, read only
    mkdir -p "$2"
    mount --rbind "$1" "$2"
    mount -o remount,bind,ro "$2"
}
for dir in /usr /bin /sbin /lib /lib32 /lib64 /libx32 /opt; do
    if [ -h "$dir" ]; then
        cp -P "$dir" "./$dir"
    elif [ -d "$dir" ]; then
        show "$dir" "./$dir"
    fi
done
show "$artefacts" ./artefacts
show "$rigs" ./rigs

mkdir -p dev/pts dev/shm etc/pam.d etc/ssh etc/bastion/secrets proc sys old
mkdir -p run/sshd run/lock home srv/sftp/upload mnt var/log var/lib var/spool var/empty
install -d -m 1777 tmp var/tmp
install -d -m 700 root root/.ssh root/keys etc/bastion/secrets

for node in null zero full random urandom tty; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s ../proc/self/fd dev/fd
mount -t proc proc proc
mount -t sysfs sysfs sys 2>/dev/null || true
# In which control group a process is, as systemd shows it to everybody.
mount -t cgroup2 -o ro cgroup2 sys/fs/cgroup 2>/dev/null || true

for part in ld.so.cache ld.so.conf ld.so.conf.d alternatives terminfo protocols services \
    bash.bashrc profile login.defs security gai.conf ca-certificates.conf ssl; do
    if [ -e "/etc/$part" ]; then cp -a "/etc/$part" etc/; fi
done

cat >etc/passwd <<EOF
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
sshd:x:102:65534::/run/sshd:/usr/sbin/nologin
alice:x:2001:2001:Alice:/home/alice:/bin/bash
bob:x:2002:2002:Bob:/home/bob:/bin/bash
tunnel:x:2003:2003:no shell:/home/tunnel:/usr/sbin/nologin
dropbox:x:2004:2004:chrooted sftp:/home/dropbox:/usr/sbin/nologin
forced:x:2005:2005:forced command:/home/forced:/bin/bash
certy:x:2006:2006:certificate only:/home/certy:/bin/bash
_bastion:x:2901:2901::/nonexistent:/usr/sbin/nologin
_tunnelwatch:x:2903:2903::/nonexistent:/usr/sbin/nologin
_linkprobe:x:2904:2904::/nonexistent:/usr/sbin/nologin
EOF
cut -d: -f1,4 etc/passwd | sed 's/\(.*\):\(.*\)/\1:x:\2:/' | grep -v '^sshd:' >etc/group
printf '%s\n' tty:x:5: _bastion-drop:x:2902:_bastion,_tunnelwatch,_linkprobe >>etc/group
# The password of alice, bob and root is "correct horse" (openssl passwd -6).
hash='$6$bastiontests$WlVlardc5bomYd3Pd1yyTwBh3sslfQnY7KayPrEsZcKOYeKms69ZaV.eCYCe/qh0lwzGYNjmuH1KYuviX.3910'
cut -d: -f1 etc/passwd | while read -r user; do
    case $user in alice | bob | root) word=$hash ;; *) word='*' ;; esac
    echo "$user:$word:19700:0:99999:7:::"
done >etc/shadow
chmod 600 etc/shadow
printf '%s\n' 'passwd: files' 'group: files' 'shadow: files' 'hosts: files dns' >etc/nsswitch.conf
printf '%s\n' '127.0.0.1 localhost' '::1 localhost' '192.0.2.1 jump' >etc/hosts
echo 'nameserver 127.0.0.1' >etc/resolv.conf
echo jump >etc/hostname

# Source addresses for `ssh -b`, and 192.0.2.1 and 2001:db8:1::1 for the machine itself.
ip link set lo up
for address in 192.0.2.1/32 203.0.113.9/32 198.51.100.7/32; do ip address add $address dev lo; done
for address in 2001:db8:1::1/128 2001:db8:1::7/128; do ip address add $address dev lo nodad; done

pivot_root . old
cd /
umount -l /old
rmdir /old

# Read by libpam beside /etc/pam.d/sshd, which the test writes.
printf '%s\n' 'session required pam_deny.so' >/etc/pam.d/other

# The spool, as the package makes it.
install -d -m 755 /var/spool/bastion
install -d -m 3730 -o _bastion -g _bastion-drop /var/spool/bastion/drop
install -d -m 700 -o _bastion -g _bastion /var/spool/bastion/{queue,failed,sent}
install -d -m 755 -o _bastion -g _bastion /run/bastion
install -d -m 750 -o _bastion -g _bastion /var/lib/bastion
install -d -m 755 /run/bastion-sessions

# Keys: one of the client, one of the server, and a CA that signs for certy alone.
ssh-keygen -q -t ed25519 -N '' -C 'alice@laptop' -f /root/.ssh/id_ed25519
ssh-keygen -q -t ed25519 -N '' -C 'stranger' -f /root/keys/stranger
ssh-keygen -q -t ed25519 -N '' -C 'ca' -f /etc/ssh/user_ca
ssh-keygen -q -t ed25519 -N '' -C 'certy@laptop' -f /root/keys/certy
ssh-keygen -q -s /etc/ssh/user_ca -I 'certy id 7' -z 4711 -n certy /root/keys/certy.pub
ssh-keygen -q -t ed25519 -N '' -C 'host' -f /etc/ssh/ssh_host_ed25519_key
for user in alice bob tunnel dropbox forced certy; do
    install -d -o $user -g $user /home/$user /home/$user/.ssh
    if [ $user != certy ]; then cat /root/.ssh/id_ed25519.pub >/home/$user/.ssh/authorized_keys; fi
done
cat /root/.ssh/id_ed25519.pub >/root/.ssh/authorized_keys
chown dropbox:dropbox /srv/sftp/upload

echo "ready $outer_pid"
read -r _ || true
