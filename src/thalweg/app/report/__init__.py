"""The report of a run: one self-contained HTML page, made of what the run folder holds."""

from thalweg.app.report.page import write_report

__all__ = ["write_report"]
