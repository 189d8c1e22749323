# The first process of a guest that runs the whole suite. $1 is the number of the first test of the
# plan that is to run; LIMIT, BEGIN and END stand above.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp LC_ALL=C.UTF-8
export CI=true NETNS_TRACE_GUEST=1 NETNS_TRACE_BIN=/suite/netns-trace NETNS_TRACE_PCAPS=/suite/pcaps

# As systemd has it.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777,size=60% tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount --make-rshared /
exec </dev/null >/dev/console 2>&1
hostname guest
ip link set lo up

tail -n "+$1" /suite/plan | while read -r file test; do
    echo "$BEGIN"
    read -r before _ </proc/uptime
    cd /root
    timeout --kill-after=10 "$LIMIT" "/suite/tests/$file" --exact "$test" --nocapture \
        --test-threads=1 </dev/null >/root/said 2>&1
    status=$?
    read -r after _ </proc/uptime
    if [ $status = 0 ]; then
        sed -nE 's/^(test [^ ]+ \.\.\. )?((skipped|not tried): .*)/\2/p' /root/said | sort -u
    else
        tail -n 120 /root/said
    fi
    echo
    echo "$END $status $((${after%.*} - ${before%.*}))"
done
poweroff -f 2>/dev/null || echo o >/proc/sysrq-trigger
