# `bash -c BASE base.sh SUITE DIR PACKAGES`: sees to it that DIR/SUITE is a bare Debian with these packages
# (comma between) and no others, which machines are booted from. Made once, by one process at a time, and
# anew when the packages or this script change. Prints what it does.
set -eu
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
suite=$1 dir=$2 packages=$3
mkdir -p "$dir"
exec 9>"$dir/$suite.lock"
flock 9

recipe=$(printf '%s\n' "$packages" "$BASH_EXECUTION_STRING" | sha256sum | cut -c1-32)
[ "$(cat "$dir/$suite.recipe" 2>/dev/null)" != "$recipe" ] || exit 0

# The machine's own mirror: what is not a mirror of Debian (a vendor's repository) has no such path.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^ *#' | grep -oE '(https?|mirror\+file|file)://?[^ ]*/debian/?( |$)' | head -n 1 | tr -d ' ')
case $mirror in mirror*) mirror= ;; esac # debootstrap does not know that kind
mirror=${mirror:-http://deb.debian.org/debian}

echo "makes a bare Debian ($suite) from $mirror, once: a minute"
rm -rf "$dir/$suite" "$dir/$suite.new" "$dir/$suite.recipe"
if ! debootstrap --variant=minbase --include="$packages" "$suite" "$dir/$suite.new" "$mirror" >"$dir/$suite.log" 2>&1; then
    tail -n 20 "$dir/$suite.log" "$dir/$suite.new/debootstrap/debootstrap.log" >&2
    exit 1
fi
cd "$dir/$suite.new"

# Each machine has its own identity and keys.
: >etc/machine-id
rm -f etc/ssh/ssh_host_* var/lib/dbus/machine-id
# No packet leaves a machine: there is no archive, and what is only recommended is not to be had.
rm -rf var/lib/apt/lists/* var/cache/apt/archives/*.deb etc/apt/sources.list
chroot . useradd --create-home --shell /bin/bash --comment Alice alice
install -d -m 700 -o 1000 -g 1000 home/alice/.ssh

cd ..
mv "$suite.new" "$suite"
echo "$recipe" >"$suite.recipe"
