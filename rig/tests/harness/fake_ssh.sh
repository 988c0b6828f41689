#!/bin/sh
# Behaves like ssh as far as the lab can see; "the machine" is the station itself.
case " $* " in
*" -M "*)
    echo connected
    exec sleep 600
    ;;
esac
for last; do :; done
exec sh -c "$last"
