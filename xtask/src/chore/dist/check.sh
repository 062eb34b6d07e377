# In a mount namespace of its own: a root that lies over this machine's, and what packages do in it.
# Ends with 77 where this machine lays no file system over another.
# $0: an empty folder; $1, $2: the older package and the package; $3: its version; $4: firmware.
place=$0 older=$1 package=$2 version=$3 firmware=$4
mount -t tmpfs -o mode=0755 tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$place/root" 2>/dev/null || exit 77
root=$place/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
cp "$older" "$root/tmp/older.deb"
cp "$package" "$root/tmp/package.deb"
say() { echo "ok: $*"; }
in_root() { env -u LD_LIBRARY_PATH HOME=/root LANG=C.UTF-8 chroot "$root" "$@"; }
# Triggers of other packages are their own business, and slow.
dpkg_() { in_root dpkg --no-triggers --force-depends "$@" >"$place/dpkg.log" 2>&1 || { cat "$place/dpkg.log"; exit 1; }; }
is() { [ "$2" = "$3" ] || { echo "$1: $2, and not $3"; exit 1; }; }

dpkg_ --install /tmp/older.deb
is "the version" "$(in_root dpkg-query -W -f '${Version}' sidecore)" '0.0.1~older'
[ -e "$root/usr/share/doc/sidecore/older" ]
user=$(in_root id -u sidecore)
is "the owner of the state" "$(in_root stat -c %U:%a /var/lib/sidecore)" sidecore:750
is "the owner of the sockets" "$(in_root stat -c %U:%a /run/sidecore)" sidecore:700
mkdir -p "$root/etc/sidecore/sidecored.toml.d"
echo '# mine' >"$root/etc/sidecore/sidecored.toml.d/mine.toml"
echo state >"$root/var/lib/sidecore/state"
say "the older version is installed"

dpkg_ --install /tmp/package.deb
is "the version" "$(in_root dpkg-query -W -f '${Version}' sidecore)" "$version"
is "the user" "$(in_root id -u sidecore)" "$user"
[ ! -e "$root/usr/share/doc/sidecore/older" ]
[ -e "$root/etc/sidecore/sidecored.toml.d/mine.toml" ] && [ -e "$root/var/lib/sidecore/state" ]
in_root dpkg --verify sidecore
say "upgraded; what was configured and kept is there"

is "sidecore --version" "$(in_root sidecore --version)" "sidecore $version"
is "sidecored --version" "$(in_root sidecored --version)" "sidecored $version"
in_root sidecored --help | grep -q -- --session
is "hello" "$(in_root setpriv --reuid=65534 --regid=65534 --clear-groups sidecore run hello -- world)" "Hello from the remote, world!"
say "the programs run, and firmware in the sandbox, for an ordinary user"
for page in man1/sidecore.1 man1/sidecore-run.1 man1/sidecored.1 man5/sidecored.toml.5; do
    zcat "$root/usr/share/man/$page.gz" | grep -q '^\.TH'
done
in_root bash -n /usr/share/bash-completion/completions/sidecore
[ -s "$root/usr/share/zsh/vendor-completions/_sidecore" ] && [ -s "$root/usr/share/fish/vendor_completions.d/sidecore.fish" ]
[ -s "$root/usr/share/doc/sidecore/book/SUMMARY.md" ]
say "manual, completions and book are there"

if command -v systemd-analyze >/dev/null; then
    in_root systemd-analyze verify --man=no /usr/lib/systemd/system/sidecored.service 2>"$place/verify"
    in_root env XDG_RUNTIME_DIR=/run \
        systemd-analyze --user verify --man=no /usr/lib/systemd/user/sidecored.service 2>>"$place/verify"
    is "systemd-analyze verify" "$(cat "$place/verify")" ""
    in_root systemd-analyze security --no-pager --offline=yes --threshold=20 /usr/lib/systemd/system/sidecored.service |
        tail -1
    say "systemd has nothing against the units"
fi

