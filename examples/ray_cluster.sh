#!/bin/bash
# An archive on several machines with Ray: one run, one ledger, and whoever is free gets the next input.
#
#     examples/ray_cluster.sh head                                on the first machine
#     examples/ray_cluster.sh node FIRST:6379                     on each of the others
#     examples/ray_cluster.sh batch /data/archive /data/output    on any of them; the same again goes on
#     ray stop                                                    on each, when it is no longer needed
#
# On every machine: heatreel with its extra "ray", in the same version and with the same Python, and archive and output under the same
# paths, for only paths and results travel.
set -eu

case "$1" in
    head)
        # Cores and GPUs are found by Ray; --num-cpus 0 here keeps the first machine for the batch itself.
        ray start --head --port 6379 --include-dashboard false --disable-usage-stats
        ;;
    node)
        ray start --address "$2" --disable-usage-stats
        ;;
    batch)
        # "auto" is the cluster that this machine belongs to. A worker for each GPU, or for each four cores, of all machines together;
        # one that is lost with its machine is started on another, and its inputs are not charged for it.
        # exec, so that a signal reaches the program: the first lets what is begun come to an end.
        exec visualize batch "$2" --output "$3" --engine ray --address auto
        ;;
    *)
        echo "usage: $0 head | node HOST:PORT | batch ARCHIVE OUTPUT" >&2
        exit 2
        ;;
esac
