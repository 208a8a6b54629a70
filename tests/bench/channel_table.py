#!/usr/bin/env python3
"""The table of channels.sh: channel_table.py RESULTS [JSON]; lines are "ROUND CHANNEL STATE HOW VALUE"."""
import json
import statistics
import sys

UNITS = {"sequential": "MB/s", "random": "µs a read of 4 KiB"}


def main():
    values = {}  # (state, how) -> channel -> round -> value
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            number, channel, state, how, value = line.split()
            if state != "-":
                values.setdefault((state, how), {}).setdefault(channel, {})[number] = float(value)
    channels = sorted({channel for by_channel in values.values() for channel in by_channel}, key="fuse fuse-loop fanotify".split().index)
    first, others = channels[0], channels[1:]
    head = ["present", "how", "unit", *channels, *(f"{other} against {first}" for other in others)]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    result = []
    for (state, how), by_channel in values.items():
        medians = {channel: statistics.median(by_channel[channel].values()) for channel in channels}
        # More than 1 is quicker than the first.
        ratios = {}
        for other in others:
            pairs = [(by_channel[other][number], by_channel[first][number]) for number in by_channel[first]]
            ratios[other] = statistics.median(a / b if how == "sequential" else b / a for a, b in pairs)
        print("| " + " | ".join([state, how, UNITS[how], *(f"{medians[c]:.1f}" for c in channels), *(f"{ratios[o]:.2f} times as fast" for o in others)]) + " |")
        result.append({"present": state, "how": how, "medians": medians, "ratios": ratios})
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)


main()