cp "$firmware" "$root/tmp/radio.elf"
cat >"$root/etc/sidecore/sidecored.toml.d/radio.toml" <<'RADIO'
[[remote]]
name = "radio"
firmware = "/tmp/radio.elf"
start = "boot"
RADIO
mkdir -p "$root/run/dbus"
in_root dbus-daemon --system --nofork --nopidfile 2>"$place/bus.log" &
for _ in $(seq 100); do [ -S "$root/run/dbus/system_bus_socket" ] && break; sleep 0.05; done
manager="--dest=org.sidecore.Sidecore1 /org/sidecore/Sidecore1 org.sidecore.Sidecore1.Manager.ListProcessors"
in_root dbus-send --system --print-reply $manager >"$place/reply" 2>&1 || { cat "$place/reply" "$place/bus.log"; exit 1; }
grep -q processors/radio "$place/reply" || { cat "$place/reply"; exit 1; }
is "the daemon's user" "$(in_root ps -o user= -C sidecored)" sidecore
say "the bus starts the daemon, that starts what is configured, and root may call it"
warden=$(in_root pgrep -u sidecore -f '^sidecore: warden')
in_root pkill -KILL -x sidecored
for _ in $(seq 100); do in_root pgrep -x sidecored >/dev/null || break; sleep 0.05; done
in_root dbus-send --system --print-reply $manager >"$place/reply" 2>&1 || { cat "$place/reply" "$place/bus.log"; exit 1; }
grep -q processors/radio "$place/reply" || { cat "$place/reply"; exit 1; }
is "the warden" "$(in_root pgrep -u sidecore -f '^sidecore: warden')" "$warden"
say "one that was killed is started again, and has the remotes of the one before"
! in_root setpriv --reuid=65534 --regid=65534 --clear-groups dbus-send --system --print-reply $manager >"$place/reply" 2>&1
grep -q 'org.sidecore.Sidecore1.Error.NotAuthorized: org.sidecore.sidecore1.inspect' "$place/reply" || { cat "$place/reply"; exit 1; }
in_root useradd --no-create-home --groups sidecore newcomer
in_root setpriv --reuid=newcomer --regid=newcomer --init-groups dbus-send --system --print-reply $manager \
    >"$place/reply" 2>&1 || { cat "$place/reply"; exit 1; }
in_root userdel newcomer
say "others are refused, and the group is not"
if in_root sh -c 'command -v pkaction' >/dev/null; then
    is "actions that polkit knows" "$(in_root pkaction | grep -c '^org.sidecore.sidecore1')" 6
    say "polkit knows the actions"
fi
in_root env XDG_RUNTIME_DIR=/tmp dbus-run-session -- dbus-send --session --print-reply $manager >"$place/reply" 2>&1 ||
    { cat "$place/reply"; exit 1; }
say "the bus of a session starts one, too"

dpkg_ --remove sidecore
is "processes of the daemon's" "$(in_root pgrep -u "$user" || true)" ""
[ ! -e "$root/usr/bin/sidecored" ] && [ ! -e "$root/run/sidecore" ]
[ -e "$root/var/lib/sidecore/state" ] && [ -e "$root/etc/sidecore/sidecored.toml.d/mine.toml" ]
say "removed; what was configured and kept is there"
dpkg_ --purge sidecore
! in_root getent passwd sidecore && ! in_root getent group sidecore
# The package manager's own books, and copies of the lists of users that their programs make.
left=$(cd "$place/upper" && find . \( -type f -o -type l -o -type c \) ! -path './var/lib/dpkg/*' ! -path './var/log/*' \
    ! -path './var/cache/*' ! -path './root/*' ! -name '.pwd.lock')
for file in $left; do
    case $file in
        ./etc/passwd* | ./etc/group* | ./etc/shadow* | ./etc/gshadow* | ./etc/subuid* | ./etc/subgid*)
            ! grep -q sidecore "$place/upper/$file" || { case $file in *-) ;; *) echo "$file is left with sidecore in it"; exit 1 ;; esac; } ;;
        *) echo "$file is left"; exit 1 ;;
    esac
done
left=$(cd "$place/upper" && find . -name '*sidecore*' ! -path './var/lib/dpkg/*')
is "what is left" "$left" ""
say "purged, and nothing is left"
