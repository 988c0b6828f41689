#!/bin/sh
# Behaves like scp; root@ADDRESS:PATH is PATH.
while [ $# -gt 2 ]; do shift; done
exec cp -r "${1#root@*:}" "${2#root@*:}"
