#!/usr/bin/env python3
"""The files of ops/monitoring, by Prometheus' own tools, and every metric name in them against the
program's list: promtool accepts a name that does not exist.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from checks import Skip, check, finish
from template import OPS, ROOT

MONITORING = OPS / "monitoring"
PROMTOOL = Path(os.environ["BATCHPIPE_LAB"]) / "prometheus" / "usr" / "bin" / "promtool"


def promtool(*arguments, cwd=MONITORING):
    if not PROMTOOL.exists():
        raise Skip("promtool could not be installed")
    result = subprocess.run([PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def dashboard():
    return json.loads((MONITORING / "dashboard.json").read_text())


def expressions():
    """Every query: panels by their title, rules by their name."""
    found = {f"panel {panel['title']!r}": target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]}
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            found[rule.get("alert") or rule["record"]] = rule["expr"]
    return found


def the_tests_notice_a_broken_threshold():
    with tempfile.TemporaryDirectory() as folder:
        rules = (MONITORING / "alerts.yml").read_text()
        assert "> 0.05" in rules
        (Path(folder) / "alerts.yml").write_text(rules.replace("> 0.05", "> 0.5"))
        (Path(folder) / "alerts_test.yml").write_text((MONITORING / "alerts_test.yml").read_text())
        try:
            promtool("test", "rules", "alerts_test.yml", cwd=folder)
        except AssertionError:
            return
    raise AssertionError("alerts_test.yml passed with another threshold")


def every_alert_has_a_test():
    tested = {
        one["alertname"] for test in yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
        for one in test["alert_rule_test"] if one["exp_alerts"]
    }
    alerts = {name for name in expressions() if name.startswith("Batchpipe")}
    assert alerts == tested, alerts ^ tested


def prometheus_reads_every_panel():
    """As recording rules, which promtool parses."""
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(expressions().values())]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        promtool("check", "rules", str(path))
    return f"{len(rules)} queries"


def panels_do_not_overlap():
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} overlaps another"
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def metrics_exist():
    """Names and labels against src/record/metrics/list.rs, from which docs/metrics.md is made."""
    source = ROOT / "src" / "record" / "metrics" / "list.rs"
    if not source.exists():
        raise Skip("src/record/metrics/list.rs is not there yet")
    known = {}
    entry = r'\b(counter|gauge|histogram)\(\s*"(\w+)",\s*\w+,\s*&\[([^\]]*)\]'
    for kind, name, labels in re.findall(entry, source.read_text()):
        names = [f"{name}_{end}" for end in ("bucket", "sum", "count")] if kind == "histogram" else [name]
        for each in names:
            known[each] = set(re.findall(r'"(\w+)"', labels)) | ({"le"} if kind == "histogram" else set())
    assert len(known) > 30, known
    for place, query in expressions().items():
        for name, matchers in re.findall(r"\b((?:batchpipe|process)_\w+)(?:\{([^}]*)\})?", query):
            assert name in known, f"{place}: there is no {name}"
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) - {"job", "instance"}
            assert used <= known[name], f"{place}: {name} has no label {used - known[name]}"
        own = set().union(*(known[name] for name in re.findall(r"\b((?:batchpipe|process)_\w+)", query))) | {"instance"}
        for grouped in re.findall(r"\bby \(([^)]*)\)", query):
            labels = {label.strip() for label in grouped.split(",")}
            assert labels <= own, f"{place}: grouped by {labels - own}, which is no label"
    return f"{len(known)} series known"


def main():
    check("monitoring: prometheus.yml is valid", promtool, "check", "config", "prometheus.yml")
    check("monitoring: alerts.yml is valid", promtool, "check", "rules", "alerts.yml")
    check("monitoring: alerts fire on trouble and not on a quiet fleet", promtool, "test", "rules", "alerts_test.yml")
    check("monitoring: the tests notice another threshold", the_tests_notice_a_broken_threshold)
    check("monitoring: every alert has a test that makes it fire", every_alert_has_a_test)
    check("monitoring: Prometheus can read every query of the dashboard", prometheus_reads_every_panel)
    check("monitoring: panels do not overlap", panels_do_not_overlap)
    check("monitoring: every metric and label in rules and panels exists", metrics_exist)
    finish()


if __name__ == "__main__":
    main()
