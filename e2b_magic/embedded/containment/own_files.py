"""The few files of a sandbox that are neither the host's nor its own: accounts, names, `sudo`, `python` and `apt`."""

from __future__ import annotations

from e2b_magic.embedded.containment.bubblewrap import TOOLS

_ACCOUNTS = """\
root:x:0:0:root:/root:/bin/bash
user:x:1000:1000:user:/home/user:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = """\
root:x:0:
user:x:1000:
nogroup:x:65534:
"""
_HOSTS = """\
127.0.0.1 localhost
::1 localhost ip6-localhost
127.0.1.1 sandbox
"""
_NSSWITCH = """\
passwd: files
group: files
hosts: files dns
"""
# E2B's templates let `user` run anything by sudo, and much code written for them says so. Here there is no one to
# become: the command runs as the same kernel user, with the other's name and home.
_SUDO = """\
#!/bin/sh
# Runs a command with root's name and home: inside this sandbox nobody has more rights than anybody else.
user=root home=/root shell= keep=
while [ $# -gt 0 ]; do
  case $1 in
    --) shift; break ;;
    -u | --user) user=$2; shift 2 ;;
    -u?*) user=${1#-u}; shift ;;
    --user=*) user=${1#--user=}; shift ;;
    -g | --group | -p | --prompt | -C | -h | --host | -r | -t | -T | -D | --chdir)
      [ "$1" = -D ] || [ "$1" = --chdir ] && { cd "$2" || exit 1; }
      shift 2 ;;
    -i | --login | -s | --shell) shell=1; shift ;;
    -E | --preserve-env) keep=1; shift ;;
    -V | --version) echo 'Sudo version 1.9 (a shim: it grants nothing)'; exit 0 ;;
    -v | --validate | -k | -K | -l | --list) shift; [ $# -gt 0 ] || exit 0 ;;
    -*) shift ;;
    [A-Za-z_]*=*) export "$1"; shift ;;
    *) break ;;
  esac
done
case $user in
  root) ;;
  user) home=/home/user ;;
  *) echo "sudo: unknown user $user: a sandbox has 'root' and 'user'" >&2; exit 1 ;;
esac
[ -n "$keep" ] || export HOME="$home"
export USER="$user" LOGNAME="$user"
if [ $# -eq 0 ]; then
  [ -n "$shell" ] && exec /bin/bash -l
  echo 'usage: sudo [-E] [-u user] command' >&2; exit 1
fi
exec "$@"
"""
# E2B's base template has Python 3 under this name too; many a host has it only as `python3`.
_PYTHON = """\
#!/bin/sh
exec python3 "$@"
"""

# E2B's templates have a system of their own, to which people add packages. apt's own words here, "are you root?", would
# send them after rights that change nothing.
_APT = """\
#!/bin/sh
name=${0##*/}
for word; do
  case $word in
    -*) ;;
    install | reinstall | remove | purge | autoremove | update | upgrade | full-upgrade | dist-upgrade | build-dep)
      echo "$name: a sandbox on this machine cannot change its system. Install the package on the machine itself, or" \
        "in a template of yours (docs/embedded-server.md#templates); pip and npm install into the sandbox." >&2
      exit 100 ;;
    *) break ;;
  esac
done
exec "/usr/bin/$name" "$@"
"""

# By path inside: the text, and the permission bits.
OWN_FILES = {
    "/etc/passwd": (_ACCOUNTS, 0o444),
    "/etc/group": (_GROUP, 0o444),
    "/etc/hosts": (_HOSTS, 0o444),
    "/etc/nsswitch.conf": (_NSSWITCH, 0o444),
    f"{TOOLS}/apt": (_APT, 0o555),
    f"{TOOLS}/apt-get": (_APT, 0o555),
    f"{TOOLS}/python": (_PYTHON, 0o555),
    f"{TOOLS}/sudo": (_SUDO, 0o555),
}
