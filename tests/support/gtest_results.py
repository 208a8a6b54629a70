#!/usr/bin/env python3
"""Turns GoogleTest's JSON reports into lines of results. usage: gtest_results.py DIR PREFIX >> RESULTS

One line for each test: PASS|FAIL|SKIP <tab> PREFIX: Suite.Name <tab> detail. Failures stand in full on standard error.
"""
import json
import os
import sys


def outcome(test):
    if test.get("failures"):
        return "FAIL", test["failures"][0]["failure"].splitlines()[0]
    if test.get("result") == "SKIPPED":
        return "SKIP", "see the log"
    return ("PASS", "") if test.get("status") == "RUN" else ("SKIP", "disabled")


def main():
    directory, prefix = sys.argv[1:]
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".json"):
            continue
        with open(os.path.join(directory, name)) as file:
            report = json.load(file)
        for suite in report["testsuites"]:
            for test in suite["testsuite"]:
                kind, detail = outcome(test)
                print(kind, f"{prefix}: {suite['name']}.{test['name']}", detail, sep="\t")
                for failure in test.get("failures", []):
                    print(f"{suite['name']}.{test['name']}: {failure['failure']}", file=sys.stderr)


if __name__ == "__main__":
    main()
