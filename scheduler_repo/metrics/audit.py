"""What the last audit found, as a metric."""

from collections import Counter
from typing import Final

from prometheus_client import Gauge

from scheduler_repo.entities.audit import AuditCheck, AuditReport

AUDIT_FINDINGS: Final = Gauge(
    "scheduler_repo_audit_findings",
    "What the last audit found to differ, by check; 0 is as it should be",
    ["check"],
)


def show_audit(report: AuditReport) -> None:
    """Export what an audit found, every check by itself, those that found nothing too."""
    found = Counter(finding.check for finding in report.findings)
    for check in AuditCheck:
        AUDIT_FINDINGS.labels(check.value).set(found[check])
