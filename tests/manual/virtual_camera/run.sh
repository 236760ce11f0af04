#!/bin/sh
# Runs fkp with the kernel's own virtual cameras (vivid) in a virtual machine; see README.md beside it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel=${KERNEL:-$(ls /boot/vmlinuz-* | tail -1 | sed 's|.*/vmlinuz-||')}
work=$(mktemp -d)
image=$(mktemp)
trap 'rm -rf "$work" "$image"' EXIT
mkdir -p "$work/bin" "$work/modules" "$work/proc" "$work/sys" "$work/dev" "$work/root"
cp "$(command -v busybox)" "$work/bin/busybox"
for module in virtio_pci 9pnet_virtio 9p vivid; do
    modprobe -S "$kernel" --show-depends "$module" | awk '$1 == "insmod" {print $2}'
done | awk '!seen[$0]++' | while read -r path; do
    cp "$path" "$work/modules/"
    echo "${path##*/}" >> "$work/modules/order"
done
cp "$here/init" "$work/init"
{
    echo "export FKP='${FKP:-fkp-track}' PYTHON='${PYTHON:-python3}'"
    echo "export PATH='$PATH' PYTHONPATH='${PYTHONPATH:-}' HERE='$here' HOME=/tmp"
} > "$work/settings"
(cd "$work" && find . | cpio -o -H newc --quiet) > "$image"
"${QEMU:-qemu-system-x86_64}" -accel "${ACCEL:-tcg}" -cpu max -m 2048 -smp 1 -nographic -no-reboot \
    -kernel "/boot/vmlinuz-$kernel" -initrd "$image" -append "console=ttyS0 quiet panic=-1" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root
