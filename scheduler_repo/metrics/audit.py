"""The metric of the last audit."""

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
    """Show how much each check of an audit found; 0 for those that found nothing."""
    found = Counter(finding.check for finding in report.findings)
    for check in AuditCheck:
        AUDIT_FINDINGS.labels(check.value).set(found[check])
