"""Counts per pod → statistic → verdict → likely cause. Pure; knows no cluster. The rule is in docs/verdict.md.

intervals   confidence intervals of shares
judge       counts → Verdict
explain     Verdict → words
"""

from lab.verdict.judge import PodShare, Verdict, VerdictName, judge

__all__ = ["PodShare", "Verdict", "VerdictName", "judge"]
