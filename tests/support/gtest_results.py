#!/usr/bin/env python3
"""Turns GoogleTest's JSON reports into lines of results. usage: gtest_results.py DIR PREFIX LOG >> RESULTS

One line for each test: PASS|FAIL|SKIP <tab> PREFIX: Suite.Name <tab> detail. Failures stand in full on standard error.
LOG is what the programs printed: the reports do not say why a test was skipped.
"""
import json
import os
import re
import sys


def skip_reasons(log):
    """Suite.Name -> the first line of what GTEST_SKIP was given."""
    reasons = {}
    with open(log, errors="replace") as file:
        text = file.read()
    for found in re.finditer(r"^\[ RUN      \] (\S+)\n((?:(?!\[ RUN).*\n)*?)\[  SKIPPED \] \1", text, re.MULTILINE):
        said = re.search(r": Skipped\n(.+)", found[2])
        reasons[found[1]] = said[1].strip() if said else "no reason given"
    return reasons


def outcome(test, reason):
    if test.get("failures"):
        return "FAIL", test["failures"][0]["failure"].splitlines()[0]
    if test.get("result") == "SKIPPED":
        return "SKIP", reason or "no reason found"
    return ("PASS", "") if test.get("status") == "RUN" else ("SKIP", "disabled")


def main():
    directory, prefix, log = sys.argv[1:]
    reasons = skip_reasons(log)
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".json"):
            continue
        with open(os.path.join(directory, name)) as file:
            report = json.load(file)
        for suite in report["testsuites"]:
            for test in suite["testsuite"]:
                kind, detail = outcome(test, reasons.get(f"{suite['name']}.{test['name']}"))
                print(kind, f"{prefix}: {suite['name']}.{test['name']}", detail, sep="\t")
                for failure in test.get("failures", []):
                    print(f"{suite['name']}.{test['name']}: {failure['failure']}", file=sys.stderr)


if __name__ == "__main__":
    main()
